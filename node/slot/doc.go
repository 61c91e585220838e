// Package slot is what a head that runs from an installed disk knows of its two slots: which one it runs from, what GRUB
// was told and has done (package images/disk has the block), and what became of the last upgrade, which is kept beside the
// state. Judge is the decision; the rest reads and writes.
//
// Who writes an image into a slot, and who finds a new one healthy, is elsewhere (appliance/install, cmd).
package slot
