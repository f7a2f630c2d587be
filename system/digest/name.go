package digest

import (
	"slices"
	"strings"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
)

// Limits of instance names. REAPI leaves the alphabet open; ours is one that is
// safe as a path, a URL part and a metric label.
const (
	maxInstanceLength = 255
	maxInstanceParts  = 16
)

// maxNameLength bounds resource names before they are split: a name may be as
// long as a message, and each slash in it would cost a string header. The
// longest well-formed name has under 500 bytes; the rest is for what clients
// append to write names, usually a path (Linux: PATH_MAX is 4096).
const maxNameLength = 8 << 10

// reserved parts would make a resource name ambiguous (REAPI: an instance name
// can't hold any of them as a whole segment).
var reserved = map[string]bool{
	"blobs": true, "uploads": true, "actions": true, "actionResults": true,
	"operations": true, "capabilities": true, "compressed-blobs": true, "bots": true,
}

// CheckInstance returns nil if name is a well-formed instance name: empty, or
// parts of letters, digits, '.', '_' and '-' separated by single slashes, none
// of them "." or ".." or a word that resource names use. Otherwise it returns a
// *[MalformedError].
func CheckInstance(name string) error {
	if name == "" {
		return nil
	}
	if len(name) > maxInstanceLength {
		return malformed("instance name", name, "it is longer than 255 bytes")
	}
	parts := strings.Split(name, "/")
	if len(parts) > maxInstanceParts {
		return malformed("instance name", name, "it has more than 16 parts")
	}
	for _, part := range parts {
		switch {
		case part == "":
			return malformed("instance name", name, "it has an empty part")
		case part == "." || part == "..":
			return malformed("instance name", name, "it has the part "+part)
		case reserved[part]:
			return malformed("instance name", name, "the part "+part+" is reserved for resource names")
		}
		for i := range len(part) {
			if !instanceByte(part[i]) {
				return malformed("instance name", name, "a part may hold letters, digits, '.', '_' and '-'")
			}
		}
	}
	return nil
}

func instanceByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

// ReadName returns the resource name that reads a blob.
func ReadName(instance string, d Digest) string {
	return prefix(instance) + "blobs/" + d.named()
}

// WriteName returns the resource name that writes a blob. The uuid tells
// concurrent uploads of one blob apart.
func WriteName(instance, uuid string, d Digest) string {
	return prefix(instance) + "uploads/" + uuid + "/blobs/" + d.named()
}

// CompressedReadName returns the resource name that reads a blob in the form
// [Compressor] gives it. The digest is that of the blob itself.
func CompressedReadName(instance string, d Digest) string {
	return prefix(instance) + "compressed-blobs/zstd/" + d.named()
}

// CompressedWriteName returns the resource name that writes a blob in the form
// [Compressor] gives it. The digest is that of the blob itself.
func CompressedWriteName(instance, uuid string, d Digest) string {
	return prefix(instance) + "uploads/" + uuid + "/compressed-blobs/zstd/" + d.named()
}

// named returns how resource names end: [<function>/]<hash>/<size>.
func (d Digest) named() string {
	if f := d.Func(); functions[f].named {
		return strings.ToLower(f.String()) + "/" + d.String()
	}
	return d.String()
}

// functionNames are those of all of REAPI's digest functions, as resource names have them.
var functionNames = func() map[string]repb.DigestFunction_Value {
	names := make(map[string]repb.DigestFunction_Value)
	for name, value := range repb.DigestFunction_Value_value {
		names[strings.ToLower(name)] = repb.DigestFunction_Value(value)
	}
	return names
}()

// function returns what function a segment before a hash names, and whether it is the
// name of one at all. That of one that isn't known, or that the length of the hash must
// tell (REAPI: "this component MUST be omitted"), is an error.
func function(segment string) (f Func, named bool, err error) {
	value, named := functionNames[segment]
	if !named {
		return 0, false, nil
	}
	switch f, err = FuncOf(value); {
	case err != nil:
		err = malformed("resource name", segment, err.Error())
	case !functions[f].named:
		err = malformed("resource name", segment, "this digest function is told by the length of the hash, not by name")
	}
	return f, true, err
}

// parseDigest is parseParts by the function that is named, or that the hash's length tells.
func parseDigest(f Func, named bool, hash, size string) (Digest, error) {
	if !named {
		f, _ = Infer(len(hash)) // or SHA256, which says what is wrong with the length
	}
	return f.parseParts(hash, size)
}

func prefix(instance string) string {
	if instance == "" {
		return ""
	}
	return instance + "/"
}

// Keywords of resource names: what stands before the hash.
var (
	plainBlobs      = []string{"blobs"}
	compressedBlobs = []string{"compressed-blobs", "zstd"}
)

// ParseReadName takes a read resource name apart. The error is a
// *[MalformedError].
func ParseReadName(name string) (instance string, d Digest, err error) {
	return parseReadName(name, plainBlobs)
}

// ParseCompressedReadName takes apart what CompressedReadName returns. The error
// is a *[MalformedError], also for names of plain blobs and of other compressors.
func ParseCompressedReadName(name string) (instance string, d Digest, err error) {
	return parseReadName(name, compressedBlobs)
}

