package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func openStore(t testing.TB) *Store {
	t.Helper()
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func putText(t testing.TB, s *Store, text string) Blob {
	t.Helper()
	b, err := s.PutBytes([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// spoil changes a stored blob behind the store's back.
func spoil(t testing.TB, s *Store, d Digest, text string) {
	t.Helper()
	if err := os.WriteFile(s.path(d), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// oldNames lists the store's .old.NN by name, without the digest's digits.
func oldNames(t testing.TB, s *Store) (names []string) {
	t.Helper()
	all, err := s.Old()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		names = append(names, o.Digest.Short()+o.Name[len(o.Digest.Hex()):])
	}
	return names
}

func TestScan(t *testing.T) {
	s := openStore(t)
	m, d := testImage(t, s, "worker", "1")
	if err := s.Tag("worker", d); err != nil {
		t.Fatal(err)
	}
	m2, d2 := testImage(t, s, "worker", "2") // no tag here: the cluster's state names it
	_, d3 := testImage(t, s, "worker", "3")  // nobody names it
	file := putText(t, s, "a file that the state names")
	stray := putText(t, s, "stray")
	roots := Roots{Images: []Digest{d2}, Blobs: []Digest{file.Digest}}

	spoil(t, s, m.Kernel.Digest, "k")              // wrong size
	spoil(t, s, m2.Initramfs.Digest, "XXXXXXXXXX") // right size, wrong bytes
	spoil(t, s, file.Digest, "spoilt")             // only its digest is known

	// Without content, only the size tells.
	got, err := s.Scan(t.Context(), roots, false)
	if err != nil {
		t.Fatal(err)
	}
	wrong := func(r ScanReport) (all []Digest) {
		for _, o := range r.Wrong {
			all = append(all, o.Digest)
		}
		return all
	}
	if diff := cmp.Diff([]Digest{m.Kernel.Digest}, wrong(got)); diff != "" {
		t.Errorf("wrong by size (-want +got):\n%s", diff)
	}
	var unreferenced []Digest
	for _, o := range got.Unreferenced {
		unreferenced = append(unreferenced, o.Digest)
	}
	// Of the third image: its manifest, its initramfs and its first chunk; the rest is shared.
	want := []Digest{d3, DigestOf([]byte("initramfs3")), DigestOf([]byte("c03")), stray.Digest}
	if diff := cmp.Diff(want, unreferenced, cmpopts.SortSlices(func(a, b Digest) bool { return a < b })); diff != "" {
		t.Errorf("unreferenced (-want +got):\n%s", diff)
	}

	if got, err = s.Scan(t.Context(), roots, true); err != nil {
		t.Fatal(err)
	}
	want = []Digest{m2.Initramfs.Digest, file.Digest}
	byDigest := cmpopts.SortSlices(func(a, b Digest) bool { return a < b })
	if diff := cmp.Diff(want, wrong(got), byDigest); diff != "" {
		t.Errorf("wrong by content (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(append(want, m.Kernel.Digest), got.Missing, byDigest); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	if len(got.Unreferenced) != 0 || got.Checked != 7 {
		t.Errorf("second scan: %d checked, want 7; unreferenced %v", got.Checked, got.Unreferenced)
	}
	old, err := s.Old()
	if err != nil || len(old) != 7 {
		t.Fatalf("%d set aside, %v", len(old), err)
	}
	if data, err := os.ReadFile(old[slices.IndexFunc(old, func(o Old) bool { return o.Digest == file.Digest })].Path); string(data) != "spoilt" {
		t.Errorf("what was set aside is %q, %v", data, err)
	}
	// Collect leaves what was set aside alone.
	if freed, err := s.Collect(roots); freed != 0 || err != nil {
		t.Errorf("collect freed %d, %v", freed, err)
	}
	if freed, err := s.RemoveOld(); freed == 0 || err != nil || len(oldNames(t, s)) != 0 {
		t.Errorf("freed %d, %v", freed, err)
	}
}

// TestScanGuessesNothing has a manifest that is referred to and missing: what it names is not known.
func TestScanGuessesNothing(t *testing.T) {
	s := openStore(t)
	m, d := testImage(t, s, "worker", "1")
	spoil(t, s, d, "damaged")
	got, err := s.Scan(t.Context(), Roots{Images: []Digest{d}}, false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Digest{d}, got.Missing); diff != "" || len(got.Unreferenced) != 0 || len(got.Wrong) != 1 {
		t.Errorf("missing (-want +got):\n%s\nunreferenced %v, wrong %v", diff, got.Unreferenced, got.Wrong)
	}
	if !s.Has(m.Kernel) {
		t.Error("the kernel of an image whose manifest is missing was set aside")
	}
	if _, err := s.Collect(Roots{Images: []Digest{d}}); !errors.Is(err, ErrNotFound) {
		t.Errorf("collect: %v, want ErrNotFound", err)
	}
	if !s.Has(m.Kernel) {
		t.Error("collected on a guess")
	}
}

func TestScanKeepsAwayFromTransfers(t *testing.T) {
	s := openStore(t)
	release, err := s.Hold()
	if err != nil {
		t.Fatal(err)
	}
	b := putText(t, s, "of a transfer under way")
	if _, err := s.Scan(t.Context(), Roots{}, false); !errors.Is(err, ErrBusy) || !s.Has(b) {
		t.Errorf("scan during a transfer: %v, want ErrBusy", err)
	}
	release()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Scan(ctx, Roots{Blobs: []Digest{b.Digest}}, true); !errors.Is(err, context.Canceled) || !s.Has(b) {
		t.Errorf("cancelled scan: %v", err)
	}
}

func TestSetAside(t *testing.T) {
	s := openStore(t)
	b := Blob{DigestOf([]byte("content")), 7}
	for i := range maxOld {
		putText(t, s, "content")
		old, err := s.SetAside(b.Digest)
		if want := fmt.Sprintf("%s.old.%02d", b.Digest.Hex(), i); err != nil || old.Name != want {
			t.Fatalf("%s, %v; want %s", old.Name, err, want)
		}
	}
	putText(t, s, "content")
	if _, err := s.SetAside(b.Digest); !errors.Is(err, ErrOldFull) || !s.Has(b) {
		t.Errorf("the hundred and first: %v, want ErrOldFull", err)
	}
	if got, err := s.Scan(t.Context(), Roots{}, false); err != nil || !slices.Equal(got.Full, []Digest{b.Digest}) {
		t.Errorf("scan: full %v, %v", got.Full, err)
	}
	// The lowest free number is the next.
	if err := os.Remove(oldPath(s.path(b.Digest), 41)); err != nil {
		t.Fatal(err)
	}
	if old, err := s.SetAside(b.Digest); err != nil || !strings.HasSuffix(old.Name, ".old.41") {
		t.Errorf("%s, %v", old.Name, err)
	}
	if _, err := s.SetAside(b.Digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("a blob that is not here: %v", err)
	}
}

// TestReplacedIsNotSetAside has another process mend a blob between the reading and the renaming.
func TestReplacedIsNotSetAside(t *testing.T) {
	s := openStore(t)
	b := putText(t, s, "content")
	spoil(t, s, b.Digest, "CONTENT")
	f, err := s.OpenFile(b.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, bad, err := examine(t.Context(), f, b, true)
	if err != nil || bad == "" {
		t.Fatalf("damage not seen: %v", err)
	}
	if _, err := s.PutVerified(strings.NewReader("content"), b.Digest); err != nil {
		t.Fatal(err)
	}
	if _, err := s.setAside(b.Digest, st); !errors.Is(err, ErrNotFound) || !s.Check(b) {
		t.Errorf("the blob that was mended was set aside: %v", err)
	}
}

func TestOpenChecked(t *testing.T) {
	s := openStore(t)
	b := putText(t, s, "content")
	for _, want := range []Blob{b, {b.Digest, 0}} {
		f, err := s.OpenChecked(want)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(f)
		if f.Close(); string(data) != "content" || err != nil {
			t.Errorf("%q, %v", data, err)
		}
	}
	for _, text := range []string{"CONTENT", "more content", ""} {
		putText(t, s, "content")
		spoil(t, s, b.Digest, text)
		if _, err := s.OpenChecked(Blob{Digest: b.Digest}); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), ".old.0") {
			t.Errorf("%q: %v, want ErrNotFound with the new name", text, err)
		}
		if s.Has(b) {
			t.Errorf("%q is still there", text)
		}
	}
	if diff := cmp.Diff([]string{b.Digest.Short() + ".old.00", b.Digest.Short() + ".old.01", b.Digest.Short() + ".old.02"}, oldNames(t, s)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRevive(t *testing.T) {
	s := openStore(t)
	b := putText(t, s, "content")
	spoil(t, s, b.Digest, "damaged")
	for range 2 { // one damaged, one good
		if _, err := s.SetAside(b.Digest); err != nil {
			t.Fatal(err)
		}
		putText(t, s, "content")
	}
	if err := os.Remove(s.path(b.Digest)); err != nil {
		t.Fatal(err)
	}
	if !s.Revive(b.Digest) || !s.Check(b) {
		t.Error("not revived")
	}
	if diff := cmp.Diff([]string{b.Digest.Short() + ".old.00"}, oldNames(t, s)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if s.Revive(DigestOf([]byte("other"))) || s.Revive("sha256:../x") {
		t.Error("revived from nothing")
	}
}

// TestNothingReferencedGoes keeps random references and damages nothing: neither Scan nor Collect takes any of it.
func TestNothingReferencedGoes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		s, err := OpenStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		var roots Roots
		keep := map[Blob]bool{}
		other := map[Blob]bool{}
		for i := range rapid.IntRange(0, 5).Draw(rt, "images") {
			m, d := testImage(t, s, "worker", fmt.Sprint(i))
			into := other
			switch rapid.IntRange(0, 2).Draw(rt, "how") {
			case 0:
				into = keep
				if err := s.Tag(fmt.Sprintf("t%d", rapid.IntRange(0, 1).Draw(rt, "tag")), d); err != nil {
					t.Fatal(err)
				}
			case 1:
				into = keep
				roots.Images = append(roots.Images, d)
			}
			for _, b := range m.Blobs() {
				into[b] = true
			}
		}
		for i := range rapid.IntRange(0, 5).Draw(rt, "files") {
			b := putText(t, s, fmt.Sprint("file ", i))
			if rapid.Bool().Draw(rt, "kept") {
				keep[b] = true
				roots.Blobs = append(roots.Blobs, b.Digest)
			} else {
				other[b] = true
			}
		}
		if rapid.Bool().Draw(rt, "scan") {
			_, err = s.Scan(t.Context(), roots, true)
		} else {
			_, err = s.Collect(roots)
		}
		if err != nil {
			rt.Fatal(err)
		}
		for b := range keep {
			if !s.Check(b) {
				rt.Fatalf("%s is gone", b.Digest)
			}
		}
		for b := range other {
			if !keep[b] && s.Has(b) {
				rt.Fatalf("%s is still here", b.Digest)
			}
		}
	})
}

func FuzzParseOld(f *testing.F) {
	h := DigestOf(nil).Hex()
	for _, name := range []string{h + ".old.00", h + ".old.99", h + ".old.100", h + ".old.-1", h, "x.old.01", h + ".old.1", h + ".old.٠"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		d, ok := parseOld(name)
		if !ok {
			return
		}
		for n := range maxOld {
			if filepath.Base(oldPath(d.Hex(), n)) == name {
				return
			}
		}
		t.Errorf("%q is none of the names that are given", name)
	})
}
