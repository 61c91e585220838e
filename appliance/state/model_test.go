package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCanonical(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{`{"b":1, "a" : [true,null,"x"]}`, `{"a":[true,null,"x"],"b":1}`},
		{`{"<":"\u003c\u00e9\/"}`, `{"<":"<é/"}`},
		{`[1.0,1e2,-0,-0.0,0.1,1E400000000000000000]`, ""},
		{`[1.0,1e2,-0,-0.0,0.1,1e21,1e-7]`, `[1,100,0,0,0.1,1e+21,1e-7]`},
		{`18446744073709551615`, `18446744073709551615`},
		{`{"a":1,"a":2}`, ""},
		{`{"a":1} {}`, ""},
		{`{"a":`, ""},
		{"\"\xff\"", ""},
		{strings.Repeat("[", 100) + strings.Repeat("]", 100), ""},
		{``, ""},
	} {
		got, err := Canonical([]byte(tc.in))
		if string(got) != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("Canonical(%s) = %s, %v; want %s", tc.in, got, err, tc.want)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"b":[1.5e3,"\u2028"],"a":{}}`))
	f.Add([]byte(`-0.0`))
	f.Fuzz(func(t *testing.T, data []byte) {
		once, err := Canonical(data)
		if err != nil {
			return
		}
		twice, err := Canonical(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("not idempotent: %s, then %s, %v", once, twice, err)
		}
		if !json.Valid(once) {
			t.Fatalf("not JSON: %s", once)
		}
	})
}

func genVersion(t *rapid.T) Version {
	return Version{
		Epoch: rapid.Uint64Range(1, 3).Draw(t, "epoch"),
		HLC:   HLC(rapid.Uint64Range(0, 3).Draw(t, "hlc")),
		Head:  rapid.SampledFrom([]string{"a", "b"}).Draw(t, "head"),
	}
}

func genRecord(t *rapid.T) Record {
	r := Record{Key: Key{KindNode, "n01"}, Version: genVersion(t)}
	if r.Deleted = rapid.Bool().Draw(t, "deleted"); !r.Deleted {
		r.Value = json.RawMessage(rapid.SampledFrom([]string{"1", "2"}).Draw(t, "value"))
	}
	if r.Version.Head == "a" && rapid.Bool().Draw(t, "base") {
		r.Base = []Version{{1, HLC(rapid.Uint64Range(1, 2).Draw(t, "base hlc")), "b"}}
	}
	return r
}

func TestMergeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := genRecord(t), genRecord(t), genRecord(t)
		for what, pair := range map[string][2]Record{
			"commutes":      {Merge(a, b), Merge(b, a)},
			"associates":    {Merge(Merge(a, b), c), Merge(a, Merge(b, c))},
			"is idempotent": {Merge(a, a), a},
		} {
			if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
				t.Fatalf("Merge of %v, %v, %v: not %s:\n%s", a, b, c, what, diff)
			}
		}
		if m := Merge(a, b); m.Version.Compare(a.Version) < 0 || m.Version.Compare(b.Version) < 0 {
			t.Fatalf("Merge(%v, %v) went back to %v", a, b, m)
		}
	})
}

func TestVersionOrder(t *testing.T) {
	sorted := []Version{{}, {1, 1, "a"}, {1, 1, "b"}, {1, 2, "a"}, {2, 1, "a"}}
	for i, v := range sorted {
		for j, w := range sorted {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := v.Compare(w); got != want {
				t.Errorf("%v.Compare(%v) = %d, want %d", v, w, got, want)
			}
		}
	}
}

func TestHLC(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	h := HLCAt(at)
	if got := h.Time(); !got.Equal(at) {
		t.Errorf("HLCAt(%v).Time() = %v", at, got)
	}
	if _, err := h.Observe(HLCAt(at.Add(MaxSkew+time.Millisecond)), at); !errors.Is(err, ErrClockAhead) {
		t.Errorf("Observe of a clock too far ahead: %v, want ErrClockAhead", err)
	}
	rapid.Check(t, func(t *rapid.T) {
		h := HLC(0)
		for range rapid.IntRange(1, 50).Draw(t, "n") {
			// A wall clock that jumps both ways, and also to before 1970.
			now := time.UnixMilli(rapid.Int64Range(-5, 20).Draw(t, "now"))
			next := h.Tick(now)
			if next <= h || next < HLCAt(now) {
				t.Fatalf("%x.Tick(%v) = %x", h, now, next)
			}
			h = next
			if remote := HLC(rapid.Uint64Range(0, 1<<21).Draw(t, "remote")); true {
				seen, err := h.Observe(remote, now)
				if err == nil && (seen < h || seen < remote) {
					t.Fatalf("%x.Observe(%x) = %x", h, remote, seen)
				}
				h = seen
			}
		}
	})
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := genRecord(t)
		data := want.Encode()
		got, err := DecodeRecord(want.Key, data)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
		flip := rapid.IntRange(0, len(data)*8-1).Draw(t, "flip")
		data[flip/8] ^= 1 << (flip % 8)
		if _, err := DecodeRecord(want.Key, data); err == nil {
			t.Fatalf("bit %d flipped, and nobody noticed", flip)
		}
	})
	r := Record{Key: Key{KindNode, "n01"}, Value: json.RawMessage("1"), Version: Version{1, 1, "a"}}
	if _, err := DecodeRecord(Key{KindNode, "n02"}, r.Encode()); err == nil {
		t.Error("a record under another key was taken")
	}
}

func FuzzDecodeRecord(f *testing.F) {
	r := Record{Key: Key{KindNode, "n01"}, Value: json.RawMessage(`{"a":1}`), Version: Version{1, 2, "head-1"}}
	f.Add(r.Encode(), false)
	f.Add(encodeOld(r), false)
	f.Add(encodeOld(r)[:2], true)
	r.Base = []Version{{1, 1, "head-0"}, {1, 3, "head-2"}}
	f.Add(r.Encode(), true)
	r.Value, r.Deleted = nil, true
	f.Add(r.Encode(), false)
	f.Add(encodeOld(r), false)
	f.Fuzz(func(t *testing.T, data []byte, mend bool) {
		if mend && len(data) > recordTrailer { // with a right checksum more gets past it
			body := data[:len(data)-recordTrailer]
			data = binary.BigEndian.AppendUint32(bytes.Clone(body), checksum(r.Key, body))
		}
		got, err := DecodeRecord(r.Key, data)
		if err != nil {
			return
		}
		again := got.Encode()
		if data[0] == recordFormatOld {
			again = encodeOld(got)
		}
		if !bytes.Equal(again, data) {
			t.Fatalf("two encodings of one record: %x and %x", data, again)
		}
	})
}

func TestParseKey(t *testing.T) {
	for s, ok := range map[string]bool{
		"node/n01": true, "lease/52:54:00:aa:bb:01": true, "node/": false, "nodes/n01": false,
		"node/a/b": true, "node/a b": false, "node": false, "": false, "node/" + strings.Repeat("a", 256): false,
	} {
		k, err := ParseKey(s)
		if (err == nil) != ok || (ok && k.String() != s) {
			t.Errorf("ParseKey(%q) = %v, %v; want ok %t", s, k, err, ok)
		}
	}
}

func TestPlan(t *testing.T) {
	v := Version{1, 7, "a"}
	have := map[Key]Record{
		{KindNode, "old"}:  {Key: Key{KindNode, "old"}, Value: json.RawMessage(`{"a":1}`), Version: Version{1, 3, "a"}},
		{KindNode, "gone"}: {Key: Key{KindNode, "gone"}, Deleted: true, Version: Version{1, 4, "a"}},
	}
	at := func(k Key) (Record, bool) { r, ok := have[k]; return r, ok }
	put := func(name, value string) Op { return Op{Key: Key{KindNode, name}, Value: json.RawMessage(value)} }
	for _, tc := range []struct {
		name string
		ops  []Op
		want []string // NAME=VALUE, or NAME for a tombstone
		err  string
	}{
		{"new", []Op{put("new", `{"b":1,"a":2}`)}, []string{`new={"a":2,"b":1}`}, ""},
		{"the same is nothing", []Op{put("old", `{ "a":1 }`)}, nil, ""},
		{"delete", []Op{Delete(KindNode, "old")}, []string{"old"}, ""},
		{"delete what is gone", []Op{Delete(KindNode, "gone"), Delete(KindNode, "never")}, nil, ""},
		{"expected", []Op{put("old", `2`).At(Version{1, 3, "a"})}, []string{"old=2"}, ""},
		{"not expected", []Op{put("new", `1`), put("old", `2`).At(Version{1, 2, "a"})}, nil, "node/old: changed by somebody else"},
		{"create", []Op{put("new", `1`).At(Version{})}, []string{"new=1"}, ""},
		{"create over a tombstone", []Op{put("gone", `1`).At(Version{})}, []string{"gone=1"}, ""},
		{"create what is there", []Op{put("old", `1`).At(Version{})}, nil, "node/old: changed"},
		{"twice", []Op{put("x", `1`), put("x", `2`)}, nil, "changed twice"},
		{"audit", []Op{{Key: Key{KindAudit, "x"}, Value: json.RawMessage("1")}}, nil, "by the state alone"},
		{"no JSON", []Op{put("x", `{`)}, nil, "canonical JSON"},
		{"kind", []Op{Delete("nodes", "x")}, nil, "unknown kind"},
		{"too long", []Op{put("x", `"`+strings.Repeat("a", maxValue)+`"`)}, nil, "at most"},
	} {
		writes, _, err := plan(tc.ops, v, at)
		var got []string
		for _, w := range writes {
			if w.Version != v {
				t.Errorf("%s: version %v", tc.name, w.Version)
			}
			if w.Deleted {
				got = append(got, w.Key.Name)
			} else {
				got = append(got, w.Key.Name+"="+string(w.Value))
			}
		}
		if diff := cmp.Diff(tc.want, got); diff != "" || (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%s: %v\n%s", tc.name, err, diff)
		}
	}
}
