// Package gossip keeps the states of the configured heads the same. A Replica is a state.Store: each write is synced
// here, goes to all other heads at once, and is acknowledged when one of them has it too, or answered as degraded.
//
// What a push did not bring (a head was off, a message was lost) is found by digests, which all heads send one another
// each second, and repaired by a Merkle walk, which moves only what differs. hashicorp/memberlist tells who is there
// and carries the digests; it decides nothing, and what it says is a hint. The records themselves go over mutual TLS.
//
// What a record means, who is a configured head, and who may connect belongs to others (state, appliance).
package gossip
