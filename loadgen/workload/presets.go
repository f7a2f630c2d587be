package workload

// A Preset is a distribution that was published, or one that is assumed.
type Preset struct {
	Name string
	Dist Dist
	// Source says where it is from; Assumed that nobody measured it.
	Source  string
	Assumed bool
}

// Presets are those that scenarios can name.
func Presets() []Preset {
	const ms, s = 1e6, 1e9
	return []Preset{
		{
			Name: "buildbuddy-cacheload",
			Dist: Empirical([]Bin{
				{1, 10, 0.02}, {10, 100, 33.1}, {100, 1e3, 33.0}, {1e3, 1e4, 20.2}, {1e4, 1e5, 9.9}, {1e5, 1e6, 3.2}, {1e6, 1e7, 0.50}, {1e7, 1e8, 0.06},
			}),
			Source: "BuildBuddy, tools/cacheload: histogram of 101,472 stored blobs; log-uniform within a decade is assumed",
		},
		{Name: "compile", Dist: Lognormal(300*ms, 1.5), Source: "no published distribution of action durations was found; a median of tens to hundreds of milliseconds and a long tail fit what BuildBuddy's scheduler blog (2022) tells", Assumed: true},
		{Name: "link", Dist: Lognormal(3*s, 1.0), Source: "links of 30 s and more are common (BuildBuddy's scheduler blog, 2022); the shape is assumed", Assumed: true},
		{Name: "test", Dist: Lognormal(2*s, 1.7), Source: "tests reach 30 minutes and more (BuildBuddy's scheduler blog, 2022); the shape is assumed", Assumed: true},
		{Name: "source-file", Dist: Lognormal(4000, 1.2), Source: "a few kilobytes each", Assumed: true},
		{Name: "object-file", Dist: Lognormal(40_000, 1.3), Source: "ten times its source", Assumed: true},
	}
}

// FindPreset returns the preset of a name.
func FindPreset(wanted string) (Preset, bool) {
	for _, p := range Presets() {
		if p.Name == wanted {
			return p, true
		}
	}
	return Preset{}, false
}
