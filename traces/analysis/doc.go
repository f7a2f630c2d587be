// Package analysis draws conclusions from traces: which chain of actions a build's
// duration consists of. The trees it reads are those of lifecycle.
package analysis
