package qemu

import (
	"fmt"
	"slices"
)

// bootIndex gives devices their place in the boot order; those without one are
// not booted from.
type bootIndex struct {
	disks, nics map[int]int
}

func (b bootIndex) disk(i int) string { return option(b.disks, i) }
func (b bootIndex) nic(i int) string  { return option(b.nics, i) }

func option(index map[int]int, i int) string {
	if n, ok := index[i]; ok {
		return fmt.Sprintf(",bootindex=%d", n)
	}
	return ""
}

// bootIndexes numbers m's devices in the order of its sources, and within a source
// in the order they are listed.
func bootIndexes(m Machine) bootIndex {
	b := bootIndex{disks: make(map[int]int), nics: make(map[int]int)}
	next := 0
	for _, source := range m.Boot {
		switch source {
		case FromNetwork, FromHTTP:
			for i := range m.NICs {
				b.nics[i] = next
				next++
			}
		default:
			for i, d := range m.Disks {
				if (d.Bus == CDROM) == (source == FromCD) {
					b.disks[i] = next
					next++
				}
			}
		}
	}
	return b
}

func bootsFromNetwork(m Machine) bool {
	return slices.Contains(m.Boot, FromNetwork) || slices.Contains(m.Boot, FromHTTP)
}
