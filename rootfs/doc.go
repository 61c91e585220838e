// Package rootfs turns a root file system into a sealed root: a Tree of metadata whose file contents stay where they
// are, an EROFS image of the Tree, and the image cut in compressed chunks that are named by their digest.
//
// Where a Tree comes from is a package below this one each: debian (a bootstrap), oci (a container image), tarball (a
// tar archive), directory. Which kernel modules a root needs, and where Debian packages are found, are there too
// (module, apt). How a machine mounts a sealed root is node/rootdev.
package rootfs
