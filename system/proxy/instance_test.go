package proxy

import (
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/proto/bots"
)

// pieces cuts data into buffers of n bytes, as gRPC does with what it receives.
func pieces(data []byte, n int) mem.BufferSlice {
	var s mem.BufferSlice
	for len(data) > n {
		s = append(s, mem.SliceBuffer(data[:n]))
		data = data[n:]
	}
	return append(s, mem.SliceBuffer(data))
}

func text(number protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), value)
}

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func TestField(t *testing.T) {
	group := join(protowire.AppendTag(nil, 9, protowire.StartGroupType), text(1, "inner"), protowire.AppendTag(nil, 9, protowire.EndGroupType))
	number := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 300)
	var deep []byte
	for range 17 {
		deep = protowire.AppendTag(deep, 9, protowire.StartGroupType)
	}
	one, nested := []protowire.Number{1}, []protowire.Number{2, 1}
	for _, test := range []struct {
		name    string
		data    []byte
		path    []protowire.Number
		want    string
		present bool
		fails   bool
	}{
		{"empty message", nil, one, "", false, false},
		{"only it", text(1, "acme"), one, "acme", true, false},
		{"last wins", join(text(1, "acme"), text(7, "x"), text(1, "other")), one, "other", true, false},
		{"empty last", join(text(1, "acme"), text(1, "")), one, "", true, false},
		{"unknown fields", join(text(3, "x"), number, group, text(1, "acme"), group), one, "acme", true, false},
		{"other wire type", number, one, "", false, false},
		{"nested", text(2, string(join(text(2, "id"), text(1, "acme")))), nested, "acme", true, false},
		{"nested, empty", text(2, ""), nested, "", true, false},
		{"nested, not set", text(1, "acme"), nested, "", false, false},
		{"nested, merged", join(text(2, string(text(1, "acme"))), text(2, string(text(2, "id")))), nested, "acme", true, false},
		{"cut tag", []byte{0x80}, one, "", false, true},
		{"cut length", []byte{0x0a}, one, "", false, true},
		{"cut text", []byte{0x0a, 4, 'a'}, one, "", false, true},
		{"cut fixed", []byte{0x1d, 0, 0}, one, "", false, true},
		{"nested beyond its end", join([]byte{0x12, 2, 0x0a, 4}, []byte("acme")), nested, "", false, true},
		{"field 0", []byte{0x02, 0}, one, "", false, true},
		{"wire type 6", []byte{0x0e}, one, "", false, true},
		{"group without end", []byte{0x4b}, one, "", false, true},
		{"end without group", []byte{0x4c}, one, "", false, true},
		{"end of another group", []byte{0x4b, 0x54}, one, "", false, true},
		{"groups too deep", deep, one, "", false, true},
		{"varint too long", []byte{0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, one, "", false, true},
		{"name too long", text(1, strings.Repeat("a", maxNameBytes+1)), one, "", false, true},
	} {
		for _, n := range []int{1, 3, 1 << 20} {
			got, present, err := field(pieces(test.data, n), test.path)
			switch {
			case test.fails:
				if err == nil {
					t.Errorf("%s in pieces of %d: no error", test.name, n)
				}
			case err != nil || got != test.want || present != test.present:
				t.Errorf("%s in pieces of %d: got %q, %v, error %v, want %q, %v", test.name, n, got, present, err, test.want, test.present)
			}
		}
	}
}

// FuzzField holds the decoder against the real one: what a backend will see is
// what was authorised.
func FuzzField(f *testing.F) {
	f.Add(text(1, "acme"), 1)
	f.Add(join(text(1, "acme"), text(1, "other")), 2)
	f.Add(join(text(1, "a"), text(2, string(text(1, "acme"))), text(2, string(text(1, "other")))), 3)
	f.Add([]byte{0x4b, 0x0a, 1, 'x', 0x4c}, 1)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		if n < 1 || n > len(data)+1 {
			n = 1
		}
		check := func(message proto.Message, path []protowire.Number, real func() string) {
			t.Helper()
			got, _, err := field(pieces(data, n), path)
			if proto.Unmarshal(data, message) != nil || err != nil {
				return // whatever one of them refuses reaches nobody
			}
			if got != real() {
				t.Errorf("field %v: got %q, a backend sees %q", path, got, real())
			}
		}
		find, update := &repb.FindMissingBlobsRequest{}, &bots.UpdateBotSessionRequest{}
		check(find, []protowire.Number{1}, func() string { return find.InstanceName })
		check(update, []protowire.Number{2, 1}, func() string { return update.GetBotSession().GetName() })
	})
}
