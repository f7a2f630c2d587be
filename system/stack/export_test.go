package stack

// MarkBytes is Mark.of, for tests.
func MarkBytes(m Mark, whole Size) int64 { return m.of(whole) }
