package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func exported(tb rapid.TB, d *DB, secrets bool) []byte {
	tb.Helper()
	e, err := d.Export(secrets)
	if err != nil {
		tb.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.Write(&b); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestExportGolden(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	d, err := Open(Config{Dir: t.TempDir(), Head: "head-1", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	apply(t, d, put(t, KindLease, "10.0.0.1", map[string]any{"b": "<x>", "a": []int{1}}), put(t, KindLease, "10.0.0.2", 1))
	apply(t, d, Delete(KindLease, "10.0.0.2"))
	if _, err := d.Merge(t.Context(), []Record{{Key: Key{KindSecret, "s"}, Value: json.RawMessage("1"), Version: Version{1, HLCAt(now), "head-2"}}}); err != nil {
		t.Fatal(err)
	}
	want := `{
  "format": "masthead state 1",
  "time": "2026-05-06T07:08:09Z",
  "head": "head-1",
  "root": "` + d.Summary().Root.String() + `",
  "missing": [
    "secret/s"
  ],
  "records": [
    {
      "key": "lease/10.0.0.1",
      "version": {
        "epoch": 1,
        "hlc": 116526369275904000,
        "head": "head-1"
      },
      "value": {
        "a": [
          1
        ],
        "b": "<x>"
      }
    }
  ]
}
`
	if diff := cmp.Diff(want, string(exported(t, d, false))); diff != "" {
		t.Error(diff)
	}
	if with := string(exported(t, d, true)); !strings.Contains(with, `"key": "secret/s"`) || !strings.Contains(with, `"missing": null`) {
		t.Errorf("with secrets:\n%s", with)
	}
}

// What was exported and imported elsewhere is the same, and importing it again changes nothing.
func TestExportRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := tempDB(t), tempDB(t)
		defer from.Close()
		defer to.Close()
		kinds := []Kind{KindNode, KindSecret, KindLease, KindSetting, KindFile}
		for _, d := range []*DB{from, to} {
			for range rapid.IntRange(0, 8).Draw(t, "writes") {
				op := Op{Key: Key{rapid.SampledFrom(kinds).Draw(t, "kind"), rapid.SampledFrom([]string{"a", "b", "c/d"}).Draw(t, "name")}}
				if v := rapid.IntRange(0, 3).Draw(t, "value"); v > 0 {
					op.Value = json.RawMessage(fmt.Sprintf(`{"v":%d,"s":"\u2028"}`, v))
				}
				if _, err := d.Apply(t.Context(), admin, op); err != nil {
					t.Fatal(err)
				}
			}
		}
		secrets := rapid.Bool().Draw(t, "secrets")
		e, err := ReadExport(exported(t, from, secrets))
		if err != nil {
			t.Fatal(err)
		}
		want := map[Kind]map[string]string{}
		for _, kind := range kinds {
			want[kind] = values(from, kind, "")
			if kind == KindSecret && !secrets { // those it would have had in common stay as they are
				want[kind] = values(to, kind, "")
				for name := range want[kind] {
					if _, err := from.Get(Key{kind, name}); err != nil {
						delete(want[kind], name)
					}
				}
			}
		}
		ops, diffs := e.Import(to.All(), true)
		if len(ops) != len(diffs) {
			t.Fatalf("%d changes, and %d are told", len(ops), len(diffs))
		}
		if _, err := to.Apply(t.Context(), admin, ops...); err != nil {
			t.Fatal(err)
		}
		for _, kind := range kinds {
			if diff := cmp.Diff(want[kind], values(to, kind, "")); diff != "" {
				t.Fatalf("%s:\n%s", kind, diff)
			}
		}
		if ops, _ := e.Import(to.All(), true); len(ops) != 0 {
			t.Fatalf("importing it again would change %v", ops)
		}
	})
}

// tempDB is a state that goes when the check is over.
func tempDB(t *rapid.T) *DB {
	dir, err := os.MkdirTemp("", "state-")
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(Config{Dir: dir, Head: "head-1", ReserveSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close(); os.RemoveAll(dir) })
	return d
}

func TestImportLeavesTheClusterAlone(t *testing.T) {
	d := open(t, t.TempDir())
	apply(t, d, put(t, KindHead, "head-1", 1), put(t, KindSlot, "00", 1), put(t, KindSecret, "gossip-keys", 1),
		put(t, KindSetting, "removed-head/x", 1), put(t, KindSecret, "join-token/x", 1), put(t, KindNode, "n1", 1))
	e, err := ReadExport(exported(t, d, true))
	if err != nil {
		t.Fatal(err)
	}
	other := open(t, t.TempDir())
	apply(t, other, put(t, KindHead, "head-2", 2), put(t, KindSlot, "00", 2), put(t, KindSecret, "gossip-keys", 2), put(t, KindNode, "n2", 2))
	ops, _ := e.Import(other.All(), true)
	var got []string
	for _, op := range ops {
		got = append(got, fmt.Sprintf("%s=%s", op.Key, op.Value))
	}
	if diff := cmp.Diff([]string{"node/n1=1", "node/n2="}, got); diff != "" {
		t.Error(diff)
	}
	if ops, _ := e.Import(other.All(), false); len(ops) != 1 {
		t.Errorf("without pruning: %v, want node/n1 alone", ops)
	}
}

func TestReadExportTellsAllMistakes(t *testing.T) {
	file := func(records string) string {
		return `{"format":"masthead state 1","time":"2026-05-06T07:08:09Z","head":"h","root":"` + strings.Repeat("0", 64) + `","missing":["node/x"],"records":[` + records + `]}`
	}
	version := `"version":{"epoch":1,"hlc":1,"head":"h"}`
	for _, tc := range []struct {
		data string
		want []string
	}{
		{``, []string{"no export"}},
		{`{}`, []string{`format ""`}},
		{`{"format":"masthead state 9"}`, []string{`format "masthead state 9"`}},
		{`{"formt":"masthead state 1"}`, []string{`unknown field "formt"`}},
		{file("") + "{}", []string{"follows"}},
		{
			file(`{"key":"nodes/a",` + version + `,"value":1},{"key":"node/a",` + version + `,"value":1},{"key":"node/a",` + version + `,"value":2},{"key":"node/b",` + version + `}`),
			[]string{"records[0], nodes/a", "unknown kind", "records[2], node/a: it is there twice", "records[3], node/b", "missing[0]"},
		},
	} {
		_, err := ReadExport([]byte(tc.data))
		for _, want := range tc.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("ReadExport(%s) = %v, want %q in it", tc.data, err, want)
			}
		}
	}
}

