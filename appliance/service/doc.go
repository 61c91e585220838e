// Package service runs the services of a cluster on the head that owns it, and sees to it that none is left on a head that
// does not.
//
// A Service is an ordered list of resources: additional addresses, file systems, systemd units, LSB scripts, OCF agents.
// They start in order and stop in reverse, also between services (Service.After). What is to be done next is decided by
// plan, which has no effects and is given the time; Group performs it, one goroutine for each operation under way. One file
// is one kind of resource.
//
// What was started is noted in a file that ends with the boot (/run), so that a daemon that was killed adopts what it finds
// running when it is back. Who owns the cluster is not decided here: Wish says so.
package service
