package failover

import "time"

// Record is what a head remembers over power cuts. It is on the disk before the head acts on it (R1).
type Record struct {
	ClusterGen uint64 `json:"cluster_gen"` // generation of the cluster's state: grows with `head recover`
	Epoch      Epoch  `json:"epoch"`       // the highest known; it never goes down
	Owner      string `json:"owner"`       // who claimed or was seen to own it; empty: nobody yet
	// SoloSince is when the owner began to own without the other head; zero: the other has followed. A head that was away
	// since then has older data.
	SoloSince time.Time `json:"solo_since,omitzero"`
	// DataUUID is which generations of the data this head had when it owned last, volume by volume, as the data engine names
	// them.
	DataUUID string `json:"data_uuid,omitempty"`
	// BootID is the boot in which this head wrote the record (/proc/sys/kernel/random/boot_id). In another boot the record
	// is history: nobody becomes the owner from his own memory (R3).
	BootID string `json:"boot_id"`
}
