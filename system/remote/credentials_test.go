package remote_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/remote"
)

// writeHelper writes a credential helper, a shell script that may count its calls in
// the file $0.log.
func writeHelper(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "helper")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCredentialHelperIsAskedForHeaders(t *testing.T) {
	authority := newAuthority(t)
	ca := writeFile(t, "ca", authority.pem)
	for _, c := range []struct {
		name    string
		expires time.Time
		asked   int // by three calls
	}{
		{"good for long", time.Now().Add(time.Hour), 1},
		{"expired", time.Now().Add(-time.Hour), 3},
		{"good for who knows how long", time.Time{}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, address := tlsServer(t, authority, false)
			expires := ""
			if !c.expires.IsZero() {
				expires = `,"expires":"` + c.expires.Format(time.RFC3339) + `"`
			}
			helper := writeHelper(t, `(echo "$@"; cat; echo) >> $0.log; echo '{"headers":{"Authorization":["Bearer s3cret"],"X-Two":["a","b"]}`+expires+`}'`)
			client := dialConfig(t, remote.Config{URL: "grpcs://" + address, ServerCert: ca, CredentialHelper: helper})
			for range 3 {
				if _, err := client.Capabilities(t.Context()); status.Code(err) != codes.Internal {
					t.Fatalf("error %v, want the server's INTERNAL", err)
				}
			}
			for _, header := range server.headers {
				if a, two := header.Get("authorization"), header.Get("x-two"); len(a) != 1 || a[0] != "Bearer s3cret" || len(two) != 1 || two[0] != "a, b" {
					t.Errorf("headers %q, %q", a, two)
				}
			}
			log, err := os.ReadFile(helper + ".log")
			if want := strings.Repeat(fmt.Sprintf("get\n{\"uri\":\"https://%s\"}\n", address), c.asked); err != nil || string(log) != want {
				t.Errorf("the helper was asked %q (%v), want %q", log, err, want)
			}
		})
	}
}

func TestCredentialHelperThatFailsIsTold(t *testing.T) {
	for script, want := range map[string]string{
		`echo no such user >&2; exit 3`:                              "exit status 3: no such user",
		`echo s3cret`:                                                `its reply is not {"headers":`,
		`echo '{"headers":{"Authorization":"s3cret"}}'`:              `its reply is not {"headers":`,
		`printf %s '{"headers":{"authorization":["s3cret\u0001"]}}'`: `a header "authorization" that can't be sent`,
		`echo '{"headers":{":path":["/s3cret"]}}'`:                   `a header ":path" that can't be sent`,
		`echo '{"headers":{"Grpc-Timeout":["1S"]}}'`:                 `a header "grpc-timeout" that can't be sent`,
		`echo '{"headers":{"Content-Type":["s3cret"]}}'`:             `a header "content-type" that can't be sent`,
		`head -c 100000 /dev/zero`:                                   "longer than 65536 bytes",
		`head -c 100000 /dev/zero | tr '\0' x >&2; exit 1`:           "exit status 1: xxx",
	} {
		server, address := newRefusing(t, codes.Internal)
		client := dialConfig(t, remote.Config{URL: "grpc://" + address, CredentialHelper: writeHelper(t, script), RetryLimit: -1})
		_, err := client.Capabilities(t.Context())
		if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "credential helper /") {
			t.Errorf("%s: error %v, want UNAUTHENTICATED with %q", script, err, want)
		}
		if strings.Contains(fmt.Sprint(err), "s3cret") || len(fmt.Sprint(err)) > 1000 {
			t.Errorf("%s: the error quotes what is secret, or too much: %v", script, err)
		}
		if len(server.headers) != 0 {
			t.Errorf("%s: the call arrived", script)
		}
	}
	if _, err := remote.Dial(remote.Config{URL: "grpcs://h", CredentialHelper: "/no/such/helper"}); err == nil || !strings.Contains(err.Error(), "credential helper") {
		t.Errorf("a helper that isn't there: %v", err)
	}
}

