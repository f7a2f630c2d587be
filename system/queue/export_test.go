package queue

// SetManyTasks changes from how many tasks on memory is asked for ahead, until the
// function it returns is called. Nothing else may use a queue meanwhile.
func SetManyTasks(n int) (undo func()) {
	before := manyTasks
	manyTasks = n
	return func() { manyTasks = before }
}
