package chunks

// CacheBound is how many bytes of stored chunks a lazy root keeps in memory on a machine with that many bytes of
// memory: a sixteenth of the first GiB and a quarter of the rest. A machine with 512 MiB needs what it has for its
// programs and gives 32 MiB; one with 4 GiB gives 832, which holds most roots whole and makes it independent of its
// heads.
func CacheBound(memory int64) int64 {
	const first = 1 << 30
	return min(memory, first)/16 + max(memory-first, 0)/4
}

// RAMBound is how many bytes of stored chunks a root that is loaded whole may take: all but what the smallest system
// runs in and a quarter of the rest.
func RAMBound(memory int64) int64 {
	const system = 192 << 20
	return max(memory-system, 0) / 4 * 3
}
