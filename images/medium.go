package images

// Files of our ISOs that a loader reads, whether the ISO is on a CD or a stick, or in a slot of an installed disk.
const (
	MediumKernel    = "boot/vmlinuz"
	MediumInitramfs = "boot/initramfs"
	MediumCmdline   = "boot/cmdline.cfg" // the kernel command line, as a script for GRUB (images/disk)
)
