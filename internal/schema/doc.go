// Package schema holds what a cluster emits against what traces/semconv declares.
//
//	r := schema.NewRecord()
//	r.AddSpans(…)    // as they are in a span file
//	r.AddMetrics(…)  // as they are gathered
//	r.Problems()     // what isn't declared, or not so
//	r.Silent()       // what is declared and hasn't come
//
// It knows each declaration's parts: the type and values of an attribute and the
// spans it is on; a span's parent and who writes it; the ends of a link; a
// metric's kind, labels and their values; the attributes of resources. A method,
// as the name of a span or as a value, must be one of a service that the program
// links, which bounds their number.
//
// The test beside it drives a whole cluster through everything that has a name,
// and fails on both lists. The tests of the programs use it on what they leave
// behind.
package schema
