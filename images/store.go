package images

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// ErrNotFound is what a Store or a Pack answers for a blob or a tag that it does not hold.
var ErrNotFound = errors.New("not found")

// ErrBusy is a store that is being written to, or cleaned up, by another process.
var ErrBusy = errors.New("in use: try again when the build, import or removal under way has ended")

// BlobReader is whatever holds blobs by digest. Open does not verify: readers check what they get.
type BlobReader interface {
	// Open gives the stored bytes and their number. The caller closes.
	Open(d Digest) (io.ReadCloser, int64, error)
}

// Store is a content-addressed directory of blobs, with tags that name manifests:
//
//	blobs/ab/abcdef…   one file per blob, named by its SHA-256; abcdef….old.00 is one that was set aside
//	tags/NAME          the digests that the tag has had, one a line, the newest last
//
// A Store may be used by several processes at once: blobs appear by rename, complete or not at all.
type Store struct {
	dir  string
	puts atomic.Int64 // numbers temporary files
}

// OpenStore opens the store in dir and creates it where it is missing.
func OpenStore(dir string) (*Store, error) {
	for _, d := range []string{"blobs", "tags", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("open image store: %w", err)
		}
	}
	return &Store{dir: dir}, nil
}

// Dir is where the store lives.
func (s *Store) Dir() string { return s.dir }

func (s *Store) path(d Digest) string {
	h := d.Hex()
	return filepath.Join(s.dir, "blobs", h[:2], h)
}

// Open implements BlobReader.
func (s *Store) Open(d Digest) (io.ReadCloser, int64, error) {
	f, err := s.OpenFile(d)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("open blob %s: %w", d.Short(), err)
	}
	return f, st.Size(), nil
}

// OpenFile opens a blob as a file, for those who can hand it to the kernel (sendfile).
func (s *Store) OpenFile(d Digest) (*os.File, error) {
	if !d.Valid() {
		return nil, fmt.Errorf("open blob %q: %w", d, ErrNotFound)
	}
	f, err := os.Open(s.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open blob %s: %w", d, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", d.Short(), err)
	}
	return f, nil
}

// Has reports whether a blob of that digest and size is there.
func (s *Store) Has(b Blob) bool {
	if !b.Digest.Valid() {
		return false
	}
	st, err := os.Stat(s.path(b.Digest))
	return err == nil && st.Size() == b.Size
}

// Check reads a whole blob and reports whether it is what its name says. One that is damaged is set aside, so that it can
// be stored again.
func (s *Store) Check(b Blob) bool {
	f, err := s.OpenChecked(b)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// Hold keeps Collect away until release is called: what is stored meanwhile has no tag yet that would protect it.
func (s *Store) Hold() (release func(), err error) { return s.lock(unix.LOCK_SH) }

// lock takes the store's lock. It ends with the process at the latest.
func (s *Store) lock(how int) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the image store: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrBusy
		}
		return nil, fmt.Errorf("lock the image store %s: %w", s.dir, err)
	}
	return func() { f.Close() }, nil
}

// Put stores what r gives and returns its name. A blob that is already there is not written again.
func (s *Store) Put(r io.Reader) (Blob, error) {
	return s.put(r, "")
}

// PutVerified stores what r gives if it has the digest want, and nothing otherwise.
func (s *Store) PutVerified(r io.Reader, want Digest) (Blob, error) {
	return s.put(r, want)
}

func (s *Store) put(r io.Reader, want Digest) (Blob, error) {
	tmp, err := s.create()
	if err != nil {
		return Blob{}, err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(tmp, sum), r)
	b := Blob{Digest: DigestFromSum(sum.Sum(nil)), Size: n}
	if err == nil && want != "" && b.Digest != want {
		err = fmt.Errorf("digest is %s, want %s", b.Digest, want)
	}
	return b, s.commit(tmp, b, err)
}

// PutBytes stores data. It is cheaper than Put where the blob is already there.
func (s *Store) PutBytes(data []byte) (Blob, error) {
	b := Blob{Digest: DigestOf(data), Size: int64(len(data))}
	if s.Has(b) {
		return b, nil
	}
	tmp, err := s.create()
	if err != nil {
		return Blob{}, err
	}
	_, err = tmp.Write(data)
	return b, s.commit(tmp, b, err)
}

// create makes a temporary file. Sealing makes one for each of a thousand chunks, so it costs one system call.
func (s *Store) create() (*os.File, error) {
	for {
		name := fmt.Sprintf("put-%d-%d", os.Getpid(), s.puts.Add(1))
		f, err := os.OpenFile(filepath.Join(s.dir, "tmp", name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			continue // left by a process that was killed, and had our number
		}
		if err != nil {
			return nil, fmt.Errorf("store blob: %w", err)
		}
		return f, nil
	}
}

// commit gives a temporary file its name, or removes it if writing it failed. It is not synced here: a thousand chunks
// would take a thousand syncs. Sync does it once, before a tag makes the image visible.
func (s *Store) commit(tmp *os.File, b Blob, err error) error {
	if e := tmp.Close(); err == nil {
		err = e
	}
	final := s.path(b.Digest)
	if err == nil {
		err = os.Rename(tmp.Name(), final)
		if errors.Is(err, fs.ErrNotExist) { // the first blob with these two digits
			if err = os.MkdirAll(filepath.Dir(final), 0o755); err == nil {
				err = os.Rename(tmp.Name(), final)
			}
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("store blob %s: %w", b.Digest.Short(), err), os.Remove(tmp.Name()))
	}
	return nil
}

// Sync makes everything that was stored so far survive a power cut.
func (s *Store) Sync() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return fmt.Errorf("sync image store: %w", err)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync image store: %w", err)
	}
	return nil
}

