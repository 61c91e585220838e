// Package ntp tells the machines of the cluster the time of a head: the server's side of SNTP (RFC 4330, 5; RFC 5905, 14).
//
// Nodes have to agree on the time with each other and with the heads (certificates, file times, logs), which they do by
// following the heads, whether these follow somebody else or not. So a head serves even where its clock runs free, and
// says so by its stratum. It does not set the clock: that is for the head's own time daemon, if there is one.
package ntp
