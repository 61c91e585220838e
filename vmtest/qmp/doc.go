// Package qmp speaks QEMU's machine protocol (QEMU docs/interop/qmp-spec) over one
// connection: commands that pause, reset and end a machine, and the events it reports.
package qmp