// PutManifest stores the manifest itself as a blob and returns the image's digest.
func (s *Store) PutManifest(m Manifest) (Digest, error) {
	data, d, err := m.Encode()
	if err != nil {
		return "", err
	}
	_, err = s.PutBytes(data)
	return d, err
}

// Manifest reads and verifies the manifest of that digest.
func (s *Store) Manifest(d Digest) (Manifest, error) { return ReadManifest(s, d) }

// ReadManifest reads and verifies a manifest out of any holder of blobs.
func ReadManifest(r BlobReader, d Digest) (Manifest, error) {
	data, err := ReadBlob(r, d, MaxManifestSize)
	if err != nil {
		return Manifest{}, err
	}
	return DecodeManifest(data)
}

// ReadBlob reads a whole blob of at most limit bytes and verifies it.
func ReadBlob(r BlobReader, d Digest, limit int64) ([]byte, error) {
	f, size, err := r.Open(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, fmt.Errorf("blob %s: %d bytes, at most %d", d.Short(), size, limit)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d.Short(), err)
	}
	if got := DigestOf(data); got != d {
		return nil, fmt.Errorf("blob %s is damaged: its digest is %s", d.Short(), got.Short())
	}
	return data, nil
}

// Tag makes name mean d from now on; what it meant before stays in its history. Everything stored so far is synced
// first, so that a tag never names what a power cut could still take away.
func (s *Store) Tag(name string, d Digest) error {
	if err := ValidName(name); err != nil {
		return fmt.Errorf("tag: %w", err)
	}
	if _, err := s.Manifest(d); err != nil {
		return fmt.Errorf("tag %s: %w", name, err)
	}
	history, err := s.History(name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if len(history) > 0 && history[len(history)-1] == d {
		return nil
	}
	if err := s.Sync(); err != nil {
		return err
	}
	var out strings.Builder
	for _, h := range append(history, d) {
		fmt.Fprintln(&out, h)
	}
	if err := renameio.WriteFile(filepath.Join(s.dir, "tags", name), []byte(out.String()), 0o644); err != nil {
		return fmt.Errorf("tag %s: %w", name, err)
	}
	return nil
}

// History lists what a tag has meant, the newest last.
func (s *Store) History(name string) ([]Digest, error) {
	if err := ValidName(name); err != nil {
		return nil, fmt.Errorf("tag: %w", err)
	}
	f, err := os.Open(filepath.Join(s.dir, "tags", name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("tag %s: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("tag %s: %w", name, err)
	}
	defer f.Close()
	var history []Digest
	for sc := bufio.NewScanner(f); sc.Scan(); {
		d, err := ParseDigest(strings.TrimSpace(sc.Text()))
		if err != nil {
			return nil, fmt.Errorf("tag %s: %w", name, err)
		}
		history = append(history, d)
	}
	if len(history) == 0 {
		return nil, fmt.Errorf("tag %s is empty: %w", name, ErrNotFound)
	}
	return history, nil
}

// Resolve turns a tag or a digest into a digest.
func (s *Store) Resolve(ref string) (Digest, error) {
	if d, err := ParseDigest(ref); err == nil {
		return d, nil
	}
	history, err := s.History(ref)
	if err != nil {
		return "", err
	}
	return history[len(history)-1], nil
}

// Tags lists the names of all tags in order.
func (s *Store) Tags() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "tags"))
	if err != nil {
		return nil, fmt.Errorf("list tags: %w", err)
	}
	var names []string
	for _, e := range entries {
		if ValidName(e.Name()) == nil && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Untag forgets a tag and its history. The blobs stay until Collect.
func (s *Store) Untag(name string) error {
	if err := ValidName(name); err != nil {
		return fmt.Errorf("untag: %w", err)
	}
	err := os.Remove(filepath.Join(s.dir, "tags", name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("tag %s: %w", name, ErrNotFound)
	}
	return err
}

// Import takes all images of a pack into the store and tags them as the pack does. Every blob is verified; one that is
// damaged ends the import before any tag has changed; one that is damaged in the store is replaced.
func (s *Store) Import(p *Pack) error {
	release, err := s.Hold()
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	defer release()
	for _, b := range p.Blobs() {
		if s.Check(b) {
			continue
		}
		r, _, err := p.Open(b.Digest)
		if err != nil {
			return fmt.Errorf("import: %w", err)
		}
		_, err = s.PutVerified(r, b.Digest)
		r.Close()
		if err != nil {
			return fmt.Errorf("import: %w", err)
		}
	}
	tags := p.Tags()
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		if err := s.Tag(name, tags[name]); err != nil {
			return fmt.Errorf("import: %w", err)
		}
	}
	return nil
}
