package theory

// Two ways to M/D/c, which tests compare.
var CrommelinSeries, CrommelinRoots = crommelinSeries, crommelinRoots
