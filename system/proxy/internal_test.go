package proxy

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/metadata"
)

// Tests of what the front door can't show: times to the second, a clock that
// moves on, and the rounds of a watch.

func TestClaimsHoldWithinSlack(t *testing.T) {
	at := time.Unix(1_000_000, 0)
	c := claims{issued: at, expires: at.Add(time.Hour)}
	for _, test := range []struct {
		now  time.Time
		want error
	}{
		{at.Add(-2 * time.Second), reasonNotYetValid},
		{at.Add(-time.Second), nil},
		{at, nil},
		{at.Add(time.Hour), nil},
		{at.Add(time.Hour + time.Second - 1), nil},
		{at.Add(time.Hour + time.Second), reasonExpired},
	} {
		if got := c.valid(test.now); got != test.want {
			t.Errorf("at %v: got %v, want %v", test.now.Sub(at), got, test.want)
		}
	}
}

func TestRememberedTokenExpires(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: "h"}}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := parseVerifier(set)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_000_000, 0)
	auth := jwtAuth{&watched[*verifier]{}, func() time.Time { return now }}
	auth.keys.current.Store(&v)
	made := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "aud": "exec", "toolchain_customer": "acme"})
	made.Header["kid"] = "h"
	text, err := made.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	md := metadata.Pairs("authorization", "Bearer "+text)
	if _, err := auth.authenticate(md); err != nil {
		t.Fatal(err)
	}
	if len(v.verified) != 1 {
		t.Errorf("%d tokens are remembered, want 1", len(v.verified))
	}
	now = now.Add(2 * time.Minute)
	if id, err := auth.authenticate(md); err != reasonExpired || id.customer != "acme" {
		t.Errorf("two minutes later: got %v of %v, want %v of acme", err, id.customer, reasonExpired)
	}
	// However many there are, memory is bounded.
	for i := range maxVerified {
		v.verified[[32]byte{byte(i), byte(i >> 8), 1}] = &claims{}
	}
	made.Claims.(jwt.MapClaims)["aud"] = "cache_ro"
	if text, err = made.SignedString(key); err != nil {
		t.Fatal(err)
	}
	if _, err := v.verify(text); err != nil || len(v.verified) != 1 {
		t.Errorf("after the limit: error %v, %d tokens remembered, want 1", err, len(v.verified))
	}
}

func TestKeyFiles(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set := func(keys ...jose.JSONWebKey) string {
		data, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	wrapped := func(values ...string) string {
		var current []map[string]string
		for _, v := range values {
			current = append(current, map[string]string{"VALUE": v})
		}
		data, err := json.Marshal(map[string]any{"CURRENT": current, "REMOVED": []any{}})
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	good := set(jose.JSONWebKey{Key: secret, KeyID: "h"})
	for _, test := range []struct {
		name, file string
		want       string // kid:algorithm, or a part of the error after '!'
	}{
		{"one key", good, "h:HS256"},
		{"wrapped", wrapped(good), "h:HS256"},
		{"its own algorithm", set(jose.JSONWebKey{Key: secret, KeyID: "h", Algorithm: "HS512"}), "h:HS512"},
		{"edwards curve", set(jose.JSONWebKey{Key: public, KeyID: "o"}), "o:EdDSA"},
		{"encryption key beside it", set(jose.JSONWebKey{Key: secret, KeyID: "x", Use: "enc"}, jose.JSONWebKey{Key: secret, KeyID: "h"}), "h:HS256"},
		{"only an encryption key", set(jose.JSONWebKey{Key: secret, KeyID: "x", Use: "enc"}), "!there is no key"},
		{"no current value", wrapped(), "!it has 0"},
		{"two current values", wrapped(good, good), "!it has 2"},
		{"no JSON", "keys", "!not a JSON object"},
		{"wrapped garbage", wrapped("garbage"), "!not a JWK Set"},
		{"no keys", `{"keys": []}`, "!there is no key"},
		{"no kid", set(jose.JSONWebKey{Key: secret}), "!key 0 has no kid"},
		{"kid twice", set(jose.JSONWebKey{Key: secret, KeyID: "h"}, jose.JSONWebKey{Key: secret, KeyID: "h"}), `!two keys have the kid "h"`},
		{"short secret", set(jose.JSONWebKey{Key: secret[:31], KeyID: "h"}), "!31 bytes"},
		{"small RSA key", set(jose.JSONWebKey{Key: &small.PublicKey, KeyID: "r"}), "!1024 bits"},
		{"algorithm of another type", set(jose.JSONWebKey{Key: secret, KeyID: "h", Algorithm: "RS256"}), `!algorithm "RS256"`},
		{"no algorithm at all", set(jose.JSONWebKey{Key: secret, KeyID: "h", Algorithm: "none"}), `!algorithm "none"`},
	} {
		keys, err := parseKeys([]byte(test.file))
		if part, bad := strings.CutPrefix(test.want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: got error %v, want one with %q", test.name, err, part)
			}
			continue
		}
		var got string
		for kid, key := range keys {
			got += kid + ":" + key.algorithm
		}
		if err != nil || got != test.want {
			t.Errorf("%s: got %s, error %v, want %s", test.name, got, err, test.want)
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(`{"keys": [{"kty": "oct", "kid": "h", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}`))
	f.Add([]byte(`{"CURRENT": [{"VALUE": "{\"keys\": []}"}]}`))
	f.Add([]byte(`{"keys": [{"kty": "EC", "kid": "e", "crv": "P-256", "x": "", "y": ""}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parseKeys(data)
		if err != nil {
			return
		}
		for kid, key := range keys {
			if kid == "" || key.algorithm == "" || key.algorithm == "none" {
				t.Errorf("key %q has algorithm %q", kid, key.algorithm)
			}
		}
	})
}

func FuzzParseTokens(f *testing.F) {
	f.Add([]byte(`{"secret": {"id": "1", "instance_name": "acme", "customer_slug": "acme", "is_active": true}}`))
	f.Add([]byte(`{"secret": {"instance_name": 1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := parseTokens(data); err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error quotes a token: %v", err)
		}
	})
}

func TestWatchReadsAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		parsed := 0
		w := &watched[string]{
			path: path, interval: 20 * time.Second, logger: slog.New(slog.DiscardHandler),
			loaded: prometheus.NewGauge(prometheus.GaugeOpts{Name: "l"}), failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "f"}),
			parse: func(data []byte) (string, error) {
				parsed++
				if string(data) == "broken" {
					return "", errors.New("broken")
				}
				return string(data), nil
			},
		}
		write("one")
		if err := w.reload(); err != nil {
			t.Fatal(err)
		}
		go w.watch(t.Context())
		round := func(text, want string, wantParsed int) {
			t.Helper()
			write(text)
			time.Sleep(22 * time.Second) // the interval and its jitter, in the bubble's time
			synctest.Wait()
			if got := w.get(); got != want || parsed != wantParsed {
				t.Errorf("file %q: got %q, parsed %d times, want %q, %d", text, got, parsed, want, wantParsed)
			}
		}
		round("two", "two", 2)
		round("two", "two", 2) // unchanged: not parsed
		round("broken", "two", 3)
		round("three", "three", 4)
	})
}

func TestFileOfCredentialsHasALimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 11), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := readBounded(path, 11); err != nil || len(data) != 11 {
		t.Errorf("11 of 11 bytes: got %d, error %v", len(data), err)
	}
	if _, err := readBounded(path, 10); err == nil {
		t.Error("11 of 10 bytes: no error")
	}
}
