package digest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/weir-build/weir/system/digest"
)

var goodInstances = []string{
	"", "main", "a", "a/b", "a/b/c.d_e-f/G9", "...", ".hidden", "-", "Blobs", "blobs2",
	strings.Repeat("x", 255), strings.Repeat("p/", 15) + "p",
}

// badInstances has for each what is wrong with it.
var badInstances = map[string]string{
	"/":                            "empty part",
	"/a":                           "empty part",
	"a/":                           "empty part",
	"a//b":                         "empty part",
	".":                            "the part .",
	"..":                           "the part ..",
	"a/..":                         "the part ..",
	"a/../b":                       "the part ..",
	"a/./b":                        "the part .",
	"../../etc/passwd":             "the part ..",
	"blobs":                        "reserved",
	"a/blobs/b":                    "reserved",
	"uploads":                      "reserved",
	"actions":                      "reserved",
	"actionResults":                "reserved",
	"operations":                   "reserved",
	"capabilities":                 "reserved",
	"compressed-blobs":             "reserved",
	"a/bots":                       "reserved",
	"a b":                          "letters, digits",
	"a%2fb":                        "letters, digits",
	"a\\b":                         "letters, digits",
	"a\x00b":                       "letters, digits",
	"a\nb":                         "letters, digits",
	"ü":                            "letters, digits",
	"\xff":                         "letters, digits",
	"a?b":                          "letters, digits",
	strings.Repeat("x", 256):       "255 bytes",
	strings.Repeat("p/", 16) + "p": "16 parts",
	strings.Repeat("/", 1<<20):     "255 bytes",
}

