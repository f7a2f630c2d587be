package workload

// The inverses of distributions, and what they approximate.
var (
	Normal, ExactNormal             = normals.at, normals.exact
	Exponential1, ExactExponential1 = exponentials.at, exponentials.exact
)
