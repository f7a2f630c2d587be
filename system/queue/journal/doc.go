// Package journal is how a scheduler's history is written down: bytes in, bytes
// out. The execution-server appends to it what happened and what its queue
// decided, and reads it after a crash; `weir journal` explains it. Files, syncs
// and clocks are the shell's.
//
// # Words
//
// A journal is a row of segments, a file each. A segment is a row of frames, and
// a frame holds one record ([Kind]). It begins with a header, which says by which
// rules its writer decided; then comes a snapshot of the queue, if it isn't the
// first: images, the shell's notes on its own state, and a mark. So each segment
// with a complete snapshot stands by itself, and those before it may be deleted.
// Then come steps: an input, at a time, with the outputs that followed and what
// the shell notes about it. Another process may go on with a segment, where it
// says so.
//
//	header  image…  note…  mark  step step … sync step … note … mark  resume step …
//
// Outputs are facts. Whoever recovers does not decide again: it follows what was
// recorded ([queue.Queue.Follow]), whatever it would have decided. ADR-013 says
// why.
//
// # How to write
//
// Append… functions append to a buffer and do nothing else. Write the buffer,
// sync, and tell others only then. Begin what is written next with [AppendSync]:
// by that a reader tells what a crash tore from what a disk lost.
//
//	b = journal.AppendStep(b, now, &in, out, note)
//
// # How to read
//
// A [Reader] returns records, and says how a segment ends: as it should (io.EOF),
// torn, or corrupt. A [Recovery] makes a queue of them.
//
// # Frames
//
// The length of the body and its CRC-32C, little-endian in four bytes each; then
// the body, whose first byte is the kind. Numbers are varints as those of Go's
// encoding/binary; fields that are zero are left out. There is one way to write
// each record. A poll takes about 20 bytes, 8 of them the frame's.
package journal
