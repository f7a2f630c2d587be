package experiment

// Rounds and Risks are for tests of the rule by which experiments stop.
var (
	Rounds = rounds
	Risks  = risks
)
