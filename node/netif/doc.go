// Package netif brings up the cluster NIC of a machine and keeps its lease. PID 1 uses it in the initramfs; the agent
// goes on with the lease after the root's own init has started.
//
// Up finds the NIC, waits for its driver and its carrier, and gives it an address: from DHCP, from the kernel command
// line, or, on a head, from whichever of the two there is. Renewer keeps a lease without ever taking the address away,
// since the machine's root comes over it. What a machine does with names, time and hosts is decided elsewhere.
//
// To a DHCP server the machine is its MAC address, as it is to the server when its firmware asks, so that firmware,
// iPXE and Linux get one address.
package netif