func TestInstanceNames(t *testing.T) {
	for _, name := range goodInstances {
		if err := digest.CheckInstance(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, reason := range badInstances {
		checkMalformed(t, digest.CheckInstance(name), "instance name", reason)
	}
}

// What a name is printed from is what parsing it gives, for every good instance.
func TestNamesParseToWhatTheyWerePrintedFrom(t *testing.T) {
	const uuid = "6f0b8d5e-8a0f-4c8e-9c53-0d1c2a4b5e6f"
	for _, instance := range goodInstances {
		gotInstance, d, err := digest.ParseReadName(digest.ReadName(instance, abc))
		if err != nil || gotInstance != instance || d != abc {
			t.Errorf("read name of %q parses to %q, %v, error %v", instance, gotInstance, d, err)
		}
		gotInstance, gotUUID, d, err := digest.ParseWriteName(digest.WriteName(instance, uuid, abc))
		if err != nil || gotInstance != instance || gotUUID != uuid || d != abc {
			t.Errorf("write name of %q parses to %q, %q, %v, error %v", instance, gotInstance, gotUUID, d, err)
		}
		gotInstance, d, err = digest.ParseCompressedReadName(digest.CompressedReadName(instance, abc))
		if err != nil || gotInstance != instance || d != abc {
			t.Errorf("compressed read name of %q parses to %q, %v, error %v", instance, gotInstance, d, err)
		}
		gotInstance, gotUUID, d, err = digest.ParseCompressedWriteName(digest.CompressedWriteName(instance, uuid, abc))
		if err != nil || gotInstance != instance || gotUUID != uuid || d != abc {
			t.Errorf("compressed write name of %q parses to %q, %q, %v, error %v", instance, gotInstance, gotUUID, d, err)
		}
		if got, err := digest.ParseOperationName(digest.OperationName(instance, uuid)); err != nil || got != instance {
			t.Errorf("operation name of %q parses to %q, error %v", instance, got, err)
		}
		if got, err := digest.ParseSessionName(digest.SessionName(instance, uuid)); err != nil || got != instance {
			t.Errorf("session name of %q parses to %q, error %v", instance, got, err)
		}
	}
}

// No kind of name brings in an instance that CheckInstance refuses.
func TestNamesOfBadInstancesAreRefused(t *testing.T) {
	for instance := range badInstances {
		names := map[string]error{}
		_, _, names["read"] = digest.ParseReadName(instance + "/blobs/" + abc.String())
		_, _, _, names["write"] = digest.ParseWriteName(instance + "/uploads/u/blobs/" + abc.String())
		_, _, names["compressed read"] = digest.ParseCompressedReadName(instance + "/compressed-blobs/zstd/" + abc.String())
		_, _, _, names["compressed write"] = digest.ParseCompressedWriteName(instance + "/uploads/u/compressed-blobs/zstd/" + abc.String())
		_, names["operation"] = digest.ParseOperationName(instance + "/operations/1")
		_, names["session"] = digest.ParseSessionName(instance + "/bots/1")
		for kind, err := range names {
			if malformed := (*digest.MalformedError)(nil); !errors.As(err, &malformed) {
				t.Errorf("%s name of instance %.40q: error %v, want a MalformedError", kind, instance, err)
			}
		}
	}
}

func TestParseReadNameRefuses(t *testing.T) {
	for _, c := range []struct{ name, what, reason string }{
		{"", "resource name", "want [instance/]blobs"},
		{"blobs", "resource name", "want [instance/]blobs"},
		{"blobs/" + abcHash, "resource name", "want [instance/]blobs"},
		{abc.String(), "resource name", "want [instance/]blobs"},
		{"main/" + abc.String(), "resource name", "want [instance/]blobs"},
		{"blobs/" + abc.String() + "/", "resource name", "want [instance/]blobs"},
		{"blobs/" + abc.String() + "/file.txt", "resource name", "want [instance/]blobs"},
		{"Blobs/" + abc.String(), "resource name", "want [instance/]blobs"},
		{"/blobs/" + abc.String(), "resource name", "starts with a slash"},
		{"//blobs/" + abc.String(), "instance name", "empty part"},
		{"main//blobs/" + abc.String(), "instance name", "empty part"},
		{"a/../b/blobs/" + abc.String(), "instance name", "the part .."},
		{"a/blobs/x/1/blobs/" + abc.String(), "instance name", "reserved"},
		{"a/uploads/u/blobs/" + abc.String(), "instance name", "reserved"},
		{"compressed-blobs/zstd/" + abc.String(), "resource name", "compressed"},
		{"main/compressed-blobs/zstd/" + abc.String(), "resource name", "compressed"},
		{"blobs/" + abcHash + "/+3", "digest", "decimal"},
		{"blobs/" + abcHash + "/03", "digest", "decimal"},
		{"blobs/sha256:" + abcHash + "/3", "digest", "64 hex digits"},
		{"blobs/../3", "digest", "64 hex digits"},
		{"blobs//3", "digest", "64 hex digits"},
		{strings.Repeat("/", 16<<20), "resource name", "8192 bytes"},
	} {
		instance, d, err := digest.ParseReadName(c.name)
		checkMalformed(t, err, c.what, c.reason)
		if instance != "" || d != (digest.Digest{}) {
			t.Errorf("%.80q: returned %q and %v beside the error", c.name, instance, d)
		}
	}
}

func TestParseWriteNameRefuses(t *testing.T) {
	for _, c := range []struct{ name, what, reason string }{
		{"", "resource name", "want [instance/]uploads"},
		{"uploads", "resource name", "want [instance/]uploads"},
		{"uploads/u/blobs/" + abcHash, "resource name", "want [instance/]uploads"},
		{"uploads/blobs/" + abc.String(), "resource name", "want [instance/]uploads"},
		{"uploads/u/v/blobs/" + abc.String(), "resource name", "want [instance/]uploads"},
		{"blobs/" + abc.String(), "resource name", "want [instance/]uploads"},
		{"uploads/u/compressed-blobs/zstd/" + abc.String(), "resource name", "compressed"},
		{"uploads//blobs/" + abc.String(), "resource name", "uuid is empty"},
		{"/uploads/u/blobs/" + abc.String(), "resource name", "starts with a slash"},
		{"a//uploads/u/blobs/" + abc.String(), "instance name", "empty part"},
		{"a/../b/uploads/u/blobs/" + abc.String(), "instance name", "the part .."},
		{"a/blobs/uploads/u/blobs/" + abc.String(), "instance name", "reserved"},
		{"uploads/uploads/u/blobs/" + abc.String(), "resource name", "want [instance/]uploads"},
		{"uploads/u/blobs/" + abcHash + "/-3", "digest", "decimal"},
		{"uploads/u/blobs/" + strings.ToUpper(abcHash) + "/3", "digest", "lower-case"},
		{"uploads/u/blobs/" + abc.String() + strings.Repeat("/", 16<<20), "resource name", "8192 bytes"},
	} {
		instance, uuid, d, err := digest.ParseWriteName(c.name)
		checkMalformed(t, err, c.what, c.reason)
		if instance != "" || uuid != "" || d != (digest.Digest{}) {
			t.Errorf("%.80q: returned %q, %q and %v beside the error", c.name, instance, uuid, d)
		}
	}
}

// The forms are in the comment of REAPI's ContentAddressableStorage.
func TestCompressedNamesAreREAPIs(t *testing.T) {
	if got, want := digest.CompressedReadName("a/b", abc), "a/b/compressed-blobs/zstd/"+abcHash+"/3"; got != want {
		t.Errorf("read name %q, want %q", got, want)
	}
	if got, want := digest.CompressedWriteName("", "u", abc), "uploads/u/compressed-blobs/zstd/"+abcHash+"/3"; got != want {
		t.Errorf("write name %q, want %q", got, want)
	}
}

func TestParseCompressedReadNameRefuses(t *testing.T) {
	for _, c := range []struct{ name, what, reason string }{
		{"", "resource name", "want [instance/]compressed-blobs/zstd"},
		{"blobs/" + abc.String(), "resource name", "want [instance/]compressed-blobs/zstd"},
		{"zstd/" + abc.String(), "resource name", "want [instance/]compressed-blobs/zstd"},
		{"compressed-blobs/" + abc.String(), "resource name", "want [instance/]compressed-blobs/zstd"},
		{"compressed-blobs/deflate/" + abc.String(), "resource name", "want [instance/]compressed-blobs/zstd"},
		{"compressed-blobs/ZSTD/" + abc.String(), "resource name", "want [instance/]compressed-blobs/zstd"},
		{"compressed-blobs/zstd/" + abc.String() + "/file.txt", "resource name", "want [instance/]compressed-blobs/zstd"},
		{"/compressed-blobs/zstd/" + abc.String(), "resource name", "starts with a slash"},
		{"a/../b/compressed-blobs/zstd/" + abc.String(), "instance name", "the part .."},
		{"a/blobs/compressed-blobs/zstd/" + abc.String(), "instance name", "reserved"},
		{"compressed-blobs/zstd/" + abcHash + "/03", "digest", "decimal"},
		{strings.Repeat("/", 16<<20), "resource name", "8192 bytes"},
	} {
		instance, d, err := digest.ParseCompressedReadName(c.name)
		checkMalformed(t, err, c.what, c.reason)
		if instance != "" || d != (digest.Digest{}) {
			t.Errorf("%.80q: returned %q and %v beside the error", c.name, instance, d)
		}
	}
}

func TestParseCompressedWriteNameRefuses(t *testing.T) {
	for _, c := range []struct{ name, what, reason string }{
		{"", "resource name", "want [instance/]uploads/<uuid>/compressed-blobs/zstd"},
		{"uploads/u/blobs/" + abc.String(), "resource name", "want [instance/]uploads/<uuid>/compressed-blobs/zstd"},
		{"uploads/u/compressed-blobs/" + abc.String(), "resource name", "want [instance/]uploads/<uuid>/compressed-blobs/zstd"},
		{"uploads/u/compressed-blobs/brotli/" + abc.String(), "resource name", "want [instance/]uploads/<uuid>/compressed-blobs/zstd"},
		{"uploads/u/compressed-blobs/zstd/" + abcHash, "resource name", "want [instance/]uploads/<uuid>/compressed-blobs/zstd"},
		{"compressed-blobs/zstd/" + abc.String(), "resource name", "want [instance/]uploads/<uuid>/compressed-blobs/zstd"},
		{"uploads//compressed-blobs/zstd/" + abc.String(), "resource name", "uuid is empty"},
		{"/uploads/u/compressed-blobs/zstd/" + abc.String(), "resource name", "starts with a slash"},
		{"a//uploads/u/compressed-blobs/zstd/" + abc.String(), "instance name", "empty part"},
		{"uploads/u/compressed-blobs/zstd/" + abcHash + "/-3", "digest", "decimal"},
	} {
		instance, uuid, d, err := digest.ParseCompressedWriteName(c.name)
		checkMalformed(t, err, c.what, c.reason)
		if instance != "" || uuid != "" || d != (digest.Digest{}) {
			t.Errorf("%.80q: returned %q, %q and %v beside the error", c.name, instance, uuid, d)
		}
	}
}

// REAPI lets clients append what they like to a write name, for humans.
func TestParseWriteNameIgnoresWhatFollowsTheSize(t *testing.T) {
	for _, tail := range []string{"", "/", "/libfoo.so", "/a/../../b", "/blobs/x/1", "/uploads/u", "/" + strings.Repeat("d/", 2000)} {
		instance, uuid, d, err := digest.ParseWriteName("a/b/uploads/u/blobs/" + abc.String() + tail)
		if err != nil || instance != "a/b" || uuid != "u" || d != abc {
			t.Errorf("tail %.40q: got %q, %q, %v, error %v", tail, instance, uuid, d, err)
		}
		instance, uuid, d, err = digest.ParseCompressedWriteName("a/b/uploads/u/compressed-blobs/zstd/" + abc.String() + tail)
		if err != nil || instance != "a/b" || uuid != "u" || d != abc {
			t.Errorf("compressed, tail %.40q: got %q, %q, %v, error %v", tail, instance, uuid, d, err)
		}
	}
}

func TestParseOperationAndSessionNameRefuse(t *testing.T) {
	for _, c := range []struct{ name, what, reason string }{
		{"", "resource name", "want [instance/]"},
		{"KEYWORD", "resource name", "want [instance/]"},
		{"KEYWORD/", "resource name", "want [instance/]"},
		{"main/1", "resource name", "want [instance/]"},
		{"KEYWORD/1/2", "resource name", "want [instance/]"},
		{"/KEYWORD/1", "resource name", "starts with a slash"},
		{"a//KEYWORD/1", "instance name", "empty part"},
		{"a/../b/KEYWORD/1", "instance name", "the part .."},
		{"KEYWORD/KEYWORD/1", "instance name", "reserved"},
		{strings.Repeat("/", 16<<20), "resource name", "8192 bytes"},
	} {
		for keyword, parse := range map[string]func(string) (string, error){
			"operations": digest.ParseOperationName, "bots": digest.ParseSessionName,
		} {
			instance, err := parse(strings.ReplaceAll(c.name, "KEYWORD", keyword))
			checkMalformed(t, err, c.what, c.reason)
			if instance != "" {
				t.Errorf("%.80q: returned %q beside the error", c.name, instance)
			}
		}
	}
	if _, err := digest.ParseOperationName(digest.SessionName("main", "1")); err == nil {
		t.Error("a session's name passed for an operation's")
	}
}

func FuzzCheckInstance(f *testing.F) {
	for name := range badInstances {
		f.Add(name)
	}
	for _, name := range goodInstances {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if digest.CheckInstance(name) != nil {
			return
		}
		if strings.HasPrefix(name, "/") || strings.Contains("/"+name+"/", "/../") || strings.ContainsAny(name, "\\%\x00 \n") || len(name) > 255 {
			t.Errorf("%q passed", name)
		}
		if got, _, err := digest.ParseReadName(digest.ReadName(name, abc)); err != nil || got != name {
			t.Errorf("read name of %q parses to %q, error %v", name, got, err)
		}
	})
}

func FuzzParseReadName(f *testing.F) {
	f.Add(digest.ReadName("", abc))
	f.Add(digest.ReadName("a/b", digest.Empty))
	f.Add("a/../b/blobs/" + abc.String())
	f.Fuzz(func(t *testing.T, name string) {
		instance, d, err := digest.ParseReadName(name)
		if err == nil && digest.ReadName(instance, d) != name {
			t.Errorf("%q parses to what prints as %q", name, digest.ReadName(instance, d))
		}
	})
}

func FuzzParseCompressedReadName(f *testing.F) {
	f.Add(digest.CompressedReadName("", abc))
	f.Add(digest.CompressedReadName("a/b", digest.Empty))
	f.Add(digest.ReadName("zstd", abc))
	f.Fuzz(func(t *testing.T, name string) {
		instance, d, err := digest.ParseCompressedReadName(name)
		if err != nil {
			return
		}
		if digest.CompressedReadName(instance, d) != name {
			t.Errorf("%q parses to what prints as %q", name, digest.CompressedReadName(instance, d))
		}
		if _, _, err := digest.ParseReadName(name); err == nil {
			t.Errorf("%q names a plain blob, too", name)
		}
	})
}

func FuzzParseCompressedWriteName(f *testing.F) {
	f.Add(digest.CompressedWriteName("", "u", abc))
	f.Add(digest.CompressedWriteName("a/b", "u", digest.Empty) + "/file")
	f.Add(digest.WriteName("zstd", "u", abc))
	f.Fuzz(func(t *testing.T, name string) {
		instance, uuid, d, err := digest.ParseCompressedWriteName(name)
		if err != nil {
			return
		}
		printed := digest.CompressedWriteName(instance, uuid, d)
		if tail, ok := strings.CutPrefix(name, printed); !ok || tail != "" && tail[0] != '/' {
			t.Errorf("%q parses to what prints as %q", name, printed)
		}
		if _, _, _, err := digest.ParseWriteName(name); err == nil {
			t.Errorf("%q names a plain blob, too", name)
		}
	})
}

func FuzzParseWriteName(f *testing.F) {
	f.Add(digest.WriteName("", "u", abc))
	f.Add(digest.WriteName("a/b", "u", digest.Empty) + "/file")
	f.Add("a/../b/uploads/u/blobs/" + abc.String())
	f.Fuzz(func(t *testing.T, name string) {
		instance, uuid, d, err := digest.ParseWriteName(name)
		if err != nil {
			return
		}
		printed := digest.WriteName(instance, uuid, d)
		if tail, ok := strings.CutPrefix(name, printed); !ok || tail != "" && tail[0] != '/' {
			t.Errorf("%q parses to what prints as %q", name, printed)
		}
	})
}

func FuzzParseOperationName(f *testing.F) {
	fuzzNamed(f, "operations", digest.ParseOperationName, digest.OperationName)
}

func FuzzParseSessionName(f *testing.F) {
	fuzzNamed(f, "bots", digest.ParseSessionName, digest.SessionName)
}

func fuzzNamed(f *testing.F, keyword string, parse func(string) (string, error), printed func(instance, id string) string) {
	f.Add(keyword + "/1")
	f.Add("a/b/" + keyword + "/1")
	f.Add("a/../b/" + keyword + "/1")
	f.Fuzz(func(t *testing.T, name string) {
		instance, err := parse(name)
		if err != nil {
			return
		}
		id := name[strings.LastIndexByte(name, '/')+1:]
		if got := printed(instance, id); got != name || id == "" {
			t.Errorf("%q parses to instance %q and id %q", name, instance, id)
		}
	})
}

func TestParseOperationsName(t *testing.T) {
	for name, want := range map[string]string{
		"": "", "operations": "", "main": "main", "main/operations": "main", "a/b": "a/b", "a/b/operations": "a/b", "my-operations": "my-operations",
	} {
		if got, err := digest.ParseOperationsName(name); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"/operations", "a/../b/operations", "a//operations", "operations/operations", "operations/x"} {
		if got, err := digest.ParseOperationsName(name); err == nil {
			t.Errorf("%q: got %q, want an error", name, got)
		}
	}
}
