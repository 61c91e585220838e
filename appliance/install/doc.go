// Package install puts a head on a server's disk: from the ISO that the machine was started from, it partitions the disk,
// copies the ISO into a slot, writes the boot loader, and leaves the answers where the head's first boot finds them.
//
// NewPlan decides, from what the machine has and what somebody wants; it is pure. Run goes through a table of steps. Each
// step that is done is noted on the disk itself, so that an installation which was interrupted, at any point, is started
// again by the same command, and goes on. Write and Carry are the same for an upgrade, which fills the other slot.
//
// What is asked on a screen, and when a slot counts as good, is not decided here (cmd, node/slot).
package install
