package options_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-build/weir/system/options"
	"github.com/weir-build/weir/system/remote"
)

func TestParse(t *testing.T) {
	type values struct {
		Text, Empty, Spaced string
		Flag                bool
		List, Rest          []string
	}
	for _, test := range []struct {
		args string
		want values
		err  string
	}{
		{args: "", want: values{}},
		{args: "--text=a=b --flag", want: values{Text: "a=b", Flag: true}},
		{args: "--empty= --list=1 --list=2", want: values{List: []string{"1", "2"}}},
		{args: "--spaced a --spaced=b", want: values{Spaced: "b"}},
		{args: "here --flag there", want: values{Flag: true, Rest: []string{"here", "there"}}},
		{args: "--text=a --done --nonsense", want: values{Text: "a"}},
		// What overrules comes last, wherever it stands.
		{args: "--late=l --text=a", want: values{Text: "l"}},

		{args: "--text", err: "option --text needs a value: --text=WORD"},
		{args: "--text=", err: "needs a value"},
		{args: "--text a", err: "needs a value"},
		{args: "--spaced", err: "needs a value"},
		{args: "--flag=1", err: "option --flag takes no value"},
		{args: "--nonsense", err: "unknown option --nonsense"},
		{args: "--gone", err: "option --gone is not supported: use --text"},
		{args: "-v", err: `unexpected argument "-v": options are --key=value or --flag`},
		{args: "--", err: "unexpected argument"},
		{args: "--bad=x", err: "option --bad: never good"},
	} {
		t.Run(test.args, func(t *testing.T) {
			var got values
			known := []options.Option{
				{Name: "text", Value: "WORD", Set: options.String(&got.Text)},
				{Name: "empty", Value: "WORD", Optional: true, Set: options.String(&got.Empty)},
				{Name: "spaced", Value: "WORD", Spaced: true, Set: options.String(&got.Spaced)},
				{Name: "flag", Set: options.True(&got.Flag)},
				{Name: "list", Value: "WORD", Set: options.Append(&got.List)},
				{Name: "late", Value: "WORD", Late: true, Set: options.String(&got.Text)},
				{Name: "done", Set: func(string) error { return options.ErrDone }},
				{Name: "gone", Help: "use --text"},
				{Name: "bad", Value: "WORD", Set: func(string) error { return errors.New("never good") }},
				{Name: "flag", Value: "WORD", Set: func(string) error { return errors.New("the first of a name counts") }},
			}
			err := options.Parse(strings.Fields(test.args), known, func(v string) error { got.Rest = append(got.Rest, v); return nil })
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got error %v, want one with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, test.want); diff != "" {
				t.Errorf("-got +want\n%s", diff)
			}
		})
	}
	if err := options.Parse([]string{"word"}, nil, nil); err == nil || !strings.Contains(err.Error(), `unexpected argument "word"`) {
		t.Errorf("a word where none is taken: %v", err)
	}
}

func TestUsageTellsOfEachOptionOnce(t *testing.T) {
	var b strings.Builder
	err := options.WriteUsage(&b, "Use it.\n", []options.Option{
		{Name: "own", Value: "N", Help: "mine", Set: func(string) error { return nil }},
		{Name: "own", Help: "theirs", Set: func(string) error { return nil }},
		{Name: "gone", Help: "use --own"},
	})
	if want := "Use it.\n  --own=N                            mine\n"; err != nil || b.String() != want {
		t.Errorf("got %q, %v, want %q", b.String(), err, want)
	}
}

func TestPrefixOverrulesNoPrefix(t *testing.T) {
	var bots, cas remote.Config
	known := append(options.Remote("", &bots, &cas), append(options.Remote("bots-", &bots), options.Remote("cas-", &cas)...)...)
	err := options.Parse(strings.Fields("--cas-remote=grpc://c:1 --remote=grpc://r:1 --instance=i --bots-retry-limit=2 --retry-limit=3"), known, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := (remote.Config{URL: "grpc://r:1", Instance: "i", RetryLimit: 2}); !cmp.Equal(bots, want) {
		t.Errorf("bots: %+v, want %+v", bots, want)
	}
	if want := (remote.Config{URL: "grpc://c:1", Instance: "i", RetryLimit: 3}); !cmp.Equal(cas, want) {
		t.Errorf("cas: %+v, want %+v", cas, want)
	}
}

func TestRemoteArgsAreWhatRemoteReads(t *testing.T) {
	for _, want := range []remote.Config{
		{URL: "unix:/casd.sock"},
		{URL: "grpcs://h:1", Instance: "i", ServerCert: "s", ClientKey: "k", ClientCert: "c", AccessToken: "t", TokenReload: 90 * time.Minute,
			RetryLimit: 2, RetryDelay: 1500 * time.Millisecond, RetryOn: []string{"INTERNAL", "ABORTED"}, Keepalive: 30 * time.Second, RequestTimeout: time.Minute},
		{URL: "grpc://h:1", RetryLimit: -1, CredentialHelper: "/h", RequestTimeout: time.Second, MinThroughput: 1e6},
		{URL: "grpcs://h:1", GoogleAuth: true},
	} {
		for _, prefix := range []string{"", "cas-"} {
			var got remote.Config
			if err := options.Parse(options.RemoteArgs(prefix, want), options.Remote(prefix, &got), nil); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("-got +want\n%s", diff)
			}
		}
	}
}

func TestParseSize(t *testing.T) {
	for v, want := range map[string]int64{
		"0": 0, "17": 17, "2K": 2000, "3M": 3e6, "30G": 30e9, "1T": 1e12,
		"2Ki": 2048, "3Mi": 3 << 20, "30Gi": 30 << 30, "1Ti": 1 << 40, "9223372036854775807": math.MaxInt64,
	} {
		if got, err := options.ParseSize(v); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", v, got, err, want)
		}
	}
	for _, v := range []string{"", "K", "1.5G", "-1", "1KB", "K1", "9999999999T", "9999999999Ti", "i", "1i", "Ki", "1iK", "1k"} {
		if got, err := options.ParseSize(v); err == nil || !strings.Contains(err.Error(), "want a number") {
			t.Errorf("%q: %d, %v, want an error", v, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("--remote=grpc://h:1\n--retry-limit=3\n--verbose")
	f.Add("--remote=unix:x\n--token-reload-interval=1H\n--retry-on-code=INTERNAL")
	f.Fuzz(func(t *testing.T, lines string) {
		var first, again remote.Config
		if err := options.Parse(strings.Split(lines, "\n"), options.Remote("", &first), nil); err != nil {
			return
		}
		if err := options.Parse(options.RemoteArgs("", first), options.Remote("", &again), nil); err != nil {
			t.Fatalf("accepted %q but not its own form of it: %v", lines, err)
		}
		if diff := cmp.Diff(again, first); diff != "" {
			t.Errorf("%q: -again +first\n%s", lines, diff)
		}
	})
}
