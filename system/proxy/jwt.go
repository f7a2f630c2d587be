package proxy

import (
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/metadata"
)

// clockSlack is how far the clocks of issuer and proxy may be apart.
const clockSlack = time.Second

// maxVerified bounds the tokens remembered as verified, about 200 bytes each. A
// build uses one token, so thousands are many; when they are exceeded all are
// forgotten and verified again.
const maxVerified = 4096

// claims are what a verified token says.
type claims struct {
	customer  string
	kid       string
	scope     scope
	issued    time.Time
	expires   time.Time
	notBefore time.Time // zero if it doesn't say
}

// valid returns nil if the claims hold now, else a [reason].
func (c *claims) valid(now time.Time) error {
	switch {
	case !now.Before(c.expires.Add(clockSlack)):
		return reasonExpired
	case c.issued.After(now.Add(clockSlack)), c.notBefore.After(now.Add(clockSlack)):
		return reasonNotYetValid
	}
	return nil
}

// verifier verifies tokens with one state of the key file. It is safe for
// concurrent use. Checking a signature takes up to 0.1 ms and a build makes
// thousands of calls with one token, so what was verified once is remembered,
// under the token's hash; with a new key file comes a new verifier.
type verifier struct {
	keys   map[string]verifyingKey // by kid
	parser *jwt.Parser

	mu       sync.RWMutex // guards what follows
	verified map[[sha256.Size]byte]*claims
}

func parseVerifier(file []byte) (*verifier, error) {
	keys, err := parseKeys(file)
	if err != nil {
		return nil, err
	}
	algorithms := make([]string, 0, len(keys))
	for _, key := range keys {
		algorithms = append(algorithms, key.algorithm)
	}
	return &verifier{
		keys: keys,
		// Times are checked by claims.valid, at each call and not only the first.
		parser:   jwt.NewParser(jwt.WithValidMethods(algorithms), jwt.WithoutClaimsValidation()),
		verified: make(map[[sha256.Size]byte]*claims),
	}, nil
}

// verify returns the claims of a token whose signature is good. The error is a
// [reason]; the claims then hold no more than the kid, which is not to be
// trusted.
func (v *verifier) verify(token string) (*claims, error) {
	sum := sha256.Sum256([]byte(token))
	v.mu.RLock()
	known := v.verified[sum]
	v.mu.RUnlock()
	if known != nil {
		return known, nil
	}
	c, err := v.check(token)
	if err != nil {
		return c, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.verified) >= maxVerified {
		clear(v.verified)
	}
	v.verified[sum] = c
	return c, nil
}

func (v *verifier) check(token string) (*claims, error) {
	var body struct {
		jwt.RegisteredClaims
		Customer string `json:"toolchain_customer"`
	}
	c := &claims{}
	_, err := v.parser.ParseWithClaims(token, &body, func(t *jwt.Token) (any, error) {
		c.kid, _ = t.Header["kid"].(string)
		key, ok := v.keys[c.kid]
		switch {
		case !ok:
			return nil, reasonUnknownKey
		case t.Method.Alg() != key.algorithm:
			return nil, reasonAlgorithm
		case t.Header["crit"] != nil:
			// RFC 7515, 4.1.11: what is critical and not understood must be
			// refused. Nothing is understood.
			return nil, reasonMalformed
		}
		return key.key, nil
	})
	if err != nil {
		return c, reasonOf(err)
	}
	if body.IssuedAt == nil || body.ExpiresAt == nil || len(body.Audience) == 0 || body.Customer == "" {
		return c, reasonMissingClaim
	}
	c.customer, c.scope = body.Customer, scopeOf(body.Audience)
	c.issued, c.expires = body.IssuedAt.Time, body.ExpiresAt.Time
	if body.NotBefore != nil {
		c.notBefore = body.NotBefore.Time
	}
	return c, nil
}

// reasonOf returns why a token couldn't be verified.
func reasonOf(err error) reason {
	var why reason
	switch {
	case errors.As(err, &why):
		return why
	case errors.Is(err, jwt.ErrTokenMalformed):
		return reasonMalformed
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return reasonSignature
	}
	return reasonMalformed
}

// jwtAuth admits the bearers of JSON Web Tokens. The customer a token is for is
// the one instance it may name.
type jwtAuth struct {
	keys *watched[*verifier]
	now  func() time.Time
}

func (a jwtAuth) authenticate(md metadata.MD) (*identity, error) {
	token, err := bearer(md)
	if err != nil {
		return nil, err
	}
	c, err := a.keys.get().verify(token)
	id := &identity{scheme: JWT, customer: c.customer, key: c.kid, instance: c.customer, scope: c.scope}
	if err == nil {
		err = c.valid(a.now())
	}
	return id, err
}
