// Package kmod loads kernel modules on a running machine: those that its hardware asks for, and named ones.
//
// It is what modprobe and udev do elsewhere, for the time when a machine has neither. Table is what the files in
// lib/modules/RELEASE say, pure; Loader applies it. Which modules an initramfs holds is decided by the build, in
// rootfs/module.
package kmod
