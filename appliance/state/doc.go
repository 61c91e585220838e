// Package state keeps what a cluster must not forget: nodes, leases, settings, and who changed them. It is one
// versioned key-value model behind the interface Store.
//
// Here is the model (keys, versions, the canonical encoding, how two writes of one key are ordered, what a lost one
// leaves behind, when a deletion may be forgotten, the hash over all of it), which is pure: a draft is one change over
// what was before, and every head makes the same bytes of the same records in any order. And here is DB, the Store of
// one head on a bbolt file, with what it takes to keep several the same: Follow gives what was written here, Merge
// takes what was written elsewhere, Summary to Stamps find what differs. Who talks to whom is not here but in
// appliance/gossip. What the values mean belongs to the packages that own the kinds. What may be lost in a power cut
// (when a node was last heard of) does not belong here at all.
package state
