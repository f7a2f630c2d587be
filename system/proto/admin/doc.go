// Package admin is what an operator asks of the execution-server: why something
// waits, what is going on, and that workers get no more. admin.proto says what its
// messages mean.
package admin
