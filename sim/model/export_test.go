package model

// ReportAll has workers report all that they hold each time, as production's do.
func ReportAll(c Config) Config {
	c.reportAll = true
	return c
}
