package main

import (
	"testing"

	"masthead/images/disk"
	"masthead/node/slot"
)

// The failure of an upgrade is no news of the next one in the same slot.
func TestSlotNote(t *testing.T) {
	failed := &slot.Failure{Slot: disk.SlotB, Reason: "the disk is full"}
	for _, tt := range []struct {
		slot   disk.Slot
		record slot.Record
		want   string
	}{
		{disk.SlotB, slot.Record{}, ""},
		{disk.SlotA, slot.Record{Failed: failed}, ""},
		{disk.SlotB, slot.Record{Failed: failed}, "did not come up healthy: the disk is full"},
		{disk.SlotB, slot.Record{Failed: failed, Trial: &slot.Trial{Slot: disk.SlotB}}, ""},
		{disk.SlotB, slot.Record{Failed: failed, Trial: &slot.Trial{Slot: disk.SlotA}}, "did not come up healthy: the disk is full"},
	} {
		if got := slotNote(tt.slot, tt.record); got != tt.want {
			t.Errorf("slot %s of %+v: %q, want %q", tt.slot, tt.record, got, tt.want)
		}
	}
}
