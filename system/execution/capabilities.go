package execution

import "github.com/bazelbuild/remote-apis/build/bazel/semver"

// The versions of REAPI served. 2.0 is what Bazel before 5 speaks: it names
// outputs by output_files and output_directories and the platform in Command.
var (
	LowAPIVersion  = &semver.SemVer{Major: 2, Minor: 0}
	HighAPIVersion = &semver.SemVer{Major: 2, Minor: 3}
)
