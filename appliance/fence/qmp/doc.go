// Package qmp fences a virtual machine through QEMU's machine protocol (docs/interop/qmp-spec in QEMU's source).
//
// The proof is that the virtual processors stand: QEMU has acknowledged `stop`, which also waits for all disk writes under
// way, and `query-status` says a state in which nothing runs and which nothing but a person's command ends. Then QEMU is
// told to quit. A socket that nobody answers at proves nothing: QEMU may be alive with its socket taken by somebody else.
package qmp
