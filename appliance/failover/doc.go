// Package failover decides which head owns the cluster: the virtual addresses, the services and the data.
//
// Decide is a pure function. It is given everything that one head can see (View) and the time, and says what that head is
// to do next (Decision). It asks nobody, waits for nothing and keeps nothing: what it wants to remember is in Memory, which
// it is given again the next time. So every decision can be replayed, and clusters of heads are simulated under a fake
// clock. The effects (heartbeats, leases, gates, fences, services) are elsewhere; package ownership performs them.
package failover
