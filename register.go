package weir

import "github.com/weir-build/weir/loadgen/k6ext"

// k6 finds extensions by what packages register before main.
func init() { k6ext.Register() }
