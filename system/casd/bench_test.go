package casd_test

import (
	"fmt"
	"os"
	"testing"

	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

// BenchmarkStage stages and unstages a warm tree of small files, and with read=true
// reads each file once in between.
func BenchmarkStage(b *testing.B) {
	for _, count := range []int{0, 3, 30, 100, 1000} {
		for _, mode := range []lcpb.StageTreeRequest_StagingMode{lcpb.StageTreeRequest_COPY_OR_LINK, lcpb.StageTreeRequest_FUSE} {
			for _, reading := range []bool{false, true} {
				if reading && (count == 0 || count > 100) {
					continue
				}
				b.Run(fmt.Sprintf("files=%d/mode=%v/read=%v", count, mode, reading), func(b *testing.B) {
					if mode == lcpb.StageTreeRequest_FUSE {
						needFUSE(b)
					}
					w := newWorld(b)
					tree := make(files)
					for i := range count {
						tree[fmt.Sprintf("dir%d/file%d", i/20, i)] = fmt.Sprintf("%4000d", i)
					}
					root := w.putTree(tree)
					s := w.stage(root, lcpb.StageTreeRequest_COPY_OR_LINK) // warms the cache
					s.end()
					b.ReportAllocs()
					for b.Loop() {
						s := w.stage(root, mode)
						for name := range tree {
							if !reading {
								break
							}
							if _, err := os.ReadFile(s.path + "/" + name); err != nil {
								b.Fatal(err)
							}
						}
						if err := s.stream.Send(new(lcpb.StageTreeRequest)); err != nil {
							b.Fatal(err)
						}
						if _, err := s.stream.Recv(); err != nil {
							b.Fatal(err)
						}
						s.cancel()
					}
				})
			}
		}
	}
}
