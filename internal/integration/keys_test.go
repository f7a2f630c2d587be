//go:build integration

package integration

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// keys is a key for tokens, and the file that tells a cluster of it.
type keys struct {
	secret []byte
	file   string
}

const keyID = "integration"

func newKeys(t *testing.T) *keys {
	t.Helper()
	k := &keys{secret: make([]byte, 32), file: filepath.Join(t.TempDir(), "jwks.json")}
	rand.Read(k.secret)
	set, err := json.Marshal(map[string]any{"keys": []map[string]string{{
		"kty": "oct", "kid": keyID, "alg": "HS256", "use": "sig", "k": base64.RawURLEncoding.EncodeToString(k.secret),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(k.file, set, 0o600); err != nil {
		t.Fatal(err)
	}
	return k
}

// mint returns a token that allows everything at one instance, for a while from
// now on.
func (k *keys) mint(t *testing.T, instance string, valid time.Duration) string {
	t.Helper()
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iat": now.Add(-time.Hour).Unix(), "exp": now.Add(valid).Unix(), "aud": "exec", "toolchain_customer": instance,
	})
	token.Header["kid"] = keyID
	signed, err := token.SignedString(k.secret)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}
