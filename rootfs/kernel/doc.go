// Package kernel says where a kernel comes from: a Debian package, files on this machine, or the root tree that is being
// built. Whichever it is, the result is a Kernel: the image that boots and the tree of its modules.
//
// What the modules say about themselves is rootfs/module; how packages are got and verified is rootfs/apt.
package kernel
