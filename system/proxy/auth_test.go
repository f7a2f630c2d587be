package proxy_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/admin"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/proxy"
)

const (
	findMissing  = "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs"
	getResult    = "/build.bazel.remote.execution.v2.ActionCache/GetActionResult"
	updateResult = "/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult"
	execute      = "/build.bazel.remote.execution.v2.Execution/Execute"
	updateBot    = "/google.devtools.remoteworkers.v1test2.Bots/UpdateBotSession"
	createBot    = "/google.devtools.remoteworkers.v1test2.Bots/CreateBotSession"
	healthCheck  = "/grpc.health.v1.Health/Check"
)

var blob = digest.Of([]byte("a blob"))

// rpc is what the proxy must know of a method: the scope it needs, whether it
// may be tried again, and a request for instance "acme" or another.
type rpc struct {
	scope   string
	retried bool
	request func(instance string) proto.Message
}

// rpcs is written down apart from the proxy's own table.
var rpcs = map[string]rpc{
	findMissing: {"cache_ro", true, func(i string) proto.Message { return &repb.FindMissingBlobsRequest{InstanceName: i} }},
	"/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchReadBlobs":       {"cache_ro", true, func(i string) proto.Message { return &repb.BatchReadBlobsRequest{InstanceName: i} }},
	"/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs":     {"cache_rw", true, func(i string) proto.Message { return &repb.BatchUpdateBlobsRequest{InstanceName: i} }},
	"/build.bazel.remote.execution.v2.ContentAddressableStorage/GetTree":              {"cache_ro", true, func(i string) proto.Message { return &repb.GetTreeRequest{InstanceName: i} }},
	"/build.bazel.remote.execution.v2.ContentAddressableStorage/SplitBlob":            {"cache_rw", true, func(i string) proto.Message { return &repb.SplitBlobRequest{InstanceName: i} }},
	"/build.bazel.remote.execution.v2.ContentAddressableStorage/SpliceBlob":           {"cache_rw", true, func(i string) proto.Message { return &repb.SpliceBlobRequest{InstanceName: i} }},
	"/build.bazel.remote.execution.v2.ContentAddressableStorage/GetChunkMapping":      {"cache_ro", true, func(i string) proto.Message { return &repb.GetChunkMappingRequest{InstanceName: i} }},
	"/build.bazel.remote.execution.v2.ContentAddressableStorage/RegisterChunkMapping": {"cache_rw", false, func(i string) proto.Message { return &repb.RegisterChunkMappingRequest{InstanceName: i} }},
	getResult:                             {"cache_ro", true, func(i string) proto.Message { return &repb.GetActionResultRequest{InstanceName: i} }},
	updateResult:                          {"cache_rw", true, func(i string) proto.Message { return &repb.UpdateActionResultRequest{InstanceName: i} }},
	"/google.bytestream.ByteStream/Read":  {"cache_ro", true, func(i string) proto.Message { return &bspb.ReadRequest{ResourceName: digest.ReadName(i, blob)} }},
	"/google.bytestream.ByteStream/Write": {"cache_rw", false, func(i string) proto.Message { return &bspb.WriteRequest{ResourceName: digest.WriteName(i, "u", blob)} }},
	"/google.bytestream.ByteStream/QueryWriteStatus": {"cache_rw", true, func(i string) proto.Message {
		return &bspb.QueryWriteStatusRequest{ResourceName: digest.WriteName(i, "u", blob)}
	}},
	"/build.bazel.remote.execution.v2.Capabilities/GetCapabilities": {"cache_ro", true, func(i string) proto.Message { return &repb.GetCapabilitiesRequest{InstanceName: i} }},
	execute: {"exec", false, func(i string) proto.Message { return &repb.ExecuteRequest{InstanceName: i} }},
	"/build.bazel.remote.execution.v2.Execution/WaitExecution": {"exec", true, func(i string) proto.Message {
		return &repb.WaitExecutionRequest{Name: digest.OperationName(i, "1")}
	}},
	"/google.longrunning.Operations/ListOperations": {"exec", true, func(i string) proto.Message {
		return &longrunningpb.ListOperationsRequest{Name: strings.TrimPrefix(i+"/operations", "/")}
	}},
	"/google.longrunning.Operations/GetOperation": {"exec", true, func(i string) proto.Message {
		return &longrunningpb.GetOperationRequest{Name: digest.OperationName(i, "1")}
	}},
	"/google.longrunning.Operations/DeleteOperation": {"exec", false, func(i string) proto.Message {
		return &longrunningpb.DeleteOperationRequest{Name: digest.OperationName(i, "1")}
	}},
	"/google.longrunning.Operations/CancelOperation": {"exec", true, func(i string) proto.Message {
		return &longrunningpb.CancelOperationRequest{Name: digest.OperationName(i, "1")}
	}},
	"/google.longrunning.Operations/WaitOperation": {"exec", true, func(i string) proto.Message {
		return &longrunningpb.WaitOperationRequest{Name: digest.OperationName(i, "1")}
	}},
	createBot: {"exec", false, func(i string) proto.Message { return &bots.CreateBotSessionRequest{Parent: i} }},
	updateBot: {"exec", false, func(i string) proto.Message {
		name := digest.SessionName(i, "1")
		return &bots.UpdateBotSessionRequest{Name: name, BotSession: &bots.BotSession{Name: name}}
	}},
	"/weir.admin.v1.Admin/Explain":  {"admin", true, func(i string) proto.Message { return &admin.ExplainRequest{Name: digest.OperationName(i, "1")} }},
	"/weir.admin.v1.Admin/Drain":    {"admin", false, func(i string) proto.Message { return &admin.DrainRequest{InstanceName: i} }},
	"/weir.admin.v1.Admin/GetState": {"admin", true, func(i string) proto.Message { return &admin.GetStateRequest{InstanceName: i} }},
	"/weir.admin.v1.Admin/Watch":    {"admin", true, func(i string) proto.Message { return &admin.WatchRequest{InstanceName: i} }},
}

