package proxy

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/grpc/metadata"

	"github.com/weir-build/weir/system/digest"
)

// A workerToken is what the token map says of one token.
type workerToken struct {
	id, customer, instance string
	active                 bool
}

// workerTokens are the tokens of workers, by their hashes: a copy of the map
// gives no token away, and how long a look-up takes says nothing about how much
// of a guess was right.
type workerTokens map[[sha256.Size]byte]workerToken

// parseTokens reads a token map, a JSON object
//
//	{"<token>": {"id": …, "instance_name": …, "customer_slug": …, "is_active": …}, …}
//
// Errors never quote the file: its keys are secrets.
func parseTokens(data []byte) (workerTokens, error) {
	var file map[string]json.RawMessage
	if json.Unmarshal(data, &file) != nil || file == nil {
		return nil, errors.New("not a JSON object of tokens")
	}
	tokens := make(workerTokens, len(file))
	for token, raw := range file {
		var entry struct {
			ID           string  `json:"id"`
			InstanceName *string `json:"instance_name"`
			CustomerSlug string  `json:"customer_slug"`
			IsActive     bool    `json:"is_active"`
		}
		if json.Unmarshal(raw, &entry) != nil || entry.InstanceName == nil || token == "" {
			return nil, errors.New("a token's entry is not an object of id, instance_name, customer_slug and is_active")
		}
		if err := digest.CheckInstance(*entry.InstanceName); err != nil {
			return nil, fmt.Errorf("the token with id %q: %w", entry.ID, err)
		}
		tokens[sha256.Sum256([]byte(token))] = workerToken{
			id: entry.ID, customer: entry.CustomerSlug, instance: *entry.InstanceName, active: entry.IsActive,
		}
	}
	return tokens, nil
}

// tokenAuth admits workers by the token map. Their tokens have no scope: they
// may call what their listener offers, save what the table of methods keeps from
// workers.
type tokenAuth struct{ tokens *watched[workerTokens] }

func (a tokenAuth) authenticate(md metadata.MD) (*identity, error) {
	text, err := bearer(md)
	if err != nil {
		return nil, err
	}
	token, ok := a.tokens.get()[sha256.Sum256([]byte(text))]
	if !ok {
		return nil, reasonUnknownToken
	}
	id := &identity{scheme: AuthToken, customer: token.customer, key: token.id, instance: token.instance,
		scope: scopeExecute, worker: true}
	if !token.active {
		return id, reasonInactiveToken
	}
	return id, nil
}
