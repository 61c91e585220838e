package arbiter

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

func openTestStore(t testing.TB, path string) *logStore {
	t.Helper()
	s, err := openLogStore(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func entry(i uint64) *raft.Log {
	return &raft.Log{Index: i, Term: i/3 + 1, Type: raft.LogCommand, Data: fmt.Appendf(nil, "entry %d", i), AppendedAt: time.Unix(5, int64(i))}
}

// The cases of hashicorp/raft-boltdb's own tests.
func TestLogStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), logFile)
	s := openTestStore(t, path)
	ends := func(first, last uint64) {
		t.Helper()
		f, err := s.FirstIndex()
		l, err2 := s.LastIndex()
		if f != first || l != last || err != nil || err2 != nil {
			t.Errorf("from %d to %d, want %d to %d: %v", f, l, first, last, errors.Join(err, err2))
		}
	}
	ends(0, 0)
	var got raft.Log
	if err := s.GetLog(1, &got); !errors.Is(err, raft.ErrLogNotFound) {
		t.Errorf("no entry: %v", err)
	}
	if err := s.StoreLog(entry(1)); err != nil {
		t.Fatal(err)
	}
	var more []*raft.Log
	for i := range uint64(300) { // past 255: the order is by number, not by byte
		more = append(more, entry(i+2))
	}
	if err := s.StoreLogs(more); err != nil {
		t.Fatal(err)
	}
	ends(1, 301)
	for _, i := range []uint64{1, 2, 255, 256, 301} {
		if err := s.GetLog(i, &got); err != nil || !cmp.Equal(got, *entry(i)) {
			t.Errorf("entry %d: %+v, %v", i, got, err)
		}
	}
	changed := entry(301)
	changed.Data, changed.Type = []byte("other"), raft.LogNoop
	if err := s.StoreLog(changed); err != nil {
		t.Fatal(err)
	}
	if err := s.GetLog(301, &got); err != nil || string(got.Data) != "other" || got.Type != raft.LogNoop {
		t.Errorf("written over: %+v, %v", got, err)
	}
	if err := s.DeleteRange(1, 100); err != nil {
		t.Fatal(err)
	}
	ends(101, 301)
	if err := s.DeleteRange(300, 1<<63); err != nil {
		t.Fatal(err)
	}
	ends(101, 299)
	if err := s.StoreLog(entry(400)); err != nil { // a gap, as after a snapshot of another
		t.Fatal(err)
	}
	ends(101, 400)
	if err := s.GetLog(350, &got); !errors.Is(err, raft.ErrLogNotFound) {
		t.Errorf("in the gap: %v", err)
	}

	if _, err := s.Get([]byte("vote")); err == nil || err.Error() != "not found" { // raft compares the text
		t.Errorf("no value: %v", err)
	}
	if _, err := s.GetUint64([]byte("term")); err == nil || err.Error() != "not found" {
		t.Errorf("no number: %v", err)
	}
	if err := errors.Join(s.Set([]byte("vote"), []byte("a")), s.SetUint64([]byte("term"), 7), s.Set([]byte("empty"), nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := openLogStore(path); err == nil {
		t.Error("opened twice")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTestStore(t, path)
	defer s.Close()
	ends(101, 400)
	vote, err := s.Get([]byte("vote"))
	term, err2 := s.GetUint64([]byte("term"))
	empty, err3 := s.Get([]byte("empty"))
	if string(vote) != "a" || term != 7 || len(empty) != 0 || err != nil || err2 != nil || err3 != nil {
		t.Errorf("after opening again: %q, %d, %q, %v", vote, term, empty, errors.Join(err, err2, err3))
	}
	if _, err := s.GetUint64([]byte("vote")); err == nil || !strings.Contains(err.Error(), "1 bytes, want 8") {
		t.Errorf("a value as a number: %v", err)
	}
}

// TestLogStoreTorn cuts the file off at each page, and damages what is in it: it opens with what was written before, or
// fails; an entry that was not written is never read.
func TestLogStoreTorn(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, logFile)
	s := openTestStore(t, path)
	for i := range uint64(20) {
		if err := s.StoreLog(entry(i + 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	opened, refused := 0, 0
	try := func(what string, b []byte) {
		torn := filepath.Join(dir, "torn.db")
		if err := os.WriteFile(torn, b, 0o600); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if v := recover(); v != nil {
				t.Errorf("%s: panic: %v", what, v)
			}
		}()
		s, err := openLogStore(torn)
		if err != nil {
			refused++
			return
		}
		defer s.Close()
		opened++
		last, err := s.LastIndex()
		if err != nil || last > 20 {
			t.Errorf("%s: last %d, %v", what, last, err)
		}
		for i := uint64(1); i <= last; i++ {
			var got raft.Log
			if err := s.GetLog(i, &got); err == nil && !cmp.Equal(got, *entry(i)) {
				t.Errorf("%s: entry %d is %+v", what, i, got)
			}
		}
	}
	// A power cut in the last transaction: one of the two meta pages is torn. bbolt goes on from the other.
	page := os.Getpagesize()
	for _, meta := range []int{0, 1} {
		b := bytes.Clone(whole)
		clear(b[meta*page+page/2 : (meta+1)*page])
		copy(b[meta*page+40:], "torn")
		try(fmt.Sprintf("meta page %d", meta), b)
	}
	if opened != 2 {
		t.Errorf("with one meta page torn, opened %d of 2", opened)
	}
	try("empty", nil)
	try("half a meta page", whole[:page/2])
	if at := bytes.LastIndex(whole, []byte("entry 20")); at < 0 {
		t.Error("the last entry is not in the file")
	} else {
		b := bytes.Clone(whole)
		b[at] ^= 0xff
		try("a damaged entry", b)
	}
	t.Logf("opened %d, refused %d", opened, refused)
}

// TestLogStoreModel compares the store with a map.
func TestLogStoreModel(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		s, err := openLogStore(filepath.Join(dir, fmt.Sprint(n)))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.db.NoSync = true // for the test's time
		model := map[uint64]*raft.Log{}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			from, count := rapid.Uint64Range(1, 40).Draw(t, "from"), rapid.Uint64Range(0, 20).Draw(t, "count")
			if rapid.Bool().Draw(t, "store") {
				var logs []*raft.Log
				for i := range count {
					logs = append(logs, entry(from+i))
					model[from+i] = entry(from + i)
				}
				if err := s.StoreLogs(logs); err != nil {
					t.Fatal(err)
				}
			} else {
				for i := range count + 1 {
					delete(model, from+i)
				}
				if err := s.DeleteRange(from, from+count); err != nil {
					t.Fatal(err)
				}
			}
			var first, last uint64
			for i := range uint64(70) {
				var got raft.Log
				err := s.GetLog(i, &got)
				want, ok := model[i]
				if ok != (err == nil) || ok && !cmp.Equal(got, *want) {
					t.Fatalf("entry %d: %+v, %v", i, got, err)
				}
				if ok {
					last = i
					if first == 0 {
						first = i
					}
				}
			}
			f, _ := s.FirstIndex()
			l, _ := s.LastIndex()
			if f != first || l != last {
				t.Fatalf("from %d to %d, want %d to %d", f, l, first, last)
			}
		}
	})
}