// TestEveryMethodHasARow fails when a new version of the APIs brings a method
// that nobody has thought about.
func TestEveryMethodHasARow(t *testing.T) {
	found := 0
	for _, name := range allServices {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			t.Fatal(err)
		}
		methods := d.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			full := "/" + name + "/" + string(methods.Get(i).Name())
			if _, ok := rpcs[full]; !ok {
				t.Errorf("method %s is not in the test's table", full)
			}
			found++
		}
	}
	if found != len(rpcs) {
		t.Errorf("the services have %d methods, the table %d", found, len(rpcs))
	}
}

func TestScopeOfEveryMethod(t *testing.T) {
	b := startBackend(t, nil, nil)
	c := config(b, proxy.JWT)
	c.JWKSetPath = writeFile(t, "jwks.json", jwks(t))
	p := startProxy(t, c)
	order := []string{"", "cache_ro", "cache_rw", "exec", "admin"}
	rank := map[string]int{"": 0, "cache_ro": 1, "cache_rw": 2, "exec": 3, "admin": 4}
	for method, m := range rpcs {
		for _, have := range order {
			want := codes.PermissionDenied
			if rank[have] >= rank[m.scope] {
				want = codes.OK
			}
			ctx := bearing(t, newToken("acme", "somebody-else", have).signed(t))
			err := invoke(ctx, p.conns[0], method, m.request("acme"))
			if got := status.Code(err); got != want {
				t.Errorf("%s with scope %q: got %v (%v), want %v", method, have, got, err, want)
			}
			if want != codes.OK && status.Convert(err).Message() != "insufficient permissions" {
				t.Errorf("%s with scope %q: got message %q", method, have, status.Convert(err).Message())
			}
		}
		// Another instance than the customer's.
		ctx := bearing(t, newToken("acme", "admin").signed(t))
		for _, instance := range []string{"other", "acme/sub", ""} {
			if got := status.Code(invoke(ctx, p.conns[0], method, m.request(instance))); got != codes.PermissionDenied {
				t.Errorf("%s for instance %q: got %v, want PermissionDenied", method, instance, got)
			}
		}
		// No token.
		if got := status.Code(invoke(t.Context(), p.conns[0], method, m.request("acme"))); got != codes.Unauthenticated {
			t.Errorf("%s without a token: got %v, want Unauthenticated", method, got)
		}
	}
	for _, c := range b.seen() {
		if got := c.md.Get("weir-tenant"); len(got) != 1 || got[0] != "acme" {
			t.Errorf("backend is told of the tenant %q", got)
		}
		if got := c.md.Get("weir-identity"); len(got) != 1 || got[0] != "jwt:acme/h" {
			t.Errorf("%s: backend saw identity %q, want jwt:acme/h", c.method, got)
		}
		if got := c.md.Get("authorization"); len(got) != 0 {
			t.Errorf("%s: backend saw an authorization header", c.method)
		}
	}
}

