// Package data keeps the replicated data of a cluster: block devices that DRBD mirrors between two heads, each written to
// by the owner alone.
//
// What is to be done next (Next), how a copy stands (Copy.Reading) and what the kernel is told when it asks whether the other
// head may still write (Answer) are pure functions of what DRBD and the owner daemon say. Set performs them, by drbdadm and
// drbdsetup. Who owns is decided elsewhere, and so is the word that lets an owner write without the other copy
// (failover.Word). What the configuration has no more is let go of, once nothing uses it (Look.Leave). File systems are mounted
// by package service.
//
// Earlier states of a volume are kept by a keeper: subvolumes of its btrfs, or thin logical volumes beneath DRBD. What is to be
// done about those is pure too (Volume.move).
package data
