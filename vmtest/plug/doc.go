// Package plug holds the unix sockets that QEMU's devices plug into.
//
// The lab listens and QEMU connects, never the reverse: the socket is there
// before QEMU starts, so nothing polls, and the same socket takes the next QEMU
// process when the machine is switched on again. What travels over a plug
// (frames, console bytes, QMP) belongs to the packages that serve it.
package plug
