package casd_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"

	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

// notForUs are tests of what a mount doesn't do, and why.
var notForUs = map[string]string{
	"XAttr":               "REAPI has no extended attributes",
	"XAttrLarge":          "REAPI has no extended attributes",
	"FcntlFlockLocksFile": "wants two locks of one process to conflict, which POSIX locks don't: the kernel keeps ours",
}

// TestMountIsPOSIX runs go-fuse's conformance tests, each in an empty mount.
func TestMountIsPOSIX(t *testing.T) {
	needFUSE(t)
	w := newWorld(t)
	for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
		if notForUs[name] != "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := w.stage(digest.Empty, lcpb.StageTreeRequest_FUSE)
			defer s.end() // also of a test that skips itself
			posixtest.All[name](t, s.path)
		})
	}
}
