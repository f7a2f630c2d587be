// Package bots is the Remote Workers API: how a worker reports itself and is given work.
// bots.proto says what its messages mean.
package bots
