// Package vip holds the virtual addresses of a head, and has the kernel take them away from a head that no longer may
// have them.
//
// Two things in the kernel do that, and neither needs this process to be alive. The gate is a set of nftables rules which
// drop what comes for a virtual address and what claims to come from one, unless the address is an element of a set, where
// it stays for less than half a second. The address itself has a lifetime of one second. The owner renews both, over and
// over; when it is stopped, killed or loses its lease, the gate shuts and then the address goes.
//
// What comes in for a VIP and what goes out from it is dropped, not what comes from it or goes to it: another head has the
// address then, and this one is its client and must hear its announcements. Probes for the VIP too pass a shut gate.
//
// The package announces the addresses (gratuitous ARP, unsolicited neighbour advertisements), asks who else has them, and
// notices and answers those who claim them. Who may own is not decided here: package failover does that.
package vip
