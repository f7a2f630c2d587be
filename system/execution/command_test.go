package execution

import (
	"slices"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
)

// command has something in each kind of field.
func command(platform *repb.Platform) *repb.Command {
	return &repb.Command{
		Arguments:            []string{"cc", "", "-o", "ä.o"},
		EnvironmentVariables: []*repb.Command_EnvironmentVariable{{Name: "PATH", Value: "/bin"}},
		OutputPaths:          []string{"ä.o"}, WorkingDirectory: "src", OutputNodeProperties: []string{"mtime"},
		//lint:ignore SA1019 clients of REAPI 2.0 and 2.1 have no other place for it
		Platform: platform,
	}
}

func TestThePlatformOfACommandIsThatOfTheMessage(t *testing.T) {
	linux := &repb.Platform{Properties: []*repb.Platform_Property{{Name: "OSFamily", Value: "linux"}}}
	whole, twice := marshal(command(linux)), slices.Concat(marshal(command(linux)), marshal(command(linux)))
	for name, test := range map[string]struct {
		data []byte
		ok   bool
	}{
		"none":                          {marshal(command(nil)), true},
		"one":                           {whole, true},
		"empty":                         {marshal(command(new(repb.Platform))), true},
		"several parts":                 {twice, true},
		"an unknown field":              {protowire.AppendVarint(protowire.AppendTag(whole, 99, protowire.VarintType), 7), true},
		"arguments of another type":     {protowire.AppendVarint(protowire.AppendTag(slices.Clone(whole), commandArguments, protowire.VarintType), 7), true},
		"cut off":                       {whole[:len(whole)-1], false},
		"an argument that isn't UTF-8":  {appendText(slices.Clone(whole), commandArguments, "\xff"), false},
		"a platform that is no message": {appendText(slices.Clone(whole), commandPlatform, "\xff"), false},
		"no arguments":                  {marshal(&repb.Command{WorkingDirectory: "src"}), false},
		"nothing":                       {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := platformOf(digest.Of([]byte("action")), digest.Of(test.data), test.data)
			if (err == nil) != test.ok {
				t.Fatalf("got error %v, want none: %v", err, test.ok)
			}
			m := new(repb.Command)
			decodes := proto.Unmarshal(test.data, m) == nil && len(m.Arguments) > 0
			if decodes != test.ok {
				t.Fatalf("the message's own code can use it: %v", decodes)
			}
			//lint:ignore SA1019 see command
			want := m.Platform
			if test.ok && !proto.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func BenchmarkPlatformOf(b *testing.B) {
	m := command(nil)
	for range 100 {
		m.Arguments = append(m.Arguments, "-Iexternal/some_library/include")
	}
	data := marshal(m)
	b.Run("by=hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := platformOf(digest.Empty, digest.Empty, data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("by=message", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := proto.Unmarshal(data, new(repb.Command)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
