// Package console is how a machine's own programs speak to the person in front of it: a writer on /dev/console that
// never makes its caller wait, and a slog handler for lines that fit beside the kernel's.
//
// A serial line without a reader, a terminal stopped with Ctrl-S or a management board that went away must not stop
// PID 1, and with it the machine. So lines wait in a bounded ring, the oldest are dropped when it is full, and the
// reader is told how many. What the lines say is not decided here.
package console
