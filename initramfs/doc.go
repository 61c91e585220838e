// Package initramfs makes the file system that a kernel starts from: masthead as /init, the modules that find a
// machine's hardware, and what the build tells init.
//
// An initramfs is a sequence of cpio archives in the newc format (Documentation/driver-api/early-userspace/
// buffer-format.rst), each compressed on its own. The same input gives the same bytes. Which modules are in it is
// rootfs/module; what init does with them is node.
package initramfs
