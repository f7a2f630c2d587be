package runner

import (
	"strings"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/digest"
)

func TestSyntheticCommands(t *testing.T) {
	for _, test := range []struct {
		command  string
		duration time.Duration
		exit     int
		err      string
	}{
		{command: "/bin/true", duration: 0},
		{command: "false and more", exit: 1},
		{command: "/bin/sleep 0.25", duration: 250 * time.Millisecond},
		{command: "sleep 3", duration: 3 * time.Second},
		{command: "sleep 1m --exit=7 --stdout=10 --output=a=b=12 --inputs", duration: time.Minute, exit: 7},
		{command: "sleep", err: "the duration is missing"},
		{command: "sleep 1 2", err: `a second duration "2"`},
		{command: "sleep soon", err: "want seconds"},
		{command: "sleep -- 1", err: "unexpected argument"},
		{command: "sleep 1 --exit=256", err: "not a number from 0 to 255"},
		{command: "sleep 1 --output=12", err: "want PATH=BYTES"},
		{command: "sleep 1 --output=a=-1", err: "want from 0 to"},
		{command: "sleep 1 --stdout=99999999999", err: "not a number from"},
		{command: "gcc -c", err: `command "gcc": the sleep runner knows`},
	} {
		s, err := parseSynthetic(&repb.Command{Arguments: strings.Fields(test.command)})
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) || StatusOf(err).Code != 3 {
				t.Errorf("%s: error %v, want INVALID_ARGUMENT with %q", test.command, err, test.err)
			}
			continue
		}
		if err != nil || s.duration != test.duration || s.exit != test.exit {
			t.Errorf("%s: %+v, %v", test.command, s, err)
		}
	}
}

func TestContentDependsOnCommandAndNameAlone(t *testing.T) {
	one, other := digest.Of([]byte("one")), digest.Of([]byte("other"))
	a := string(content(one, "out", 1001))
	if len(a) != 1001 || a != string(content(one, "out", 1001)) {
		t.Error("the same command and name give different bytes")
	}
	if a == string(content(other, "out", 1001)) || a == string(content(one, "out2", 1001)) {
		t.Error("different ones give the same bytes")
	}
}

func FuzzParseSynthetic(f *testing.F) {
	f.Add("sleep\n0.25\n--output=a=1")
	f.Add("/bin/sleep\n1m\n--exit=3")
	f.Fuzz(func(t *testing.T, lines string) {
		s, err := parseSynthetic(&repb.Command{Arguments: strings.Split(lines, "\n")})
		if err == nil && (s.duration < 0 || s.exit < 0 || s.exit > 255) {
			t.Errorf("%q: %+v", lines, s)
		}
		if err != nil && StatusOf(err).Code != 3 {
			t.Errorf("%q: code %d, want INVALID_ARGUMENT", lines, StatusOf(err).Code)
		}
	})
}
