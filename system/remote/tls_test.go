package remote_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/remote"
)

// authority is a certificate authority with a life of one test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{certificate, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue returns a certificate for 127.0.0.1 and its key, in PEM.
func (a *authority) issue(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: a.certificate.NotBefore, NotAfter: a.certificate.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &private.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// tlsServer demands a client certificate of its authority if mutual.
func tlsServer(t *testing.T, a *authority, mutual bool) (*refusing, string) {
	t.Helper()
	certificate, key := a.issue(t)
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if mutual {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		config.ClientCAs.AddCert(a.certificate)
	}
	// INTERNAL from the server's handler tells a call that arrived from one that
	// TLS refused, which is UNAVAILABLE.
	return newRefusing(t, codes.Internal, grpc.Creds(credentials.NewTLS(config)))
}

func TestTLS(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	ca := writeFile(t, "ca", ours.pem)
	otherCA := writeFile(t, "other-ca", others.pem)
	certificate, key := ours.issue(t)
	cert, keyFile := writeFile(t, "cert", certificate), writeFile(t, "key", key)
	otherCertificate, otherKey := others.issue(t)
	otherCert, otherKeyFile := writeFile(t, "other-cert", otherCertificate), writeFile(t, "other-key", otherKey)
	token := writeFile(t, "token", []byte("secret"))

	for _, c := range []struct {
		name   string
		mutual bool
		config remote.Config
		want   codes.Code
	}{
		{"trusted", false, remote.Config{ServerCert: ca}, codes.Internal},
		{"by the system's authorities", false, remote.Config{}, codes.Unavailable},
		{"by another authority", false, remote.Config{ServerCert: otherCA}, codes.Unavailable},
		{"mutual", true, remote.Config{ServerCert: ca, ClientCert: cert, ClientKey: keyFile}, codes.Internal},
		{"mutual, as text", true, remote.Config{ServerPEM: string(ours.pem), ClientCertPEM: string(certificate), ClientKeyPEM: string(key)}, codes.Internal},
		{"by another authority, as text", false, remote.Config{ServerPEM: string(others.pem)}, codes.Unavailable},
		{"mutual without a certificate", true, remote.Config{ServerCert: ca}, codes.Unavailable},
		{"mutual with another's", true, remote.Config{ServerCert: ca, ClientCert: otherCert, ClientKey: otherKeyFile}, codes.Unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, address := tlsServer(t, ours, c.mutual)
			c.config.URL, c.config.AccessToken, c.config.RetryLimit = "grpcs://"+address, token, -1
			client := dialConfig(t, c.config)
			if _, err := client.Capabilities(t.Context()); status.Code(err) != c.want {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if c.want == codes.Unavailable {
				if len(server.headers) != 0 {
					t.Error("the call arrived")
				}
				return
			}
			if got := server.headers[0].Get("authorization"); len(got) != 1 || got[0] != "Bearer secret" {
				t.Errorf("authorization %q, want the token", got)
			}
		})
	}
	if _, err := remote.Dial(remote.Config{URL: "grpcs://127.0.0.1:1", ClientCert: cert, ClientKey: otherKeyFile}); err == nil {
		t.Error("a key that isn't the certificate's was taken")
	}
	for _, c := range []remote.Config{
		{ServerPEM: "not PEM"}, {ClientCertPEM: string(certificate)}, {ServerCert: ca, ServerPEM: string(ours.pem)},
		{ClientCertPEM: string(certificate), ClientKeyPEM: string(otherKey)},
	} {
		c.URL = "grpcs://127.0.0.1:1"
		if _, err := remote.Dial(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

func TestClearTextServerIsNotSpokenToOverTLS(t *testing.T) {
	server, address := newRefusing(t, codes.Internal)
	client := dialConfig(t, remote.Config{URL: "https://" + address, RetryLimit: -1})
	if _, err := client.Capabilities(t.Context()); status.Code(err) != codes.Unavailable || len(server.headers) != 0 {
		t.Errorf("error %v, want UNAVAILABLE", err)
	}
}
