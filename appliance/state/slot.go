package state

import (
	"fmt"
	"hash/fnv"
	"slices"
)

// Slots is the number of parts that everything that is given away once (addresses, node numbers) falls into.
const Slots = 64

// Slot is one of these parts, as the state keeps it under its number. Only the head that holds a slot gives away what
// falls into it, and only that head (or the administrator, who says that it is dead) gives the slot itself away. So a
// cluster that is cut in two never gives the same thing twice, and each part goes on with what its heads hold.
type Slot struct {
	Head string `json:"head"`
}

// SlotOf is the slot that a thing falls into.
func SlotOf(thing string) int {
	h := fnv.New32a()
	h.Write([]byte(thing))
	return int(h.Sum32() % Slots)
}

// SlotName is the name of a slot's key.
func SlotName(slot int) string { return fmt.Sprintf("%02d", slot) }

// ShareSlots lists the slots that from gives to a head that joins, so that all have about as many: holders names the
// present holder of each slot, heads is the number of heads afterwards. Pure.
func ShareSlots(holders []string, from string, heads int) []int {
	var own []int
	for slot, head := range holders {
		if head == from {
			own = append(own, slot)
		}
	}
	give := min(len(holders)/max(heads, 1), len(own)/2)
	// Every second one: what is given away next to each other then goes through several heads.
	var given []int
	for i := 0; i < len(own) && len(given) < give; i += max(1, len(own)/max(give, 1)) {
		given = append(given, own[i])
	}
	return slices.Clip(given)
}
