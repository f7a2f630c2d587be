package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/proto/admin"
	"github.com/weir-build/weir/system/remote"
)

// serverFlags say which cluster a command is about, and who asks.
type serverFlags struct {
	remote remote.Config
}

func (f *serverFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.remote.URL, "server", "grpc://"+clientAddress, "URL of the cluster's proxy: grpc://HOST:PORT, or grpcs:// over TLS")
	flags.StringVar(&f.remote.Instance, "instance", "", "REAPI instance name")
	flags.StringVar(&f.remote.AccessToken, "token", "", "file of a token (JWT) with the scope admin")
	flags.StringVar(&f.remote.ServerCert, "server-cert", "", "file of the certificate authority to trust (PEM; default the system's)")
	flags.StringVar(&f.remote.ClientCert, "client-cert", "", "file of this client's certificate (PEM)")
	flags.StringVar(&f.remote.ClientKey, "client-key", "", "file of its key (PEM)")
}

// dial returns a client of the cluster, which the caller closes. It doesn't try
// again by itself: a person waits.
func (f *serverFlags) dial() (admin.AdminClient, io.Closer, error) {
	f.remote.RetryLimit = -1
	client, err := remote.Dial(f.remote)
	if err != nil {
		return nil, nil, usageError{err}
	}
	return admin.NewAdminClient(client.Conn()), client, nil
}

// explain says of a call's error what to do about it.
func (f *serverFlags) explain(err error) error {
	s := status.Convert(err)
	switch s.Code() {
	case codes.OK:
		return nil
	case codes.Unavailable:
		return fmt.Errorf("no server answers at %s: is weir up running? Another is named by --server (%s)", f.remote.URL, s.Message())
	case codes.Unauthenticated:
		return fmt.Errorf("%s wants to know who asks: name the file of a token with the scope admin by --token (%s)", f.remote.URL, s.Message())
	case codes.PermissionDenied:
		return fmt.Errorf("%s refuses: the token needs the scope admin (its claim aud), and to be for the instance %q (%s)", f.remote.URL, f.remote.Instance, s.Message())
	case codes.Unimplemented:
		return fmt.Errorf("%s doesn't offer this: its listener's allowed_service_names must have weir.admin.v1.Admin (%s)", f.remote.URL, s.Message())
	}
	return fmt.Errorf("%s: %s", f.remote.URL, s.Message())
}

// printMessage prints a message as JSON, with the names of its .proto file and all
// of its fields.
func printMessage(w io.Writer, m proto.Message) error {
	data, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return err
	}
	var indented bytes.Buffer
	// What protojson prints has a space here or there from build to build.
	if err := json.Indent(&indented, data, "", "  "); err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, indented.String())
	return err
}

// printable is a text that others chose, as it may be shown on a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '?'
		}
		return r
	}, text)
}
