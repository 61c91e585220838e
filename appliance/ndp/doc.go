// Package ndp spares network-booting machines the wait for an IPv6 router where there is none.
//
// iPXE configures IPv4 and IPv6 at once and goes on when both have ended. Without a router its IPv6 side repeats router
// solicitations after 0.25, 0.5, 1, 2, 4 and 8 s before it gives up, 15 s after DHCP has answered. The Responder
// answers them with an advertisement of lifetime 0, which says "I am not a default router" (RFC 4861, 6.2.3) and
// nothing else: no prefix, no flags, no hop limit. A host learns no route and no address from it.
//
// Where a real router speaks the Responder is silent. This is no IPv6 service: no prefixes, no DHCPv6, no routing.
package ndp
