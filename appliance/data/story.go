package data

import "fmt"

// story says in words what became of a copy; empty: nothing that people care for.
func story(before, now Copy) string {
	switch {
	case before.Connected() && !now.Connected() && before.There:
		return "the connection to the other copy is lost"
	case !before.Connected() && now.Connected():
		return "the other copy is connected"
	case before.Replication != now.Replication && now.Replication == "SyncTarget":
		return fmt.Sprintf("this copy is brought up to date: %s differ", amount(now.OutOfSync))
	case before.Replication != now.Replication && now.Replication == "SyncSource":
		return fmt.Sprintf("the other copy is brought up to date: %s differ", amount(now.OutOfSync))
	case before.Disk != now.Disk && now.Disk == upToDate && (before.Disk == inconsistent || before.Disk == outdated):
		return "this copy is up to date"
	case before.Disk != now.Disk && (now.Disk == "Failed" || now.Disk == "Diskless") && before.Disk == upToDate:
		return "the disk of this copy has failed"
	case before.Disk != now.Disk && now.Disk == outdated:
		return "this copy is the older one"
	case before.PeerDisk != now.PeerDisk && now.PeerDisk == upToDate && before.PeerDisk != "":
		return "the other copy is up to date"
	case !before.Frozen() && now.Frozen():
		return "writes wait: the other copy is gone, and this head may not go on alone yet"
	case before.Frozen() && !now.Frozen() && now.There:
		return "writes go on"
	}
	return ""
}

func bad(before, now Copy) bool {
	return before.Connected() && !now.Connected() || now.Disk == "Failed" || !before.Frozen() && now.Frozen()
}

// amount is a number of KiB as people read it.
func amount(kib int64) string {
	switch {
	case kib >= 10<<20:
		return fmt.Sprintf("%.1f GiB", float64(kib)/(1<<20))
	case kib >= 10<<10:
		return fmt.Sprintf("%.1f MiB", float64(kib)/(1<<10))
	}
	return fmt.Sprintf("%d KiB", kib)
}
