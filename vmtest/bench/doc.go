// Package bench compares whole boots and whole builds with what a user would pick instead, as ratios in one run. It
// holds benchmarks only; `make bench` runs them, beside those of the packages that have a peer of their own.
//
// BenchmarkBoot boots one Debian root, that of images/worker.yaml, on like machines from one head, one after the other:
//
//   - lazy: masthead's default. The initramfs attaches the root, and what is read is fetched.
//   - ram: the same with root=ram. All chunks are fetched before the root is mounted.
//   - plain: the classic diskless setup. The root's whole tree is one zstd cpio, at the level of the chunks, which the
//     loader fetches and the kernel unpacks into memory; /init is systemd. The same loader (iPXE) fetches it from the
//     same head over the same emulated network, the kernel is the same file, and systemd starts the same units, the
//     agent among them. udev loads its drivers and systemd-networkd asks for its address.
//
// All three stop the clock where the agent starts, by the kernel's own count. That is to plain's advantage: there the
// network comes up later.
//
// BenchmarkISO builds images/head.yaml, which carries the worker, into an empty store from downloads that are there
// already, writes its ISO once more from the full store, and compares the writing with xorriso -as mkisofs and with cp
// of the same content.
package bench
