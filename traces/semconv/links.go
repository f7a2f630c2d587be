package semconv

// Kinds of links, which are values of AttrLinkKind.
const (
	// LinkDeduplicated points from an operation to the one whose work it joined.
	LinkDeduplicated = "deduplicated"
	// LinkCached points from an operation to the span that produced its result.
	LinkCached = "cached"
)

// A Link is the declaration of one kind of link between spans. Links may cross
// traces.
type Link struct {
	Kind      string // the value of AttrLinkKind
	From, To  string // names of spans
	Stability Stability
	Source    string
	Help      string
}

// Links returns the declaration of every kind of link.
func Links() []Link {
	return []Link{
		{LinkDeduplicated, SpanAction, SpanAction, Development, ours,
			"From an operation to the one whose work it joined, since an equal one was under way."},
		{LinkCached, SpanAction, SpanWorker, Development, ours,
			"From an operation to the attempt that produced its cached result, if the result says which that was."},
	}
}

// An Event is the declaration of one event of spans.
type Event struct {
	Name      string
	On        []string // the names of the spans that have it
	Stability Stability
	Source    string
	Help      string
}

// Events returns the declaration of every event. There is none: what has a
// duration is a span here, and what went wrong is a status.
func Events() []Event { return nil }
