// Package arena is a network of machines that are network namespaces of this host: one switch, any number of machines on
// it, null-modem cables of pseudo terminals between them. Daemons that own addresses run in it as processes, in real time
// and on the host's kernel, side by side with the programs that they are compared with. It needs root, and no QEMU.
package arena