func FuzzReadExport(f *testing.F) {
	f.Add([]byte(`{"format":"masthead state 1","missing":["secret/a"],"records":[{"key":"node/a","version":{"epoch":1,"hlc":1,"head":"h"},"value":{"b":1,"a":1e2}}]}`))
	f.Add([]byte(`{"format":"masthead state 1","records":[{"key":"secret/gossip-keys","value":null},{"key":"audit/a","value":1}]}`))
	now := append([]Record{{Key: Key{KindLease, "l"}, Value: json.RawMessage("1"), Version: Version{1, 1, "a"}}}, goldenRecords...)
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ReadExport(data)
		if err != nil {
			return
		}
		ops, diffs := e.Import(now, true)
		if len(ops) != len(diffs) {
			t.Fatalf("%d changes, and %d are told", len(ops), len(diffs))
		}
		h := newMemHead("a", 10)
		h.merge(time.UnixMilli(1<<41), now)
		for i, op := range ops {
			if !op.Key.Portable() || op.Key != diffs[i].Key {
				t.Fatalf("%v for %v", op, diffs[i])
			}
		}
		if len(ops) > MaxOps {
			return
		}
		// A head takes them, unless the versions that now has are not what is there.
		d := h.draft(time.UnixMilli(1 << 41))
		if _, err := d.apply(admin, ops); err != nil {
			t.Fatalf("%v: %v", ops, err)
		}
	})
}

func TestDifference(t *testing.T) {
	rec := func(name string, hlc HLC, value string) Record {
		return Record{Key: Key{KindNode, name}, Value: json.RawMessage(value), Version: Version{1, hlc, "a"}}
	}
	ours := []Record{rec("same", 1, "1"), rec("newer", 2, "2"), rec("mine", 1, "1")}
	theirs := []Record{rec("yours", 1, "1"), rec("newer", 1, "1"), rec("same", 1, "1")}
	want := []Diff{
		{Key: Key{KindNode, "mine"}, Ours: &ours[2]},
		{Key: Key{KindNode, "newer"}, Ours: &ours[1], Theirs: &theirs[1]},
		{Key: Key{KindNode, "yours"}, Theirs: &theirs[0]},
	}
	if diff := cmp.Diff(want, Difference(ours, theirs)); diff != "" {
		t.Error(diff)
	}
}