const goldenEntry = "01 00 0000000000000003 00000000 3b9aca07 00000002 6869 657874 c62d6e47"

func TestEntry(t *testing.T) {
	e := raft.Log{Term: 3, Type: raft.LogCommand, Data: []byte("hi"), Extensions: []byte("ext"), AppendedAt: time.Unix(1, 7)}
	want, err := hex.DecodeString(strings.ReplaceAll(goldenEntry, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	if got := encodeEntry(&e); !bytes.Equal(got, want) {
		t.Errorf("\n got %x\nwant %x", got, want)
	}
	got, err := decodeEntry(want)
	if err != nil || !cmp.Equal(got, e) {
		t.Errorf("%+v, %v", got, err)
	}
	for i := range want {
		b := bytes.Clone(want)
		b[i] ^= 1
		if _, err := decodeEntry(b); err == nil {
			t.Errorf("byte %d changed: taken", i)
		}
		if _, err := decodeEntry(want[:i]); err == nil {
			t.Errorf("cut off at %d: taken", i)
		}
	}
}

func FuzzEntry(f *testing.F) {
	f.Add(encodeEntry(entry(3)))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := decodeEntry(b); err == nil {
			if again, err := decodeEntry(encodeEntry(&e)); err != nil || !cmp.Equal(again, e) {
				t.Errorf("%x: %+v, again %+v, %v", b, e, again, err)
			}
		}
	})
}
