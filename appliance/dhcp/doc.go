// Package dhcp answers the machines of a cluster: it gives every one of them a single IPv4 address, whatever program on
// it is asking at the moment (firmware, iPXE, Linux), and tells firmware which loader to fetch from where.
//
// The heart is a pure function, Config.Answer: a request, how it came in, what is known, and the time go in; the packet
// to send, its destination, the lease to keep and an event come out. Server.Run puts the effects around it: the sockets,
// the question on the wire whether an address is in use, and the lease written durably before it is acknowledged.
// Config.Mode selects a full server or a proxyDHCP service that adds only the boot file beside somebody else's server;
// Detect finds out whether there is one.
//
// What does not live here: who is registered (Registry), where leases are kept (Store), and the serving of the boot
// files themselves.
package dhcp
