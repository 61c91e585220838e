// Package ethernet is a learning Ethernet switch in userspace.
//
// Its ports are QEMU's stream sockets (-netdev stream, QEMU 7.2 and later) or Go
// programs in this process, so that virtual machines share a network without
// root. The cable at each port can lose, delay, duplicate, reorder or cut frames,
// each way on its own, and any port or the whole switch can be captured for
// tcpdump and Wireshark.
//
// It knows frames and addresses, nothing above them: no VLANs, no spanning tree
// (trunks must not form a loop), no IP.
package ethernet
