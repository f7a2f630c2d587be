package casd

import (
	"context"
	"fmt"
	"math"

	"github.com/weir-build/weir/system/digest"
)

// Limits of an input root. They are far above what builds have (Chromium's
// source has 40 000 directories) and keep a hostile tree from taking casd's
// memory, or the stack of what walks it.
const (
	maxDirectories = 1 << 18 // distinct ones
	maxDepth       = 1000
)

// A snapshot is an input root: its Directories, decoded. Equal subtrees are
// there once, so a snapshot may be small where the tree it stands for isn't. It
// doesn't change.
type snapshot struct {
	root digest.Digest
	dirs map[digest.Digest]*directory
	// files are the distinct blobs of the files.
	files []digest.Digest
	total totals
}

// totals count what a tree has when it is written out, equal subtrees as often
// as they appear. They stop at the largest int64.
type totals struct {
	files, bytes, entries int64
	depth                 int // directories on the longest path, the root included
}

// add counts a subdirectory's totals in.
func (t *totals) add(u totals) {
	t.depth = max(t.depth, u.depth+1)
	t.files = saturatingAdd(t.files, u.files)
	t.bytes = saturatingAdd(t.bytes, u.bytes)
	t.entries = saturatingAdd(t.entries, u.entries)
}

func saturatingAdd(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// A missingError names blobs that are neither here nor at the remote.
type missingError struct{ Blobs []digest.Digest }

func (e *missingError) Error() string {
	if len(e.Blobs) == 1 {
		return fmt.Sprintf("blob %v of the tree is missing", e.Blobs[0])
	}
	return fmt.Sprintf("%d blobs of the tree are missing, the first is %v", len(e.Blobs), e.Blobs[0])
}

// readSnapshot reads the Directories below root, level by level: what isn't in
// the local cache is fetched, many in one call. The error is a *badTreeError, or
// a *missingError that names every Directory that is nowhere.
func readSnapshot(ctx context.Context, store *readThrough, root digest.Digest) (*snapshot, error) {
	s := &snapshot{root: root, dirs: map[digest.Digest]*directory{root: nil}}
	var missing []digest.Digest
	seen := make(map[digest.Digest]bool)
	level := []digest.Digest{root}
	for len(level) > 0 {
		gone, err := store.ensure(ctx, level)
		if err != nil {
			return nil, err
		}
		missing = append(missing, gone...)
		lost := make(map[digest.Digest]bool, len(gone))
		for _, d := range gone {
			lost[d] = true
		}
		var next []digest.Digest
		for _, d := range level {
			if lost[d] {
				continue
			}
			data, err := store.Read(ctx, d)
			if err != nil {
				return nil, err
			}
			dir, err := decodeDirectory(d, data)
			if err != nil {
				return nil, err
			}
			s.dirs[d] = dir
			for _, file := range dir.files {
				if !seen[file.blob] {
					seen[file.blob] = true
					s.files = append(s.files, file.blob)
				}
			}
			for _, sub := range dir.dirs {
				if _, known := s.dirs[sub.blob]; !known {
					s.dirs[sub.blob] = nil
					next = append(next, sub.blob)
				}
			}
		}
		if len(s.dirs) > maxDirectories {
			return nil, &badTreeError{Directory: root, Reason: fmt.Sprintf("the tree has more than %d distinct directories", maxDirectories)}
		}
		level = next
	}
	if len(missing) > 0 {
		return nil, &missingError{missing}
	}
	s.total = s.measure(root, make(map[digest.Digest]totals, len(s.dirs)))
	if s.total.depth > maxDepth {
		return nil, &badTreeError{Directory: root, Reason: fmt.Sprintf("the tree is deeper than %d directories", maxDepth)}
	}
	return s, nil
}

// measure counts what is below a directory. It may recurse deeper than maxDepth,
// through directories first met higher up, but not deeper than maxDirectories,
// which takes a stack of some tens of megabytes.
func (s *snapshot) measure(d digest.Digest, known map[digest.Digest]totals) totals {
	if t, ok := known[d]; ok {
		return t
	}
	dir := s.dirs[d]
	t := totals{files: int64(len(dir.files)), entries: int64(len(dir.files) + len(dir.dirs) + len(dir.links)), depth: 1}
	for _, file := range dir.files {
		t.bytes = saturatingAdd(t.bytes, file.blob.SizeBytes)
	}
	for _, sub := range dir.dirs {
		t.add(s.measure(sub.blob, known))
	}
	known[d] = t
	return t
}
