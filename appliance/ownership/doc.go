// Package ownership is the daemon that owns the cluster for a head, or waits to: `masthead owner run`.
//
// It gathers what the head can see into a failover.View, asks failover.Decide, and performs what comes back: heartbeats,
// leases, the gate of the virtual addresses, fences, services, the watchdog. It is a process of its own, so that nothing
// else that a head does can delay a heartbeat. All that it must know stands in one file, which `masthead head run` writes
// from the replicated state; it needs nobody else to go on.
package ownership
