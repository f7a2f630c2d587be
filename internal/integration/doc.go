// Package integration tests the programs as their users run them: real
// processes, real clients, real kills. It holds tests only, behind the build tag
// integration:
//
//	go test -tags integration -count=1 ./internal/integration/...
//
// What a test needs beside Go and gcc, such as Bazel, Prometheus or Jaeger, is
// looked for in PATH; where it lacks, the test is skipped and says so. With
// WEIR_REQUIRE_ALL=1 in the environment that is a failure instead.
//
// Whatever a test of builds is about, the spans of its cluster are checked at its
// end: the cluster must drain, exit with 0, and leave traces that break no rule.
// Of a casd that was killed the last spans are gone, so its trace is exempt; the
// tests of metrics read metrics.
//
//	main_test.go process_test.go         the programs, built once, and processes
//	up_test.go serve_test.go             a cluster in one process, or in many
//	record_test.go                       what a cluster has left in its run folder
//	client_test.go workspace_test.go     clients: of single actions, and Bazel
//	keys_test.go                         keys and tokens
//	jaeger_test.go                       a Jaeger, and what it has of a build
//	jaegerdocument_test.go               docs/jaeger.md, asked again
//	import_test.go                       what Bazel records, next to what its cluster does
//	interop_test.go interop…_test.go     BuildBox, BuildStream, BuildGrid; behind the tag interop, too
//	browser_test.go                      a browser without a window
package integration
