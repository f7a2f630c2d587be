package proxy

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// Least sizes of keys: RFC 7518, 3.2 and 3.3.
const (
	minHMACBytes = 32
	minRSABits   = 2048
)

// A verifyingKey checks the signatures of one key id, by one algorithm. That the
// algorithm is the key's and not the token's choice is what stops a token signed
// with a public key as if that were a shared secret.
type verifyingKey struct {
	algorithm string
	key       any // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// parseKeys reads a file of keys: a JWK Set (RFC 7517), or the wrapper in which
// rotated secrets are kept,
//
//	{"CURRENT": [{"VALUE": "<a JWK Set as a string>", …}], "PREVIOUS": …}
//
// which must have exactly one current value. Errors never quote the file.
func parseKeys(data []byte) (map[string]verifyingKey, error) {
	var file struct {
		Keys    json.RawMessage `json:"keys"`
		Current []struct {
			Value string `json:"VALUE"`
		} `json:"CURRENT"`
	}
	if json.Unmarshal(data, &file) != nil {
		return nil, errors.New("not a JSON object that is a JWK Set or the wrapper of one")
	}
	if file.Keys == nil {
		if len(file.Current) != 1 {
			return nil, fmt.Errorf("neither a JWK Set nor a wrapper with one CURRENT value: it has %d", len(file.Current))
		}
		data = []byte(file.Current[0].Value)
	}
	var set jose.JSONWebKeySet
	if json.Unmarshal(data, &set) != nil {
		return nil, errors.New("not a JWK Set, or one of its keys can't be read")
	}
	keys := make(map[string]verifyingKey)
	var problems []error
	for i := range set.Keys {
		key := &set.Keys[i]
		if key.Use != "" && key.Use != "sig" {
			continue // a key for encryption
		}
		if key.KeyID == "" {
			problems = append(problems, fmt.Errorf("key %d has no kid, so no token can choose it", i))
			continue
		}
		if _, dup := keys[key.KeyID]; dup {
			problems = append(problems, fmt.Errorf("two keys have the kid %q", key.KeyID))
			continue
		}
		verifying, err := keyOf(key)
		if err != nil {
			problems = append(problems, fmt.Errorf("key %q: %w", key.KeyID, err))
			continue
		}
		keys[key.KeyID] = verifying
	}
	if len(keys) == 0 && len(problems) == 0 {
		problems = append(problems, errors.New("there is no key in the JWK Set"))
	}
	return keys, errors.Join(problems...)
}

// keyOf returns the public half of a JWK with its algorithm: the JWK's own if it
// is one of the key type's, else the key type's usual one.
func keyOf(jwk *jose.JSONWebKey) (verifyingKey, error) {
	key := jwk.Key
	if public := jwk.Public(); public.Key != nil {
		key = public.Key
	}
	var family []string
	switch key := key.(type) {
	case []byte:
		if len(key) < minHMACBytes {
			return verifyingKey{}, fmt.Errorf("a shared secret has %d bytes, fewer than %d", len(key), minHMACBytes)
		}
		family = []string{"HS256", "HS384", "HS512"}
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSABits {
			return verifyingKey{}, fmt.Errorf("an RSA key has %d bits, fewer than %d", key.N.BitLen(), minRSABits)
		}
		family = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		family = []string{map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[key.Curve.Params().BitSize]}
	case ed25519.PublicKey:
		family = []string{"EdDSA"}
	default:
		return verifyingKey{}, fmt.Errorf("keys of type %T can't verify tokens", key)
	}
	switch {
	case jwk.Algorithm == "":
		return verifyingKey{family[0], key}, nil
	case slices.Contains(family, jwk.Algorithm):
		return verifyingKey{jwk.Algorithm, key}, nil
	}
	return verifyingKey{}, fmt.Errorf("algorithm %q is none of its key type's (%v)", jwk.Algorithm, family)
}
