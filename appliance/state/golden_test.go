package state

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// encodeOld gives format 1, which heads wrote when they were alone.
func encodeOld(r Record) []byte {
	out := []byte{recordFormatOld, 0}
	if r.Deleted {
		out[1] = flagDeleted
	}
	out = append(r.Version.append(out), r.Value...)
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(crc32.Checksum([]byte(r.Key.String()), table), table, out)
	return binary.BigEndian.AppendUint32(out, sum)
}

var goldenRecords = []Record{
	{Key: Key{KindNode, "n01"}, Value: json.RawMessage(`{"a":1}`), Version: Version{1, 0x019dfc1d8fa80002, "a"}},
	{
		Key: Key{KindNode, "n02"}, Deleted: true, Version: Version{2, 0x019dfc1d8fa80003, "b"},
		Base: []Version{{1, 0x019dfc1d8fa80001, "a"}, {1, 7, "head-3"}},
	},
	{Key: Key{KindAudit, "019dfc1d8fa80002-a"}, Value: json.RawMessage(`{}`), Version: Version{1, 0x019dfc1d8fa80002, "a"}},
}

// These bytes lie on disks and go between heads, perhaps of other versions of this program: they never change. A new
// format gets a new number.
func TestGolden(t *testing.T) {
	x := newIndex()
	x.apply(goldenRecords, nil)
	x.tree.settle()
	empty := newIndex()
	empty.tree.settle()
	want := map[string]string{
		"node/n01":                 "02" + "00" + "0000000000000001" + "019dfc1d8fa80002" + "0161" + "00" + "7b2261223a317d" + "fb8dda1b",
		"hash of node/n01":         "20325717825ad5689e918b37880f0160c907a254328d3dce2ff88f92aae5629f",
		"node/n02":                 "02" + "01" + "0000000000000002" + "019dfc1d8fa80003" + "0162" + "02" + "0000000000000001" + "019dfc1d8fa80001" + "0161" + "0000000000000001" + "0000000000000007" + "06686561642d33" + "cd6b9c2d",
		"hash of node/n02":         "d9904883be3c1d9905dae7e68d3c361c3c5dbab55558ca67e1c573422ae9b047",
		"format 1":                 "01" + "00" + "0000000000000001" + "019dfc1d8fa80002" + "0161" + "7b2261223a317d" + "4f576f99",
		"batch":                    "01" + "01" + "08" + "6e6f64652f6e3031" + "20" + "02000000000000000001019dfc1d8fa800020161007b2261223a317dfb8dda1b",
		"root":                     "fbdf790e9e0dc1818098092511f67fa9eac4037a25b1e07c71d3a877a0f6ef86",
		"root of an empty state":   "147bfbafa6876b48e0ede3c953fc0647f42f6f0c5612a4e7e0a7cb96edc76673",
		"root of nothing, by hand": "147bfbafa6876b48e0ede3c953fc0647f42f6f0c5612a4e7e0a7cb96edc76673",
	}
	got := map[string]string{
		"node/n01":                 hex.EncodeToString(goldenRecords[0].Encode()),
		"hash of node/n01":         goldenRecords[0].Hash().String(),
		"node/n02":                 hex.EncodeToString(goldenRecords[1].Encode()),
		"hash of node/n02":         goldenRecords[1].Hash().String(),
		"format 1":                 hex.EncodeToString(encodeOld(goldenRecords[0])),
		"batch":                    hex.EncodeToString(EncodeBatch(goldenRecords[:1])),
		"root":                     x.tree.root.String(),
		"root of an empty state":   empty.tree.root.String(),
		"root of nothing, by hand": rootOf(nil).String(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	old, err := DecodeRecord(goldenRecords[0].Key, encodeOld(goldenRecords[0]))
	if diff := cmp.Diff(goldenRecords[0], old); err != nil || diff != "" {
		t.Errorf("format 1 reads as %v, %v\n%s", old, err, diff)
	}
}

func genAnyRecord(t *rapid.T) Record {
	r := genRecord(t)
	r.Base = nil
	r.Key = Key{rapid.SampledFrom([]Kind{KindNode, KindFile, KindAudit}).Draw(t, "kind"), rapid.StringMatching(`[a-z/]{1,20}`).Draw(t, "name")}
	for _, head := range []string{"a", "b", "c"} {
		if head != r.Version.Head && rapid.Bool().Draw(t, "seen "+head) {
			r.Base = append(r.Base, Version{Epoch: 1, HLC: HLC(rapid.Uint64().Draw(t, "hlc")), Head: head})
		}
	}
	return r
}

func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(genAnyRecord), 0, 5).Draw(t, "records")
		data := EncodeBatch(want)
		got, err := DecodeBatch(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(append([]Record{}, want...), got); diff != "" {
			t.Fatal(diff)
		}
		if _, err := DecodeBatch(data[:rapid.IntRange(0, len(data)-1).Draw(t, "cut")]); err == nil {
			t.Fatal("a batch that was cut off was read")
		}
		if _, err := DecodeBatch(append(data, 0)); err == nil {
			t.Fatal("a batch with something after it was read")
		}
	})
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add(EncodeBatch(nil))
	f.Add(EncodeBatch(goldenRecords))
	f.Add([]byte{1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		records, err := DecodeBatch(data)
		if err != nil {
			return
		}
		again, err := DecodeBatch(EncodeBatch(records))
		if err != nil || len(again) != len(records) {
			t.Fatalf("%v, then %v, %v", records, again, err)
		}
		for i := range records {
			if !bytes.Equal(records[i].Encode(), again[i].Encode()) {
				t.Fatalf("%v became %v", records[i], again[i])
			}
		}
		// Whatever a peer sends, taking it over leaves a state whose root is that of its records.
		h := newMemHead("a", 3)
		h.merge(goldenRecords[0].Version.HLC.Time(), records)
		if h.root() != rootOf(h.all()) {
			t.Fatal("the root is not that of the records")
		}
	})
}
