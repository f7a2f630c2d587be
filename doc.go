// Package weir lets k6's builder find the extension:
//
//	xk6 build --with github.com/weir-build/weir
//
// It has nothing else. The programs are in cmd, ARCHITECTURE.md is the map of the tree:
//
//	system      the cluster: proxy, storage, scheduler, worker, runner, casd
//	loadgen     load on any cluster, by scenarios and by k6
//	traces      what happened, as spans
//	reports     what was measured, as numbers
//	dashboards  both, in Grafana
package weir