func TestGoodTokens(t *testing.T) {
	b := startBackend(t, nil, nil)
	c := config(b, proxy.JWT)
	c.JWKSetPath = writeFile(t, "jwks.json", marshal(t, map[string]any{
		"CURRENT":  []any{map[string]any{"VALUE": string(jwks(t)), "TRANSITIONS": []any{}}},
		"PREVIOUS": []any{},
	}))
	p := startProxy(t, c)
	for name, change := range map[string]func(*token){
		"shared secret":      func(*token) {},
		"RSA":                func(k *token) { k.method, k.key, k.header["kid"] = jwt.SigningMethodRS256, rsaKey(), "r" },
		"elliptic curve":     func(k *token) { k.method, k.key, k.header["kid"] = jwt.SigningMethodES256, ecKey(), "e" },
		"audience as string": func(k *token) { k.claims["aud"] = "exec" },
		"fractional times":   func(k *token) { k.claims["iat"] = float64(time.Now().UnixMilli())/1000 - 10 },
		"foreign claims":     func(k *token) { k.claims["iss"], k.claims["username"] = "toolchain", "somebody" },
	} {
		k := newToken("acme", "cache_ro")
		change(&k)
		// Twice: the second time it is remembered.
		for range 2 {
			if err := invoke(bearing(t, k.signed(t)), p.conns[0], findMissing, rpcs[findMissing].request("acme")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestBadTokens(t *testing.T) {
	b := startBackend(t, nil, nil)
	c := config(b, proxy.JWT)
	c.JWKSetPath = writeFile(t, "jwks.json", jwks(t))
	p := startProxy(t, c)
	publicDER, err := x509.MarshalPKIXPublicKey(&rsaKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER})
	now := time.Now()
	cases := []struct {
		name   string
		change func(*token)
		reason string
	}{
		{"expired", func(k *token) { k.claims["exp"] = now.Add(-5 * time.Second).Unix() }, "expired"},
		{"issued in the future", func(k *token) { k.claims["iat"] = now.Add(time.Hour).Unix() }, "not_yet_valid"},
		{"not valid yet", func(k *token) { k.claims["nbf"] = now.Add(time.Hour).Unix() }, "not_yet_valid"},
		{"without iat", func(k *token) { delete(k.claims, "iat") }, "missing_claim"},
		{"without exp", func(k *token) { delete(k.claims, "exp") }, "missing_claim"},
		{"without aud", func(k *token) { delete(k.claims, "aud") }, "missing_claim"},
		{"without customer", func(k *token) { delete(k.claims, "toolchain_customer") }, "missing_claim"},
		{"empty customer", func(k *token) { k.claims["toolchain_customer"] = "" }, "missing_claim"},
		{"exp is text", func(k *token) { k.claims["exp"] = "tomorrow" }, "malformed_token"},
		{"unknown kid", func(k *token) { k.header["kid"] = "x" }, "unknown_key"},
		{"no kid", func(k *token) { delete(k.header, "kid") }, "unknown_key"},
		{"kid is a number", func(k *token) { k.header["kid"] = 1 }, "unknown_key"},
		{"wrong key", func(k *token) { k.key = otherKey }, "bad_signature"},
		{"no algorithm", func(k *token) { k.method, k.key = jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType }, "bad_signature"},
		{"public key as shared secret", func(k *token) { k.key, k.header["kid"] = publicPEM, "r" }, "wrong_algorithm"},
		{"other algorithm of the key", func(k *token) { k.method = jwt.SigningMethodHS512 }, "bad_signature"},
		{"algorithm of another key", func(k *token) { k.method, k.key = jwt.SigningMethodRS256, rsaKey() }, "wrong_algorithm"},
		{"critical extension", func(k *token) { k.header["crit"] = []string{"b64"} }, "malformed_token"},
	}
	var secrets []string
	for _, test := range cases {
		k := newToken("acme", "exec")
		test.change(&k)
		text := k.signed(t)
		secrets = append(secrets, text)
		before := p.counter(t, "weir_proxy_auth_failures_total", test.reason)
		err := invoke(bearing(t, text), p.conns[0], findMissing, rpcs[findMissing].request("acme"))
		if s := status.Convert(err); s.Code() != codes.Unauthenticated || s.Message() != "authorization failed" {
			t.Errorf("%s: got %v, want Unauthenticated: authorization failed", test.name, err)
		}
		if got := p.counter(t, "weir_proxy_auth_failures_total", test.reason) - before; got != 1 {
			t.Errorf("%s: counted %v failures with reason %s, want 1", test.name, got, test.reason)
		}
	}
	good := newToken("acme", "cache_ro").signed(t)
	secrets = append(secrets, good)
	for name, header := range map[string][]string{
		"lower case":     {"authorization", "bearer " + good},
		"two spaces":     {"authorization", "Bearer  " + good},
		"basic":          {"authorization", "Basic " + good},
		"bare":           {"authorization", good},
		"empty":          {"authorization", "Bearer "},
		"two headers":    {"authorization", "Bearer " + good, "authorization", "Bearer " + good},
		"garbage":        {"authorization", "Bearer a.b.c"},
		"one part":       {"authorization", "Bearer " + good[:20]},
		"cut signature":  {"authorization", "Bearer " + good[:len(good)-4]},
		"text after it":  {"authorization", "Bearer " + good + " " + good},
		"another header": {"x-authorization", "Bearer " + good},
	} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), header...)
		if got := status.Code(invoke(ctx, p.conns[0], findMissing, rpcs[findMissing].request("acme"))); got != codes.Unauthenticated {
			t.Errorf("%s: got %v, want Unauthenticated", name, got)
		}
	}
	// A good token without enough scope: the old server logged it.
	_ = invoke(bearing(t, good), p.conns[0], execute, rpcs[execute].request("acme"))
	if n := len(b.seen()); n != 0 {
		t.Errorf("%d calls got through to the backend", n)
	}
	log := p.log.String()
	if !strings.Contains(log, "reason=bad_signature") || !strings.Contains(log, "customer=acme") || !strings.Contains(log, "kid=h") {
		t.Errorf("the log doesn't name reason, customer and kid:\n%s", log)
	}
	for _, secret := range secrets {
		// Not even the part that makes it valid.
		signature := secret[strings.LastIndexByte(secret, '.')+1:]
		if strings.Contains(log, secret) || signature != "" && strings.Contains(log, signature) {
			t.Errorf("a token is in the log")
		}
	}
}

