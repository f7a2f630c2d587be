package proxy_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/metadata"
)

// Keys of the tests. Making an RSA key takes a while, so all tests share it.
var (
	hmacKey  = []byte("0123456789abcdef0123456789abcdef")
	otherKey = []byte("fedcba9876543210fedcba9876543210")

	rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return key
	})
	ecKey = sync.OnceValue(func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		return key
	})
)

// jwks returns a JWK Set of the shared secret "h", and of the public halves "r"
// (RSA) and "e" (EC).
func jwks(t testing.TB) []byte {
	t.Helper()
	return marshal(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: hmacKey, KeyID: "h", Algorithm: "HS256", Use: "sig"},
		{Key: &rsaKey().PublicKey, KeyID: "r", Algorithm: "RS256"},
		{Key: &ecKey().PublicKey, KeyID: "e"},
	}})
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// token is a JSON Web Token in the making: good unless a test changes it.
type token struct {
	method jwt.SigningMethod
	key    any
	header map[string]any
	claims jwt.MapClaims
}

func newToken(customer string, audience ...string) token {
	now := time.Now()
	return token{
		method: jwt.SigningMethodHS256,
		key:    hmacKey,
		header: map[string]any{"kid": "h"},
		claims: jwt.MapClaims{
			"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "aud": audience, "toolchain_customer": customer,
		},
	}
}

func (k token) signed(t testing.TB) string {
	t.Helper()
	made := jwt.NewWithClaims(k.method, k.claims)
	maps.Copy(made.Header, k.header)
	text, err := made.SignedString(k.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// bearing returns a context whose calls bear the token.
func bearing(t testing.TB, text string) context.Context {
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+text)
}
