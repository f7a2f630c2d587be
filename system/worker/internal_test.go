package worker

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/runner"
)

// Inside the package: decoders of what comes from outside, and arithmetic that
// would take minutes to see from there.

func TestBackoffDoublesWithinItsLimits(t *testing.T) {
	for _, test := range []struct {
		failures int
		random   float64
		want     time.Duration
	}{
		{1, 0, 50 * time.Millisecond},
		{1, 0.5, 75 * time.Millisecond},
		{2, 0, 100 * time.Millisecond},
		{4, 0, 400 * time.Millisecond},
		{8, 0, 5 * time.Second},
		{8, 1, 10 * time.Second},
		{1 << 30, 0, 5 * time.Second},
	} {
		if got := backoff(test.failures, test.random); got != test.want {
			t.Errorf("backoff(%d, %v) is %v, want %v", test.failures, test.random, got, test.want)
		}
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	log := new(tail)
	var all strings.Builder
	for _, n := range []int{10, maxLogTail - 5, 3, maxLogTail * 3, 0, 7} {
		piece := strings.Repeat(string(rune('a'+n%26)), n)
		all.WriteString(piece)
		if got, err := log.Write([]byte(piece)); got != n || err != nil {
			t.Fatalf("wrote %d, %v", got, err)
		}
		want := all.String()
		want = want[max(0, len(want)-maxLogTail):]
		if got := log.String(); got != want {
			t.Fatalf("after %d bytes: kept %d, want %d", n, len(got), len(want))
		}
	}
}

func FuzzParsePayload(f *testing.F) {
	for _, m := range []proto.Message{&repb.Action{Salt: []byte("x")}, new(repb.Action), digest.Empty.Proto(), new(repb.Directory)} {
		payload, err := anypb.New(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload.TypeUrl, payload.Value)
	}
	f.Add("type.googleapis.com/build.bazel.remote.execution.v2.Action", []byte{0xff})
	f.Fuzz(func(t *testing.T, url string, value []byte) {
		data, d, err := parsePayload(&anypb.Any{TypeUrl: url, Value: value})
		switch {
		case err != nil:
			if code := codes.Code(statusOf(err).Code); code != codes.InvalidArgument {
				t.Errorf("%v is %v, want INVALID_ARGUMENT", err, code)
			}
		case data == nil && d == digest.Digest{}:
			t.Error("neither action nor digest")
		case data != nil && string(data) != string(value):
			t.Error("the action's bytes are not those of the payload")
		}
	})
}

func FuzzReadResult(f *testing.F) {
	f.Add([]byte{}, []byte{}, 0)
	f.Add([]byte{0x20, 7}, []byte{0x08, 4}, 1)
	f.Add([]byte{0xff}, []byte{0xff}, 1)
	f.Fuzz(func(t *testing.T, result, reason []byte, code int) {
		path := filepath.Join(t.TempDir(), "result")
		if err := os.WriteFile(path, result, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(runner.ErrorStatusPath(path), reason, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readResult(exit{code: code, result: leftIn(path), reason: leftIn(runner.ErrorStatusPath(path))})
		if code == 0 && (got == nil) == (err == nil) {
			t.Errorf("exit 0: result %v, error %v", got, err)
		}
		if code != 0 && statusOf(err).Code == 0 {
			t.Errorf("exit %d: status OK", code)
		}
	})
}

// A status file that makes no sense, or is gone, changes nothing and is told of once.
func TestStatusFileThatCannotBeReadChangesNothing(t *testing.T) {
	var log bytes.Buffer
	path := filepath.Join(t.TempDir(), "status")
	s := &session{Worker: &Worker{logger: slog.New(slog.NewTextHandler(&log, nil))}, status: bots.BotStatus_UNHEALTHY, file: &statusFile{path: path}}
	for _, c := range []struct {
		text  string // empty: the file isn't there
		want  bots.BotStatus
		lines int // of the log, about what was wrong
	}{
		{"botStatus: unwell", bots.BotStatus_UNHEALTHY, 1},
		{"", bots.BotStatus_UNHEALTHY, 1},
		{"botStatus: unhealthy", bots.BotStatus_UNHEALTHY, 0},
		{"botStatus: [", bots.BotStatus_UNHEALTHY, 1},
		{"botStatus: ok", bots.BotStatus_OK, 0},
	} {
		var err error
		if c.text == "" {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, []byte(c.text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		log.Reset()
		before := s.status
		for range 3 {
			s.checkStatus()
		}
		if s.status != c.want || strings.Count(log.String(), "bot status not read") != c.lines || s.news != (s.status != before) {
			t.Errorf("%q: status %v, want %v; told the server: %v; the log, with %d complaints, is %q", c.text, s.status, c.want, s.news, c.lines, log.String())
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add("botStatus: ok")
	f.Add("{botStatus: BOT_TERMINATING}")
	f.Fuzz(func(t *testing.T, text string) {
		status, err := parseStatus([]byte(text))
		if (err == nil) != (status != bots.BotStatus_BOT_STATUS_UNSPECIFIED) {
			t.Errorf("%v, %v", status, err)
		}
	})
}
