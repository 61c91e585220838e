package images

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
)

// ManifestFormat is the format that this program writes. It reads format 1 too, which has no lengths of chunks.
const ManifestFormat = 2

// Limits on a manifest that comes from elsewhere, so that a hostile one cannot exhaust a machine.
const (
	MaxManifestSize = 64 << 20 // bytes; a root of 1 TiB in 1 MiB chunks needs about 100 MiB, one of 300 MB 120 KiB
	MinChunkSize    = 4 << 10  // the EROFS block size
	MaxChunkSize    = 16 << 20
)

// Role is what a machine that runs an image does.
type Role string

const (
	RoleHead   Role = "head"
	RoleWorker Role = "worker"
)

// Manifest describes one sealed image completely: what boots it and the chunks of its root. The SHA-256 of its
// encoding is the image's digest, so a machine that knows the digest can trust everything that it names.
type Manifest struct {
	Format        int             `json:"format"`
	Name          string          `json:"name"`
	Role          Role            `json:"role"`
	Arch          string          `json:"arch"`           // GOARCH: amd64
	KernelRelease string          `json:"kernel_release"` // uname -r
	Kernel        Blob            `json:"kernel"`
	Initramfs     Blob            `json:"initramfs"`
	Cmdline       string          `json:"cmdline"`           // what the definition adds to the kernel command line
	Init          string          `json:"init,omitempty"`    // the root's own init; empty: masthead stays PID 1
	Loaders       map[string]Blob `json:"loaders,omitempty"` // first loaders for the network, by TFTP file name
	Root          Root            `json:"root"`
}

// Root is a sealed file system: an EROFS image cut in chunks.
type Root struct {
	Size      int64   `json:"size"`              // bytes of the EROFS image
	ChunkSize int64   `json:"chunk_size"`        // bytes of each chunk but the last, or with Lengths of the largest; a power of two
	Lengths   []int64 `json:"lengths,omitempty"` // bytes of each chunk; none: ChunkSize says it
	Chunks    []Chunk `json:"chunks"`
}

// Chunk is one piece of a Root as it is stored: one zstd frame, named by the SHA-256 of the stored bytes, so that it
// is verified before anything decodes it. A chunk of zeros has an empty digest and is stored nowhere.
type Chunk struct {
	Digest Digest `json:"d,omitempty"`
	Size   int64  `json:"s,omitempty"` // stored bytes
}

// Zero reports whether the chunk is a hole.
func (c Chunk) Zero() bool { return c.Digest == "" }

// ChunkLen is the number of bytes that chunk i has once decoded.
func (r Root) ChunkLen(i int) int64 {
	if r.Lengths != nil {
		return r.Lengths[i]
	}
	return min(r.ChunkSize, r.Size-int64(i)*r.ChunkSize)
}

// Offsets are the places of a root's chunks in the image: chunk i has the bytes from offset i up to offset i+1.
type Offsets []int64

// Offsets gives one offset for each chunk, and the size.
func (r Root) Offsets() Offsets {
	o := make(Offsets, len(r.Chunks)+1)
	for i := range r.Chunks {
		o[i+1] = o[i] + r.ChunkLen(i)
	}
	return o
}

// Chunk is the index of the chunk that has the byte at, which must be in the image.
func (o Offsets) Chunk(at int64) int {
	i, found := slices.BinarySearch(o, at)
	if !found {
		i--
	}
	return i
}

// Stored is the sum of the distinct chunks' stored sizes, in bytes.
func (r Root) Stored() int64 {
	seen := make(map[Digest]bool, len(r.Chunks))
	var n int64
	for _, c := range r.Chunks {
		if !c.Zero() && !seen[c.Digest] {
			seen[c.Digest] = true
			n += c.Size
		}
	}
	return n
}

// Blobs lists every blob and chunk that the manifest refers to, each once, in a fixed order: what boots first, then
// the root in its order on disk.
func (m Manifest) Blobs() []Blob {
	seen := map[Digest]bool{}
	var all []Blob
	add := func(b Blob) {
		if b.Digest != "" && !seen[b.Digest] {
			seen[b.Digest] = true
			all = append(all, b)
		}
	}
	add(m.Kernel)
	add(m.Initramfs)
	for _, name := range slices.Sorted(maps.Keys(m.Loaders)) {
		add(m.Loaders[name])
	}
	for _, c := range m.Root.Chunks {
		add(Blob(c))
	}
	return all
}

// Encode gives the canonical bytes of the manifest and their digest.
func (m Manifest) Encode() ([]byte, Digest, error) {
	if err := m.Validate(); err != nil {
		return nil, "", err
	}
	data, err := json.Marshal(m)
	if err != nil {
		return nil, "", fmt.Errorf("encode manifest of %s: %w", m.Name, err)
	}
	data = append(data, '\n')
	return data, DigestOf(data), nil
}

