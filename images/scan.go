package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Roots is what must stay in a store besides what its own tags name.
type Roots struct {
	Images []Digest // manifests: each stays with every blob that it names
	Blobs  []Digest // single blobs
}

// references are the blobs that must stay.
type references struct {
	size    map[Digest]int64 // -1: not known
	unknown []Digest         // manifests that cannot be read here, so that what they name is not in size
	err     error            // why the first of them cannot
}

// add notes a reference. The size that a manifest gives wins over none.
func (r *references) add(b Blob) {
	if old, known := r.size[b.Digest]; !known || old < 0 {
		r.size[b.Digest] = b.Size
	}
}

// references collects what the tags' histories and also refer to.
func (s *Store) references(also Roots) (references, error) {
	refs := references{size: map[Digest]int64{}}
	manifests := slices.Clone(also.Images)
	tags, err := s.Tags()
	if err != nil {
		return refs, err
	}
	for _, name := range tags {
		history, err := s.History(name)
		if err != nil {
			return refs, err
		}
		manifests = append(manifests, history...)
	}
	seen := map[Digest]bool{}
	for _, d := range manifests {
		if seen[d] {
			continue
		}
		seen[d] = true
		refs.add(Blob{d, -1})
		m, err := s.Manifest(d)
		if err != nil {
			refs.unknown = append(refs.unknown, d)
			if refs.err == nil {
				refs.err = fmt.Errorf("image %s: %w", d.Short(), err)
			}
			continue
		}
		for _, b := range m.Blobs() {
			refs.add(b)
		}
	}
	for _, d := range also.Blobs {
		refs.add(Blob{d, -1})
	}
	return refs, nil
}

// unreferenced calls f for each blob, by the digest that its name says, that nothing refers to.
func (s *Store) unreferenced(refs references, f func(d Digest, path string, e fs.DirEntry) error) error {
	return s.walk(func(path string, e fs.DirEntry) error {
		d, err := ParseDigest(e.Name())
		if _, keep := refs.size[d]; err != nil || keep {
			return nil // what is no blob by its name is not ours to judge
		}
		return f(d, path, e)
	})
}

// Collect deletes every blob that neither a tag's history nor also refers to, and returns how many bytes that freed. A
// manifest that cannot be read stops it: nothing is removed on a guess. What was set aside stays; see RemoveOld.
func (s *Store) Collect(also Roots) (freed int64, err error) {
	release, err := s.lock(unix.LOCK_EX)
	if err != nil {
		return 0, err
	}
	defer release()
	refs, err := s.references(also)
	if err == nil {
		err = refs.err
	}
	if err != nil {
		return 0, fmt.Errorf("collect: %w", err)
	}
	err = s.unreferenced(refs, func(_ Digest, path string, e fs.DirEntry) error {
		st, err := e.Info()
		if err == nil {
			err = os.Remove(path)
		}
		if err == nil {
			freed += st.Size()
		}
		return err
	})
	if err != nil {
		return freed, fmt.Errorf("collect: %w", err)
	}
	left, err := s.sweep()
	if err != nil {
		return freed, fmt.Errorf("collect: %w", err)
	}
	return freed + left, nil
}

// sweep removes temporary files. The caller has the lock, so nobody writes: they were left by processes that were killed.
func (s *Store) sweep() (freed int64, err error) {
	left, err := os.ReadDir(filepath.Join(s.dir, "tmp"))
	if err != nil {
		return 0, err
	}
	for _, e := range left {
		if st, err := e.Info(); err == nil && os.Remove(filepath.Join(s.dir, "tmp", e.Name())) == nil {
			freed += st.Size()
		}
	}
	return freed, nil
}

// ScanReport is what a Scan found.
type ScanReport struct {
	Checked      int      `json:"checked"`                // blobs that are referred to and here
	Missing      []Digest `json:"missing,omitempty"`      // referred to and not here, or set aside just now; manifests first
	Wrong        []Old    `json:"wrong,omitempty"`        // set aside: the content is not what the name says
	Unreferenced []Old    `json:"unreferenced,omitempty"` // set aside: nothing refers to them
	Full         []Digest `json:"full,omitempty"`         // not set aside: ErrOldFull
}

// Scan sets aside what does not belong into the store: blobs that neither a tag's history nor roots refer to, and blobs
// whose size, or with content whose bytes, are not what refers to them says. As long as a manifest that is referred to
// cannot be read here, no blob counts as unreferenced.
//
// The first part is quick and takes the store for itself: ErrBusy while someone holds it. The second reads, with content,
// everything, and others may use the store meanwhile; only it ends with ctx.
func (s *Store) Scan(ctx context.Context, roots Roots, content bool) (ScanReport, error) {
	var report ScanReport
	refs, err := s.scanUnreferenced(roots, &report)
	if err != nil {
		return report, fmt.Errorf("scan: %w", err)
	}
	// Manifests first: nothing else can be fetched without them.
	report.Missing = refs.unknown
	for _, d := range slices.Sorted(maps.Keys(refs.size)) {
		manifest := slices.Contains(refs.unknown, d)
		here, err := s.scanBlob(ctx, Blob{d, refs.size[d]}, content || manifest, &report)
		if err != nil {
			return report, fmt.Errorf("scan: %w", err)
		}
		if here {
			report.Checked++
		} else if !manifest {
			report.Missing = append(report.Missing, d)
		}
	}
	return report, nil
}

// scanUnreferenced sets aside what nothing refers to.
func (s *Store) scanUnreferenced(roots Roots, report *ScanReport) (references, error) {
	release, err := s.lock(unix.LOCK_EX)
	if err != nil {
		return references{}, err
	}
	defer release()
	refs, err := s.references(roots)
	if err != nil || refs.err != nil {
		return refs, err // an unreadable manifest is reported as missing
	}
	err = s.unreferenced(refs, func(d Digest, _ string, e fs.DirEntry) error {
		st, err := e.Info()
		if err != nil {
			return err
		}
		old, err := s.setAside(d, st)
		return report.note(&report.Unreferenced, d, old, err)
	})
	if err == nil {
		_, err = s.sweep()
	}
	return refs, err
}

// scanBlob reports whether a blob is here, after setting it aside if it is wrong.
func (s *Store) scanBlob(ctx context.Context, b Blob, content bool, report *ScanReport) (here bool, err error) {
	f, err := s.OpenFile(b.Digest)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	st, bad, err := examine(ctx, f, b, content)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err == nil && bad == "" {
		return true, nil
	}
	if err != nil && st == nil {
		return false, err
	}
	old, err := s.setAside(b.Digest, st) // one that the disk cannot read is as wrong
	return false, report.note(&report.Wrong, b.Digest, old, err)
}

// note adds what was set aside to a list of the report.
func (r *ScanReport) note(list *[]Old, d Digest, old Old, err error) error {
	switch {
	case err == nil:
		*list = append(*list, old)
	case errors.Is(err, ErrOldFull):
		r.Full = append(r.Full, d)
	case errors.Is(err, ErrNotFound): // it went, or was replaced, meanwhile
	default:
		return err
	}
	return nil
}

// Missing lists what of the image d is not here: what a transfer has to move. Its manifest must be here.
func (s *Store) Missing(d Digest) ([]Blob, error) {
	m, err := s.Manifest(d)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(m.Blobs(), s.Has), nil
}
