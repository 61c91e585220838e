// Package rootdev serves the root of a machine: a kernel network block device whose bytes come, chunk by chunk, from
// heads, from the medium that the machine booted from, or from memory.
//
// A process of its own does that (Process), which init starts (Start) before the root is mounted and which must
// outlive everything that runs from the root. It therefore needs nothing of it: its memory is locked, it opens no
// file after it is ready, it asks no name server, it ignores every signal that can be ignored, and its name begins
// with '@' so that systemd spares it when it kills what is left at shutdown (systemd, ROOT_STORAGE_DAEMONS). The agent
// speaks to it over a socket (Control).
//
// The chunks are package chunks, the kernel's side is package nbd. Mounting the device is init's.
package rootdev