// Calls wait for a helper that others have asked, each for as long as it may.
func TestCredentialHelperThatHangsHoldsUpNoCallForLong(t *testing.T) {
	_, address := newRefusing(t, codes.Internal)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	helper := writeHelper(t, `echo asked >>$0.log; read line <`+fifo+`; exit 3`)
	client := dialConfig(t, remote.Config{URL: "grpc://" + address, CredentialHelper: helper, RetryLimit: -1})
	first := make(chan error)
	go func() {
		_, err := client.Capabilities(t.Context())
		first <- err
	}()
	gate, err := os.OpenFile(fifo, os.O_WRONLY, 0) // waits for the helper
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if _, err := client.Capabilities(ctx); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("error %v, want DEADLINE_EXCEEDED", err)
		}
		cancel()
	}
	gate.Close()
	if err := <-first; status.Code(err) != codes.Unauthenticated {
		t.Errorf("error %v, want UNAUTHENTICATED", err)
	}
	if log, err := os.ReadFile(helper + ".log"); err != nil || string(log) != "asked\n" {
		t.Errorf("the helper was asked %q (%v), want once", log, err)
	}
}

// A helper may leave a process behind, such as an agent.
func TestCredentialHelperMayLeaveItsOutputOpen(t *testing.T) {
	server, address := newRefusing(t, codes.Internal)
	helper := writeHelper(t, `sleep 3 & echo '{"headers":{"Authorization":["Bearer s3cret"]}}'`)
	client := dialConfig(t, remote.Config{URL: "grpc://" + address, CredentialHelper: helper, RetryLimit: -1})
	if _, err := client.Capabilities(t.Context()); status.Code(err) != codes.Internal {
		t.Fatalf("error %v, want the server's INTERNAL", err)
	}
	if got := server.headers[0].Get("authorization"); len(got) != 1 || got[0] != "Bearer s3cret" {
		t.Errorf("authorization %q", got)
	}
}

func TestGoogleCredentialsAreSent(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || len(r.Form.Get("assertion")) == 0 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token": "from google", "token_type": "Bearer", "expires_in": 3600}`)
	}))
	t.Cleanup(tokens.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "weir@example.com", "token_uri": tokens.URL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	authority := newAuthority(t)
	server, address := tlsServer(t, authority, false)
	config := remote.Config{URL: "grpcs://" + address, ServerCert: writeFile(t, "ca", authority.pem), GoogleAuth: true}

	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", writeFile(t, "account", account))
	client := dialConfig(t, config)
	if _, err := client.Capabilities(t.Context()); status.Code(err) != codes.Internal {
		t.Fatalf("error %v, want the server's INTERNAL", err)
	}
	if got := server.headers[0].Get("authorization"); len(got) != 1 || got[0] != "Bearer from google" {
		t.Errorf("authorization %q", got)
	}

	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file")
	if _, err := remote.Dial(config); err == nil || !strings.Contains(err.Error(), "application default credentials") {
		t.Errorf("without credentials: %v", err)
	}
}

func FuzzParseHelperReply(f *testing.F) {
	f.Add(`{"headers":{"Authorization":["Bearer x"],"X":[]},"expires":"2026-11-26T09:30:00Z"}`)
	f.Add(`{"headers":{"a":["1","2"]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		header, until, err := remote.ParseHelperReply([]byte(text), time.Unix(0, 0))
		if err != nil {
			if header != nil || len(err.Error()) > 300 {
				t.Errorf("%v, and %q", err, header)
			}
			return
		}
		if until.IsZero() && !strings.Contains(text, "0001") {
			t.Error("headers are good for no time")
		}
		for name, value := range header {
			if name != strings.ToLower(name) || strings.ContainsAny(name+value, "\r\n\x00") {
				t.Errorf("header %q: %q", name, value)
			}
		}
	})
}