func parseReadName(name string, keywords []string) (instance string, d Digest, err error) {
	parts, err := splitName(name)
	if err != nil {
		return "", Digest{}, err
	}
	end := len(parts) - 2 // of what stands before the hash
	var f Func
	var named bool
	if end > 1 {
		if f, named, err = function(parts[end-1]); err != nil {
			return "", Digest{}, err
		}
		if named {
			end--
		}
	}
	at := end - len(keywords)
	if at < 0 || !slices.Equal(parts[at:end], keywords) {
		return "", Digest{}, malformed("resource name", name, readReason(parts, keywords))
	}
	instance = strings.Join(parts[:at], "/")
	if err := checkNamed(name, instance, at); err != nil {
		return "", Digest{}, err
	}
	if d, err = parseDigest(f, named, parts[len(parts)-2], parts[len(parts)-1]); err != nil {
		return "", Digest{}, err
	}
	return instance, d, nil
}

// splitName returns the segments of a resource name.
func splitName(name string) ([]string, error) {
	if len(name) > maxNameLength {
		return nil, malformed("resource name", name, "it is longer than 8192 bytes")
	}
	return strings.Split(name, "/"), nil
}

// unsupported is said of compressed blobs where plain ones are wanted.
const unsupported = "compressed blobs are not supported (see the server's capabilities)"

func readReason(parts, keywords []string) string {
	if keywords[0] == "blobs" && slices.Contains(parts, "compressed-blobs") {
		return unsupported
	}
	return "want [instance/]" + strings.Join(keywords, "/") + "/<hash>/<size>"
}

func writeReason(parts, keywords []string) string {
	at := slices.Index(parts, "uploads")
	if keywords[0] == "blobs" && at >= 0 && len(parts) > at+2 && parts[at+2] == "compressed-blobs" {
		return unsupported
	}
	return "want [instance/]uploads/<uuid>/" + strings.Join(keywords, "/") + "/<hash>/<size>"
}

// ParseWriteName takes a write resource name apart; what follows the size is
// ignored, as REAPI asks. The error is a *[MalformedError].
func ParseWriteName(name string) (instance, uuid string, d Digest, err error) {
	return parseWriteName(name, plainBlobs)
}

// ParseCompressedWriteName takes apart what CompressedWriteName returns, and
// ignores what follows the size. The error is a *[MalformedError], also for names
// of plain blobs and of other compressors.
func ParseCompressedWriteName(name string) (instance, uuid string, d Digest, err error) {
	return parseWriteName(name, compressedBlobs)
}

func parseWriteName(name string, keywords []string) (instance, uuid string, d Digest, err error) {
	parts, err := splitName(name)
	if err != nil {
		return "", "", Digest{}, err
	}
	// The first match is the only one possible: "uploads" can't be part of an
	// instance name.
	at := slices.Index(parts, "uploads")
	end := at + 2 + len(keywords)
	hash := end
	var f Func
	var named bool
	if at >= 0 && len(parts) > hash {
		if f, named, err = function(parts[hash]); err != nil {
			return "", "", Digest{}, err
		}
		if named {
			hash++
		}
	}
	if at < 0 || len(parts) < hash+2 || !slices.Equal(parts[at+2:end], keywords) {
		return "", "", Digest{}, malformed("resource name", name, writeReason(parts, keywords))
	}
	instance = strings.Join(parts[:at], "/")
	if err := checkNamed(name, instance, at); err != nil {
		return "", "", Digest{}, err
	}
	if parts[at+1] == "" {
		return "", "", Digest{}, malformed("resource name", name, "the uuid is empty")
	}
	if d, err = parseDigest(f, named, parts[hash], parts[hash+1]); err != nil {
		return "", "", Digest{}, err
	}
	return instance, parts[at+1], d, nil
}

// checkNamed checks the instance name of a resource name; parts is how many
// segments stood before the keyword, which tells "/blobs/…" from "blobs/…".
func checkNamed(name, instance string, parts int) error {
	if instance == "" && parts > 0 {
		return malformed("resource name", name, "it starts with a slash")
	}
	return CheckInstance(instance)
}

// OperationName and SessionName return names the execution-server gives out;
// ParseOperationName and ParseSessionName take them apart. Instance and id are
// separated by a keyword, so that instances may have several parts.
func OperationName(instance, id string) string { return prefix(instance) + "operations/" + id }

// SessionName returns the name of a bot session.
func SessionName(instance, id string) string { return prefix(instance) + "bots/" + id }

// ParseOperationName returns the instance of an operation's name.
func ParseOperationName(name string) (instance string, err error) {
	return parseNamed(name, "operations")
}

// ParseSessionName returns the instance of a bot session's name.
func ParseSessionName(name string) (instance string, err error) { return parseNamed(name, "bots") }

// ParseOperationsName returns the instance whose operations a name stands for:
// that of the instance, with or without `/operations` after it
// (google.longrunning, ListOperationsRequest.name).
func ParseOperationsName(name string) (instance string, err error) {
	if name == "operations" {
		return "", nil
	}
	instance, named := strings.CutSuffix(name, "/operations")
	if named && instance == "" {
		return "", malformed("resource name", name, "it starts with a slash")
	}
	if err := CheckInstance(instance); err != nil {
		return "", err
	}
	return instance, nil
}

func parseNamed(name, keyword string) (string, error) {
	parts, err := splitName(name)
	if err != nil {
		return "", err
	}
	at := len(parts) - 2
	if at < 0 || parts[at] != keyword || parts[at+1] == "" {
		return "", malformed("resource name", name, "want [instance/]"+keyword+"/<id>")
	}
	instance := strings.Join(parts[:at], "/")
	if err := checkNamed(name, instance, at); err != nil {
		return "", err
	}
	return instance, nil
}
