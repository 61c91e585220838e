// Package prober watches a virtual address from outside of the machines that may have it: it asks for it every few
// milliseconds, as a neighbour does (ARP, RFC 826) and as a client does (ICMP echo, RFC 792), and keeps who answered when.
// What the heads say of themselves is not asked.
package prober
