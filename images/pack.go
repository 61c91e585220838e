package images

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// A pack is one file that carries whole images: an ISO, a stick and an export hold one.
//
//	offset 0    magic, 16 bytes
//	       16   length of the index, 8 bytes, little endian
//	       24   length of the whole pack, 8 bytes
//	       32   SHA-256 of the index, 32 bytes
//	       64   index: JSON, packIndex
//	       …    the blobs, each at its offset
//
// The length in the header tells a truncated pack at once, before a machine runs half an image.
const packMagic = "MASTHEAD-PACK-1\n"

const (
	packHeaderSize = 64
	maxPackIndex   = 256 << 20
)

// ErrTruncated is a pack that is shorter than its header says.
var ErrTruncated = errors.New("truncated")

type packIndex struct {
	Tags  map[string]Digest `json:"tags"`
	Blobs []packEntry       `json:"blobs"` // offsets count from the end of the index
}

type packEntry struct {
	Digest Digest `json:"d"`
	Offset int64  `json:"o"`
	Size   int64  `json:"s"`
}

// PackPlan is a pack about to be written: its size is known before its bytes are.
type PackPlan struct {
	header []byte
	blobs  []packEntry
	from   BlobReader
	size   int64
}

// PlanPack lays out a pack with the images that tags name, read from from. The layout depends on nothing else, so the
// same images give the same bytes.
func PlanPack(from BlobReader, tags map[string]Digest) (*PackPlan, error) {
	index := packIndex{Tags: tags}
	seen := map[Digest]bool{}
	var offset int64
	add := func(b Blob) {
		if !seen[b.Digest] {
			seen[b.Digest] = true
			index.Blobs = append(index.Blobs, packEntry{b.Digest, offset, b.Size})
			offset += b.Size
		}
	}
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		if err := ValidName(name); err != nil {
			return nil, fmt.Errorf("pack: tag %w", err)
		}
		data, err := ReadBlob(from, tags[name], MaxManifestSize)
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
		m, err := DecodeManifest(data)
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
		add(Blob{tags[name], int64(len(data))})
		for _, b := range m.Blobs() {
			add(b)
		}
	}
	encoded, err := json.Marshal(index)
	if err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	size := int64(packHeaderSize+len(encoded)) + offset
	head := make([]byte, 0, packHeaderSize+len(encoded))
	head = append(head, packMagic...)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(encoded)))
	head = binary.LittleEndian.AppendUint64(head, uint64(size))
	sum := sha256.Sum256(encoded)
	head = append(append(head, sum[:]...), encoded...)
	return &PackPlan{header: head, blobs: index.Blobs, from: from, size: size}, nil
}

// Size is the number of bytes that Open will give.
func (p *PackPlan) Size() int64 { return p.size }

// Open streams the pack. A blob whose size is not what its manifest said ends the stream with an error.
func (p *PackPlan) Open() (io.ReadCloser, error) {
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(p.writeTo(pw)) }() // ends when the reader is closed or read to its end
	return pr, nil
}

func (p *PackPlan) writeTo(w io.Writer) error {
	if _, err := w.Write(p.header); err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for _, e := range p.blobs {
		if err := copyBlob(w, p.from, e, buf); err != nil {
			return fmt.Errorf("pack: %w", err)
		}
	}
	return nil
}

func copyBlob(w io.Writer, from BlobReader, e packEntry, buf []byte) error {
	r, size, err := from.Open(e.Digest)
	if err != nil {
		return err
	}
	defer r.Close()
	if size != e.Size {
		return fmt.Errorf("blob %s: %d bytes, its manifest says %d", e.Digest.Short(), size, e.Size)
	}
	sum := sha256.New()
	if _, err := io.CopyBuffer(io.MultiWriter(w, sum), struct{ io.Reader }{r}, buf); err != nil {
		return fmt.Errorf("blob %s: %w", e.Digest.Short(), err)
	}
	if got := DigestFromSum(sum.Sum(nil)); got != e.Digest {
		return fmt.Errorf("blob %s is damaged: its digest is %s", e.Digest.Short(), got.Short())
	}
	return nil
}

// Pack reads a pack in place.
type Pack struct {
	r     io.ReaderAt
	base  int64
	tags  map[string]Digest
	blobs map[Digest]packEntry
}

// OpenPack reads the index of a pack of size bytes. r must outlive the Pack.
func OpenPack(r io.ReaderAt, size int64) (*Pack, error) {
	head := make([]byte, packHeaderSize)
	if _, err := r.ReadAt(head, 0); err != nil {
		return nil, fmt.Errorf("pack: read its header: %w", errors.Join(ErrTruncated, err))
	}
	if string(head[:len(packMagic)]) != packMagic {
		return nil, errors.New("pack: not a masthead pack")
	}
	indexLen := binary.LittleEndian.Uint64(head[16:])
	total := binary.LittleEndian.Uint64(head[24:])
	if indexLen > maxPackIndex || total > 1<<50 || indexLen+packHeaderSize > total {
		return nil, fmt.Errorf("pack: damaged header: index of %d bytes in %d", indexLen, total)
	}
	if int64(total) > size {
		return nil, fmt.Errorf("pack: %w: %d bytes of %d; copy or write it again", ErrTruncated, size, total)
	}
	encoded := make([]byte, indexLen)
	if _, err := r.ReadAt(encoded, packHeaderSize); err != nil {
		return nil, fmt.Errorf("pack: read its index: %w", err)
	}
	if sum := sha256.Sum256(encoded); !bytes.Equal(sum[:], head[32:64]) {
		return nil, errors.New("pack: its index is damaged")
	}
	var index packIndex
	if err := json.Unmarshal(encoded, &index); err != nil {
		return nil, fmt.Errorf("pack: index: %w", err)
	}
	p := &Pack{r: r, base: packHeaderSize + int64(indexLen), tags: index.Tags, blobs: make(map[Digest]packEntry, len(index.Blobs))}
	room := int64(total) - p.base
	for _, e := range index.Blobs {
		if !e.Digest.Valid() || e.Offset < 0 || e.Size < 0 || e.Offset > room || e.Size > room-e.Offset {
			return nil, fmt.Errorf("pack: blob %q at %d of %d bytes is outside the pack", e.Digest, e.Offset, e.Size)
		}
		p.blobs[e.Digest] = e
	}
	return p, nil
}

// Tags is what the pack's images are called.
func (p *Pack) Tags() map[string]Digest { return maps.Clone(p.tags) }

// Blobs lists everything in the pack in the order in which it lies there: a stick or a disc is read from end to end.
func (p *Pack) Blobs() []Blob {
	entries := slices.SortedFunc(maps.Values(p.blobs), func(a, b packEntry) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Digest, b.Digest))
	})
	all := make([]Blob, len(entries))
	for i, e := range entries {
		all[i] = Blob{e.Digest, e.Size}
	}
	return all
}

// Open implements BlobReader.
func (p *Pack) Open(d Digest) (io.ReadCloser, int64, error) {
	e, ok := p.blobs[d]
	if !ok {
		return nil, 0, fmt.Errorf("blob %s in the pack: %w", d, ErrNotFound)
	}
	return io.NopCloser(io.NewSectionReader(p.r, p.base+e.Offset, e.Size)), e.Size, nil
}

// OpenPackFile opens the pack in a file, which stays open for as long as the program runs.
func OpenPackFile(name string) (*Pack, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	st, err := f.Stat()
	if err == nil {
		var p *Pack
		if p, err = OpenPack(f, st.Size()); err == nil {
			return p, nil
		}
	}
	f.Close()
	return nil, fmt.Errorf("%s: %w", name, err)
}