// DecodeManifest reads a manifest and checks it. It does not know the digest that the caller expected; use
// VerifyManifest for bytes that came from elsewhere.
func DecodeManifest(data []byte) (Manifest, error) {
	var m Manifest
	if len(data) > MaxManifestSize {
		return m, fmt.Errorf("manifest: %d bytes, at most %d", len(data), MaxManifestSize)
	}
	// A later format has fields that this version does not know; the format is what to say of it.
	var later struct{ Format int }
	if err := json.Unmarshal(data, &later); err == nil && later.Format > ManifestFormat {
		return m, checkFormat(later.Format)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return Manifest{}, errors.New("manifest: more than one JSON value")
	}
	if err := m.Validate(); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// VerifyManifest decodes a manifest whose digest must be want.
func VerifyManifest(data []byte, want Digest) (Manifest, error) {
	if got := DigestOf(data); got != want {
		return Manifest{}, fmt.Errorf("manifest: digest is %s, want %s", got, want)
	}
	return DecodeManifest(data)
}

// Validate checks what later code relies on, and reports all that is wrong.
func (m Manifest) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("manifest: "+format, args...)) }
	if err := checkFormat(m.Format); err != nil {
		return err // nothing else can be judged in a format that this version does not know
	}
	if m.Format == 1 && m.Root.Lengths != nil {
		bad("root: lengths in format 1")
	}
	if err := ValidName(m.Name); err != nil {
		bad("name: %w", err)
	}
	if m.Role != RoleHead && m.Role != RoleWorker {
		bad("role %q: want head or worker", m.Role)
	}
	blob := func(what string, b Blob) {
		if !b.Digest.Valid() || b.Size <= 0 {
			bad("%s: digest %q, size %d", what, b.Digest, b.Size)
		}
	}
	blob("kernel", m.Kernel)
	blob("initramfs", m.Initramfs)
	for name, b := range m.Loaders {
		if name == "" || path.Base(name) != name {
			bad("loader %q: not a plain file name", name)
		}
		blob("loader "+name, b)
	}
	if m.Init != "" && (!path.IsAbs(m.Init) || path.Clean(m.Init) != m.Init) {
		bad("init %q: not a clean absolute path", m.Init)
	}
	return errors.Join(append(errs, m.Root.validate())...)
}

func checkFormat(format int) error {
	if format < 1 || format > ManifestFormat {
		return fmt.Errorf("manifest: format %d, this version reads 1 to %d", format, ManifestFormat)
	}
	return nil
}

func (r Root) validate() error {
	if r.ChunkSize < MinChunkSize || r.ChunkSize > MaxChunkSize || r.ChunkSize&(r.ChunkSize-1) != 0 {
		return fmt.Errorf("manifest: root: chunk size %d: want a power of two from %d to %d", r.ChunkSize, MinChunkSize, MaxChunkSize)
	}
	if err := r.validateLengths(); err != nil {
		return err
	}
	type form struct{ stored, decoded int64 }
	known := map[Digest]form{}
	for i, c := range r.Chunks {
		// A zstd frame of incompressible data is a little larger than the data; 1/128 and 512 bytes are ample.
		n := r.ChunkLen(i)
		limit := n + n/128 + 512
		if c.Zero() && c.Size == 0 {
			continue
		}
		if !c.Digest.Valid() || c.Size <= 0 || c.Size > limit {
			return fmt.Errorf("manifest: root: chunk %d: digest %q, size %d", i, c.Digest, c.Size)
		}
		// Readers keep chunks by digest, so it must say all of them.
		this := form{c.Size, n}
		if first, again := known[c.Digest]; again && first != this {
			return fmt.Errorf("manifest: root: chunk %d: %d bytes from %d stored, elsewhere %d from %d under the same digest", i, n, c.Size, first.decoded, first.stored)
		}
		known[c.Digest] = this
	}
	return nil
}

// validateLengths checks that the chunks make up the image.
func (r Root) validateLengths() error {
	if r.Size <= 0 || r.Size > 1<<50 {
		return fmt.Errorf("manifest: root: size %d", r.Size)
	}
	if r.Lengths == nil {
		if want := (r.Size + r.ChunkSize - 1) / r.ChunkSize; int64(len(r.Chunks)) != want {
			return fmt.Errorf("manifest: root: %d chunks of %d bytes for a size of %d", len(r.Chunks), r.ChunkSize, r.Size)
		}
		return nil
	}
	if len(r.Lengths) != len(r.Chunks) {
		return fmt.Errorf("manifest: root: %d lengths for %d chunks", len(r.Lengths), len(r.Chunks))
	}
	var sum int64 // of at most MaxManifestSize lengths of MaxChunkSize: no overflow
	for i, n := range r.Lengths {
		if n <= 0 || n > r.ChunkSize {
			return fmt.Errorf("manifest: root: chunk %d of %d bytes, at most %d", i, n, r.ChunkSize)
		}
		sum += n
	}
	if sum != r.Size {
		return fmt.Errorf("manifest: root: chunks of %d bytes in all for a size of %d", sum, r.Size)
	}
	return nil
}