func TestKeysAreReloaded(t *testing.T) {
	b := startBackend(t, nil, nil)
	c := config(b, proxy.JWT)
	set := func(kid string) []byte {
		return marshal(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: hmacKey, KeyID: kid, Algorithm: "HS256"}}})
	}
	c.JWKSetPath = writeFile(t, "jwks.json", set("h"))
	p := startProxy(t, c)
	old, renewed := newToken("acme", "exec"), newToken("acme", "exec")
	renewed.header["kid"] = "h2"
	expect := func(when string, k token, want codes.Code) {
		t.Helper()
		if got := status.Code(invoke(bearing(t, k.signed(t)), p.conns[0], findMissing, rpcs[findMissing].request("acme"))); got != want {
			t.Errorf("%s, key %v: got %v, want %v", when, k.header["kid"], got, want)
		}
	}
	expect("at first", old, codes.OK)
	expect("at first", renewed, codes.Unauthenticated)

	writeFile(t, c.JWKSetPath, []byte(`{"keys": [`))
	if err := p.server.Reload(); err == nil {
		t.Error("reload of a broken file: no error")
	}
	expect("after a broken file", old, codes.OK)

	writeFile(t, c.JWKSetPath, set("h2"))
	if err := p.server.Reload(); err != nil {
		t.Fatal(err)
	}
	expect("after rotation", old, codes.Unauthenticated)
	expect("after rotation", renewed, codes.OK)
}

