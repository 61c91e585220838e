// Package state keeps what a cluster must not forget: nodes, leases, settings, and who changed them. It is one
// versioned key-value model behind the interface Store.
//
// Here is the model (keys, versions, the canonical encoding, how two writes of one key are ordered) and DB, the Store
// of a single head on a bbolt file. What the values mean belongs to the packages that own the kinds. What may be lost
// in a power cut (when a node was last heard of) does not belong here at all.
package state
