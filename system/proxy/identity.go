package proxy

import (
	"net/url"

	"google.golang.org/grpc/metadata"
)

// A scope is what a token allows. Each includes those below it.
type scope uint8

const (
	scopeNone       scope = iota
	scopeCacheRead        // cache_ro
	scopeCacheWrite       // cache_rw
	scopeExecute          // exec
	scopeAdmin            // admin
)

// scopeOf returns the widest scope among the members of an `aud` claim. Members
// that mean nothing here are for somebody else.
func scopeOf(audience []string) scope {
	widest := scopeNone
	for _, name := range audience {
		switch name {
		case "cache_ro":
			widest = max(widest, scopeCacheRead)
		case "cache_rw":
			widest = max(widest, scopeCacheWrite)
		case "exec":
			widest = max(widest, scopeExecute)
		case "admin":
			widest = max(widest, scopeAdmin)
		}
	}
	return widest
}

// An identity is who makes a call and what they may do.
type identity struct {
	scheme   Scheme
	customer string
	key      string // kid or token id; no secret
	instance string // the only one it may name, unless the scheme is NoAuth
	scope    scope
	worker   bool
}

// permit returns nil if id may call m for instance, else the [reason] why not.
func (id *identity) permit(m *method, instance string) error {
	switch {
	case id.scheme != NoAuth && id.instance != instance:
		return reasonInstance
	case id.scope < m.needs:
		return reasonScope
	case id.worker && m.notWorkers:
		return reasonWorker
	}
	return nil
}

// identityHeader is the metadata key under which backends are told who calls.
const identityHeader = "weir-identity"

// tenantHeader is the metadata key under which the execution-server is told whose
// share of the workers a call counts to: the customer, escaped as in a URL. Without
// authentication it isn't there.
const tenantHeader = "weir-tenant"

// String returns <scheme>:<customer>/<key>, with what could be mistaken for the
// punctuation escaped as in a URL.
func (id *identity) String() string {
	if id.scheme == NoAuth {
		return string(NoAuth)
	}
	return string(id.scheme) + ":" + url.PathEscape(id.customer) + "/" + url.PathEscape(id.key)
}

// An authenticator finds out who makes a call, from its metadata. The error is a
// [reason]. The identity may come with the error, as far as it is known, for the
// log.
type authenticator interface {
	authenticate(md metadata.MD) (*identity, error)
}

// noAuth lets everybody in, and do everything that its listener offers.
type noAuth struct{}

func (noAuth) authenticate(metadata.MD) (*identity, error) {
	return &identity{scheme: NoAuth, scope: scopeAdmin}, nil
}

// bearer returns the token of an authorization header. Two headers are as bad as
// none: which of them counts would be a matter of taste.
func bearer(md metadata.MD) (string, error) {
	const prefix = "Bearer "
	values := md.Get("authorization")
	if len(values) != 1 || len(values[0]) <= len(prefix) || values[0][:len(prefix)] != prefix {
		return "", reasonNoToken
	}
	return values[0][len(prefix):], nil
}
