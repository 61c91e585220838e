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
package bench
