// Package disk is the disk of an installed head: its partitions, the GPT that names them, GRUB in its boot sectors and
// EFI system partition, and the block by which GRUB and the running system agree on the slot to start.
//
//	1  masthead-bios   BIOS boot partition: GRUB's core.img
//	2  masthead-esp    EFI system partition, FAT: shim, GRUB, its configuration and environment
//	3  masthead-a      a slot: the bytes of one of our ISOs
//	4  masthead-b      the other slot
//	5  masthead-state  ext4, made by the first boot: a head's state and the overlays of its root
//	6  masthead-data   the rest, for replicated data
//
// Everything goes through io.WriterAt, so that the same code makes an image file on a build host and writes a server's
// disk. Which disk that is, and whether it may be written, is not decided here.
package disk
