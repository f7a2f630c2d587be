// Package remote is the client of REAPI servers: one for the whole project.
//
//	client, err := remote.Dial(remote.Config{URL: "grpc://127.0.0.1:8980"})
//	data, err := client.ReadBlob(ctx, d)
//	response, err := client.Execute(ctx, request, nil)
//
// A [Client] talks to one instance on one endpoint. [Client.Store] gives its CAS
// the form of a cas.Store, [Batcher] joins reads of small blobs that are under
// way at the same time into one call. With a [Compressor] blobs travel compressed
// where the server can.
//
// The package imports gRPC, protobuf and our words, nothing else: runners, of
// which one is started for each action, link it.
package remote

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/weir-build/weir/system/digest"
)

// Config says where a server is and how to talk to it: the connection options
// that all BuildBox programs share.
type Config struct {
	// URL of the server: grpc:// or http:// in the clear, grpcs:// or https://
	// over TLS, unix:PATH for a socket. The port defaults to 80 or 443.
	URL string
	// Instance is the REAPI instance name; may be empty.
	Instance string

	// PEM files: the certificate authority to trust (default: the system's), and
	// key and certificate of this client, which come together.
	ServerCert, ClientKey, ClientCert string
	// The same as PEM text, each instead of the file.
	ServerPEM, ClientKeyPEM, ClientCertPEM string

	// AccessToken is a file that holds a bearer token. It is sent over TLS, a
	// Unix socket or loopback only.
	AccessToken string
	// CredentialHelper is a program that tells headers to send, such as a token that is
	// made anew every hour, to the same places as AccessToken.
	CredentialHelper string
	// GoogleAuth sends tokens of Google's application default credentials, over TLS only.
	// Of these three there is one at most.
	GoogleAuth bool
	// TokenReload is how old a token may get before the file is read again; 0
	// reads it once.
	TokenReload time.Duration

	// RetryLimit is the number of retries after a first attempt that failed
	// with UNAVAILABLE; negative means none, 0 means the default of 4 (the
	// most gRPC allows).
	RetryLimit int
	// RetryDelay is the first delay, later ones grow by 1.6; default 1 s.
	RetryDelay time.Duration
	// RetryOn names further statuses that are retried, such as INTERNAL.
	RetryOn []string

	// Keepalive is the interval of HTTP/2 pings on an idle connection that has
	// calls open; 0 means none.
	Keepalive time.Duration
	// RequestTimeout bounds each unary call; 0 means no bound but the caller's.
	RequestTimeout time.Duration
	// MinThroughput, in bytes per second, bounds ByteStream calls too: by RequestTimeout
	// and what the blob takes at that speed. 0, or no RequestTimeout, means no bound.
	MinThroughput int64

	// Balancer is the name of a load-balancing policy that is registered with gRPC, for
	// calls of a name with several addresses; empty means round_robin.
	Balancer string

	// Compressor encodes and decodes what goes over the wire, as far as the
	// server's capabilities have it; nil means that all of it goes plain.
	Compressor Compressor
}

// Limits of what goes over the wire.
const (
	// maxMessageBytes is what we accept in one message. gRPC-Go's default of
	// 4 MiB is also the largest batch servers advertise, which leaves nothing
	// for the framing of a full one.
	maxMessageBytes = 16 << 20
	// connectionWindow and streamWindow are HTTP/2 flow-control windows, those of our
	// servers: gRPC's own adapt, for which it sends a ping with most of what it
	// receives, and each costs both sides a packet and a wake-up.
	connectionWindow = 8 << 20
	streamWindow     = 4 << 20
	// maxRetries is gRPC's own limit (retry design, A6: five attempts).
	maxRetries = 4
)

// endpoint is a URL taken apart.
type endpoint struct {
	target string // for grpc.NewClient
	secure bool
	local  bool // the traffic can't leave this machine
}

