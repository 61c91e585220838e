package data

import "strconv"

// Copy is how this head's copy of a volume stands, in DRBD's words.
type Copy struct {
	There      bool   // the kernel has the resource
	Role       string // Primary, Secondary
	Suspended  string // "no", or why writes wait: fencing, user, no-data
	Connection string // Connected, Connecting, StandAlone, …; empty: none is configured
	PeerRole   string
	Disk       string // UpToDate, Consistent, Outdated, Inconsistent, Diskless, …
	PeerDisk   string
	// Replication is Established, SyncSource, SyncTarget, VerifyS, …; Off without a connection.
	Replication string
	Size        int64   // KiB
	OutOfSync   int64   // KiB that differ, as far as DRBD knows
	Done        float64 // of a resync or a verification, percent; negative: not said
}

// Apply takes an event about this volume's resource.
func (c *Copy) Apply(e Event) {
	gone := e.Verb == "destroy"
	set := func(to *string, key string) {
		if v, ok := e.Keys[key]; ok {
			*to = v
		}
	}
	switch e.Object {
	case "resource":
		if gone {
			*c = Copy{}
			return
		}
		c.There = true
		set(&c.Role, "role")
		set(&c.Suspended, "suspended")
	case "connection":
		if gone {
			c.Connection, c.PeerRole, c.PeerDisk, c.Replication = "", "", "", ""
			return
		}
		set(&c.Connection, "connection")
		set(&c.PeerRole, "role")
	case "device":
		if gone {
			c.Disk, c.Size = "", 0
			return
		}
		set(&c.Disk, "disk")
		if v, ok := e.Keys["size"]; ok {
			c.Size = number(v)
		}
	case "peer-device":
		if gone {
			c.PeerDisk, c.Replication = "", ""
			return
		}
		before := c.Replication
		set(&c.Replication, "replication")
		set(&c.PeerDisk, "peer-disk")
		if v, ok := e.Keys["out-of-sync"]; ok {
			c.OutOfSync = number(v)
		}
		if v, ok := e.Keys["done"]; ok {
			c.Done, _ = strconv.ParseFloat(v, 64) // what is no number is 0
		} else if before != c.Replication {
			c.Done = -1
		}
	}
}

// Connected: the two copies see one another, and what is written to one goes to both, or to the one that is behind in time.
func (c Copy) Connected() bool { return c.Connection == "Connected" }

// Together: they have compared what they have, too, and not found that both were written to by themselves.
func (c Copy) Together() bool { return c.Connected() && c.Replication != "" && c.Replication != "Off" }

// StandsAlone: nothing tries to connect. DRBD 8.4 forgets a connection that was ended.
func (c Copy) StandsAlone() bool {
	return c.There && (c.Connection == "StandAlone" || c.Connection == "")
}

// half: the kernel has the resource, and no device of it.
func (c Copy) half() bool { return c.There && c.Role == secondary && c.Disk == "" }

// Syncing: a resync or a verification runs.
func (c Copy) Syncing() bool {
	switch c.Replication {
	case "", "Off", "Established":
		return false
	}
	return c.Connected()
}

// Frozen: writes wait for the arbiter's word.
func (c Copy) Frozen() bool { return c.Suspended != "" && c.Suspended != "no" }

// verifying: the two copies are being compared.
func verifying(c Copy) bool { return c.Replication == "VerifyS" || c.Replication == "VerifyT" }
