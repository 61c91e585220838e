// Package bench compares whole boots and whole builds with what a user would pick instead, as ratios in one run. It
// holds benchmarks only; `make bench` runs them, beside those of the packages that have a peer of their own.
//
// BenchmarkBoot boots one Debian root, that of images/worker.yaml, on like machines from one head, one after the other:
//
//   - lazy: masthead's default. The initramfs attaches the root, and what is read is fetched.
//   - ram: the same with root=ram. All chunks are fetched before the root is mounted.
//   - plain: the classic diskless root. Its whole tree is the initramfs, one zstd cpio at the level of the chunks, which
//     the loader fetches and the kernel unpacks into memory; /init is systemd.
//   - copy: the classic stateless node. A small initramfs of BusyBox fetches the same cpio with wget, unpacks it into a
//     tmpfs and switches to it.
//
// What they share: the loader (iPXE), the head that serves all files over HTTP on the same emulated network, the kernel
// file, the tree, and the units that systemd starts, the agent among them. In plain and copy udev loads the drivers
// and systemd-networkd asks for an address, since masthead's init is not there to do it.
//
// The clock stops where the agent starts, by the kernel's own count. That is to the advantage of plain and copy, where
// the agent has no network yet, and of plain once more, whose copy over the network is over when the kernel starts: the
// time from power-on has it too.
//
// BenchmarkISO builds images/head.yaml, which carries the worker, into an empty store from downloads that are there
// already, writes the ISO once more from the full store, and compares the writing with xorriso -as mkisofs and with cp
// of the same content.
//
// BenchmarkTakeover moves one virtual address between two heads, which are network namespaces on one switch
// (vmtest/arena), and measures from a third one, which asks for the address every 5 ms (vmtest/prober). Each repetition has
// each of the faults once: the planned switch by the program's own command; kill -9 of all of the program, once left so,
// once started again at once; a power cut, after which nothing of the head is on the network; and SIGSTOP of all of the
// program for 5 s. The contenders:
//
//   - masthead: two heads and three witnesses, with the usual leases and with profile fast; and two heads alone that can
//     switch one another off, by a fence agent that takes as long as its script (a real device: as long as it takes).
//   - keepalived: VRRP without preemption, with adverts every 0.1 s (version 3) and at its default of 1 s. Its planned
//     switch is the orderly end of the daemon.
//   - Heartbeat 3: keepalive 200 ms and deadtime 1 s; and the times of its example ha.cf, 2 and 30 s, in one of ten
//     repetitions. Its planned switch is hb_standby.
//
// Silence is the longest time without an answer to ARP or to echo requests, whichever is longer. Two owners are two cards
// that answer ARP in turns. After kill -9 they last until a person removes the address from the dead head; here that is
// done as soon as the takeover is measured.
//
// Where takeovers take fractions of a second, one contender at a time is measured. Those that take seconds go on beside it:
// they sleep, mostly, and else a run would take hours. The prober has real-time priority, below that of masthead's daemons
// and of Heartbeat; a repetition in which it stood still all the same, or in which the restart after
// kill -9 came late by the host's doing, is put aside and done again, at most four times; the table says how many were, and
// how many that count were disturbed.
package bench