func (c Config) endpoint() (endpoint, error) {
	if path, ok := strings.CutPrefix(c.URL, "unix:"); ok && path != "" {
		return endpoint{target: "unix:" + path, local: true}, nil
	}
	scheme, rest, ok := strings.Cut(c.URL, "://")
	host := strings.TrimSuffix(rest, "/")
	if !ok || host == "" || strings.ContainsAny(host, "/?#@ ") {
		return endpoint{}, fmt.Errorf("remote %q: want grpc://HOST:PORT, grpcs://HOST:PORT or unix:PATH", c.URL)
	}
	var e endpoint
	port := "80"
	switch scheme {
	case "grpc", "http":
	case "grpcs", "https":
		e.secure, port = true, "443"
	default:
		return endpoint{}, fmt.Errorf("remote %q: unknown scheme %q; use grpc, grpcs, http, https or unix", c.URL, scheme)
	}
	name, given, err := net.SplitHostPort(host)
	if err != nil {
		// No port; an IPv6 address may stand in brackets all the same.
		name, given = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), port
	}
	if number, err := strconv.ParseUint(given, 10, 16); err != nil || number == 0 || name == "" {
		return endpoint{}, fmt.Errorf("remote %q: want a host and a port from 1 to 65535", c.URL)
	}
	e.target = "dns:///" + net.JoinHostPort(name, given)
	address, err := netip.ParseAddr(name)
	e.local = name == "localhost" || err == nil && address.IsLoopback()
	return e, nil
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	e, err := c.endpoint()
	problems := []error{err, digest.CheckInstance(c.Instance)}
	if (c.ClientKey == "") != (c.ClientCert == "") || (c.ClientKeyPEM == "") != (c.ClientCertPEM == "") {
		problems = append(problems, errors.New("client key and client certificate come together"))
	}
	if c.ServerCert != "" && c.ServerPEM != "" || c.ClientKey != "" && c.ClientKeyPEM != "" {
		problems = append(problems, errors.New("a certificate is a file or text, not both"))
	}
	if err == nil && !e.secure {
		if c.ServerCert != "" || c.ClientKey != "" || c.ServerPEM != "" || c.ClientKeyPEM != "" {
			problems = append(problems, fmt.Errorf("remote %q: certificates need grpcs:// or https://", c.URL))
		}
		if (c.AccessToken != "" || c.CredentialHelper != "") && !e.local {
			problems = append(problems, fmt.Errorf("remote %q: an access token leaves this machine only over grpcs:// or https://", c.URL))
		}
		if c.GoogleAuth {
			problems = append(problems, fmt.Errorf("remote %q: Google's credentials need grpcs:// or https://", c.URL))
		}
	}
	if c.authentications() > 1 {
		problems = append(problems, errors.New("access token, credential helper and Google's credentials exclude each other"))
	}
	return errors.Join(problems...)
}

func (c Config) authentications() (n int) {
	for _, given := range []bool{c.AccessToken != "", c.CredentialHelper != "", c.GoogleAuth} {
		if given {
			n++
		}
	}
	return n
}

// CheckCode reports whether a name is that of a gRPC status that can be retried.
func CheckCode(name string) error {
	var code codes.Code
	if err := code.UnmarshalJSON([]byte(strconv.Quote(name))); err != nil || code == codes.OK {
		return fmt.Errorf("%.50q is not the name of a gRPC status, such as INTERNAL", name)
	}
	return nil
}

// Dial returns a client of the server that c names. It connects when first
// used. The caller closes it.
func Dial(c Config, options ...grpc.DialOption) (*Client, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	e, _ := c.endpoint()
	transport := insecure.NewCredentials()
	if e.secure {
		config, err := c.tls()
		if err != nil {
			return nil, err
		}
		transport = credentials.NewTLS(config)
	}
	all := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(c.serviceConfig()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes)),
		grpc.WithInitialConnWindowSize(connectionWindow), grpc.WithInitialWindowSize(streamWindow),
	}
	if c.Keepalive > 0 {
		all = append(all, grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: c.Keepalive}))
	}
	perCall, err := c.perCall(e)
	if err != nil {
		return nil, err
	}
	if perCall != nil {
		all = append(all, grpc.WithPerRPCCredentials(perCall))
	}
	conn, err := grpc.NewClient(e.target, append(all, options...)...)
	if err != nil {
		return nil, fmt.Errorf("remote %q: %w", c.URL, err)
	}
	return newClient(conn, c.Instance, c.Compressor, patience{c.RequestTimeout, c.MinThroughput}), nil
}

// perCall returns what goes with each call to say who calls; nil for nothing.
func (c Config) perCall(e endpoint) (credentials.PerRPCCredentials, error) {
	switch {
	case c.AccessToken != "":
		token := &tokenFile{path: c.AccessToken, reload: c.TokenReload, secure: e.secure}
		_, err := token.read()
		return token, err
	case c.CredentialHelper != "":
		return newCredentialHelper(c.CredentialHelper, e)
	case c.GoogleAuth:
		return googleCredentials()
	}
	return nil, nil
}

func (c Config) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	authority, err := pemOf(c.ServerPEM, c.ServerCert)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	if authority != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(authority) {
			return nil, fmt.Errorf("server certificate %s: no PEM certificate in it", c.ServerCert)
		}
	}
	certificate, err := pemOf(c.ClientCertPEM, c.ClientCert)
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	key, err := pemOf(c.ClientKeyPEM, c.ClientKey)
	if err != nil {
		return nil, fmt.Errorf("client key: %w", err)
	}
	if certificate != nil {
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// pemOf returns what is given as text or as a file, nil if neither is.
func pemOf(text, file string) ([]byte, error) {
	switch {
	case text != "":
		return []byte(text), nil
	case file != "":
		return os.ReadFile(file)
	}
	return nil, nil
}
