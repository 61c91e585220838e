package ownership

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"masthead/appliance/failover"
)

func recordOf(t *rapid.T) failover.Record {
	return failover.Record{
		ClusterGen: rapid.Uint64().Draw(t, "gen"), Epoch: failover.Epoch(rapid.Uint64().Draw(t, "epoch")),
		Owner: rapid.StringMatching(`[a-z0-9]{0,12}`).Draw(t, "owner"), DataUUID: rapid.StringMatching(`[0-9A-F]{0,16}`).Draw(t, "uuid"),
		SoloSince: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "solo"), 0).UTC(), BootID: "b",
	}
}

// Power fails after any byte of a write, or with any of its 512-byte sectors written: the old record or the new one is
// read, never another, and never none.
func TestTornWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, next := recordOf(t), recordOf(t)
		data := make([]byte, slotCount*slotSize)
		seq := rapid.Uint64Range(1, 1<<40).Draw(t, "seq")
		before, err := encodeSlot(seq, old)
		if err != nil {
			t.Fatal(err)
		}
		copy(data[int(seq%slotCount)*slotSize:], before)
		stale, err := encodeSlot(seq-1, recordOf(t))
		if err != nil {
			t.Fatal(err)
		}
		at := int((seq+1)%slotCount) * slotSize
		copy(data[at:], stale)
		after, err := encodeSlot(seq+1, next)
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "sectors") {
			for s := 0; s < slotSize; s += 512 {
				if rapid.Bool().Draw(t, "sector") {
					copy(data[at+s:at+s+512], after[s:])
				}
			}
		} else {
			copy(data[at:], after[:rapid.IntRange(0, slotSize).Draw(t, "cut")])
		}
		gotSeq, got, err := decodeSlots(data)
		if err != nil {
			t.Fatal(err)
		}
		switch gotSeq {
		case seq:
			if d := cmp.Diff(old, got); d != "" {
				t.Fatalf("not the old record: %s", d)
			}
		case seq + 1:
			if d := cmp.Diff(next, got); d != "" {
				t.Fatalf("not the new record: %s", d)
			}
		default:
			t.Fatalf("sequence number %d, want %d or %d", gotSeq, seq, seq+1)
		}
	})
}

// Each single byte of a short record's write.
func TestTornAtEachByte(t *testing.T) {
	old, next := failover.Record{Epoch: 17, Owner: "head1", BootID: "a"}, failover.Record{Epoch: 34, Owner: "head2", BootID: "b"}
	before, _ := encodeSlot(1, old)
	after, _ := encodeSlot(2, next)
	news := 0
	for cut := range slotSize + 1 {
		data := make([]byte, slotCount*slotSize)
		copy(data[slotSize:], before)
		copy(data, after[:cut])
		_, got, err := decodeSlots(data)
		if err != nil || got != old && got != next {
			t.Fatalf("cut at byte %d: %+v, %v", cut, got, err)
		}
		if got == next {
			news++
		}
	}
	if news == 0 || news == slotSize+1 {
		t.Fatalf("the new record was read %d times", news)
	}
}

func TestRecordFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "owner", "record")
	open := func() (*recordFile, error) {
		f, damage, err := openRecord(path)
		if err != nil {
			t.Fatal(err)
		}
		return f, damage
	}
	f, damage := open()
	if damage != nil || f.Record() != (failover.Record{}) {
		t.Fatalf("a new record: %+v, %v", f.Record(), damage)
	}
	for round := range 5 {
		r := failover.Record{Epoch: failover.Epoch(round * failover.MaxHeads), Owner: "head1", BootID: "a"}
		if err := f.Write(r); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if f, damage = open(); damage != nil || f.Record() != r {
			t.Fatalf("after opening again: %+v, %v; want %+v", f.Record(), damage, r)
		}
	}
	if err := f.Write(failover.Record{Epoch: 3}); err == nil {
		t.Fatal("an epoch went down")
	}
	f.Close()
	if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, damage := open()
	defer func() { _ = again.Close() }()
	if damage == nil || again.Record() != (failover.Record{}) {
		t.Fatalf("a damaged record: %+v, %v", f.Record(), damage)
	}
	if got, err := os.ReadFile(path + ".old.00"); err != nil || string(got) != "garbage" {
		t.Fatalf("set aside: %q, %v", got, err)
	}
}

func FuzzSlots(f *testing.F) {
	slot, _ := encodeSlot(7, failover.Record{Epoch: 17, Owner: "head1"})
	f.Add(slot)
	f.Add(append(slot, slot...))
	f.Fuzz(func(t *testing.T, data []byte) { _, _, _ = decodeSlots(data) })
}