const (
	activeToken   = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	inactiveToken = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

const tokenMap = `{
	"` + activeToken + `": {"id": "t1", "instance_name": "acme", "customer_slug": "acme corp", "is_active": true},
	"` + inactiveToken + `": {"id": "t2", "instance_name": "acme", "customer_slug": "acme corp", "is_active": false}
}`

func TestWorkerTokens(t *testing.T) {
	b := startBackend(t, nil, nil)
	c := config(b, proxy.AuthToken)
	c.Tokens = &proxy.TokenFile{Path: writeFile(t, "tokens.json", []byte(tokenMap))}
	p := startProxy(t, c)
	for method, m := range rpcs {
		want := codes.OK
		if method == updateResult || m.scope == "admin" {
			want = codes.PermissionDenied
		}
		if got := status.Code(invoke(bearing(t, activeToken), p.conns[0], method, m.request("acme"))); got != want {
			t.Errorf("%s with an active token: got %v, want %v", method, got, want)
		}
		err := invoke(bearing(t, activeToken), p.conns[0], method, m.request("other"))
		if got := status.Code(err); got != codes.PermissionDenied {
			t.Errorf("%s for another instance: got %v, want PermissionDenied", method, got)
		}
		for _, text := range []string{inactiveToken, "unknown", activeToken[1:], activeToken + "a"} {
			err := invoke(bearing(t, text), p.conns[0], method, m.request("acme"))
			if s := status.Convert(err); s.Code() != codes.Unauthenticated || s.Message() != "auth token not valid" {
				t.Errorf("%s with token %.5s…: got %v, want Unauthenticated: auth token not valid", method, text, err)
			}
		}
	}
	for _, c := range b.seen() {
		if got := c.md.Get("weir-tenant"); len(got) != 1 || got[0] != "acme%20corp" {
			t.Errorf("backend is told of the tenant %q", got)
		}
		if got := c.md.Get("weir-identity"); len(got) != 1 || got[0] != "auth_token:acme%20corp/t1" {
			t.Fatalf("%s: backend saw identity %q, want auth_token:acme%%20corp/t1", c.method, got)
		}
	}
	if log := p.log.String(); strings.Contains(log, activeToken[:10]) || strings.Contains(log, inactiveToken[:10]) {
		t.Error("a token is in the log")
	}
}

func TestTokensAreReloaded(t *testing.T) {
	b := startBackend(t, nil, nil)
	c := config(b, proxy.AuthToken)
	path := writeFile(t, "tokens.json", []byte(tokenMap))
	c.Tokens = &proxy.TokenFile{Path: path}
	p := startProxy(t, c)
	poll := func(ctx context.Context) codes.Code {
		return status.Code(invoke(ctx, p.conns[0], updateBot, rpcs[updateBot].request("acme")))
	}
	for _, broken := range []string{"", "{", "[]", "null", `{"x": 1}`, `{"x": {"id": "t3", "is_active": true}}`, `{"x": {"instance_name": "a/../b"}}`} {
		writeFile(t, path, []byte(broken))
		err := p.server.Reload()
		if err == nil {
			t.Errorf("reload of %q: no error", broken)
		}
		if got := poll(bearing(t, activeToken)); got != codes.OK {
			t.Errorf("after reload of %q: got %v, want OK", broken, got)
		}
	}
	if got := p.counter(t, "weir_proxy_credentials_failures_total", "tokens"); got != 7 {
		t.Errorf("counted %v failures to reload, want 7", got)
	}
	// What failed once is read again though the file was seen: revoke.
	writeFile(t, path, []byte(strings.Replace(tokenMap, "true", "false", 1)))
	if err := p.server.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := poll(bearing(t, activeToken)); got != codes.Unauthenticated {
		t.Errorf("after revocation: got %v, want Unauthenticated", got)
	}
	if got := p.counter(t, "weir_proxy_credentials_loaded_timestamp_seconds", "tokens"); got < float64(time.Now().Add(-time.Minute).Unix()) {
		t.Errorf("credentials were loaded at %v, want now", got)
	}
}
