// Package qemu says what a virtual machine is made of and turns that into a QEMU
// command line and a running process.
//
// CommandLine is pure; the sockets that it names are made by whoever listens on
// them. The machine's life over many processes, its network and its consoles are
// the business of package vmtest.
package qemu
