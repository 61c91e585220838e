// Package module reads a tree of kernel modules and answers two questions: what depends on what, and which of them an
// initramfs needs.
//
// Scan is depmod in Go: Debian's kernel packages carry no modules.dep, and a build must not depend on the host's kmod.
// Index.Files gives the same files that depmod writes, among them the binary indexes that modprobe and systemd-udevd
// read. Index.Select computes the closure of the modules that a table of Classes asks for.
//
// Loading modules on a running machine is node/kmod.
package module
