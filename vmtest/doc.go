// Package vmtest is the lab: a cluster of virtual machines on one host, without
// root, whose networks, serial cables and power the caller can make fail.
//
// A Config (lab.yaml) says which machines there are; a Lab runs them in QEMU on
// userspace switches; faults are its methods. Tests begin with Start:
//
//	lab := vmtest.Start(t, config)
//	lab.Expect("head1", 2*time.Minute, `login:`)
//	lab.Must(lab.CutLink("n01", 0, vmtest.Both))
//
// Other processes drive a running lab through its control socket (Serve, Connect).
// The lab knows hardware, not masthead: what the machines boot is the caller's.
//
// The pieces have packages of their own: ethernet (the switch), serial (consoles
// and cables), qmp and qemu (one machine), plug (the sockets between).
package vmtest
