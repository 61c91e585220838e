package iso

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"masthead/images/esp"
)

// Layout is a planned image.
type Layout struct {
	Size     int64 // of the whole file in bytes, a multiple of 1 MiB
	segments []segment
}

// segment is a run of the file that is not zeros.
type segment struct {
	offset int64
	size   int64
	what   string
	data   []byte                        // the contents, or
	open   func() (io.ReadCloser, error) // where to read them
}

// Plan decides where everything comes to lie. Every fault of the image is
// reported.
func Plan(img Image) (*Layout, error) {
	l, err := plan(img, maxSegment)
	if err != nil {
		return nil, fmt.Errorf("plan ISO image: %w", err)
	}
	return l, nil
}

func plan(img Image, maxExtent int64) (*Layout, error) {
	if err := img.validate(); err != nil {
		return nil, err
	}
	p := planner{at: img.Epoch, id: img.identity(), maxExtent: maxExtent}
	files := slices.Clone(img.Files)
	if img.BIOS != nil {
		files = append(files, img.BIOS.files()...)
	}
	root, err := buildTree(files)
	if err != nil {
		return nil, err
	}
	p.volume(root, img)
	if err := p.partition(root, img); err != nil {
		return nil, err
	}
	p.files(root)
	if err := p.finish(root, img); err != nil {
		return nil, err
	}
	slices.SortFunc(p.segments, func(a, b segment) int { return cmp.Compare(a.offset, b.offset) })
	return &Layout{Size: p.size, segments: p.segments}, nil
}

// planner hands out the file front to back. Contents that hold addresses are
// encoded at the end, when all are known.
type planner struct {
	at        time.Time
	id        identity
	maxExtent int64
	next      int64 // first byte not handed out
	segments  []segment

	catalog uint32
	tables  tables
	susp    uint32
	dirs    []*node
	esp     placedSize
	size    int64
}

// take reserves size bytes at the next sector.
func (p *planner) take(size int64) int64 {
	offset := roundUp(p.next, sectorSize)
	p.next = offset + size
	return offset
}

func (p *planner) takeSectors(n int64) uint32 { return lba(p.take(n * sectorSize)) }

func (p *planner) put(offset int64, what string, data []byte) {
	p.segments = append(p.segments, segment{offset: offset, size: int64(len(data)), what: what, data: data})
}

// volume places descriptors, boot catalog, path tables and directories.
func (p *planner) volume(root *node, img Image) {
	p.takeSectors(systemArea)
	p.takeSectors(1) // primary descriptor
	if img.bootable() {
		p.takeSectors(1) // boot record
	}
	p.takeSectors(1) // terminator
	p.catalog = p.takeSectors(1)
	p.dirs = root.directories()
	p.tables.size = len(pathTable(p.dirs, binary.LittleEndian))
	p.tables.little = lba(p.take(int64(p.tables.size)))
	p.tables.big = lba(p.take(int64(p.tables.size)))
	for _, d := range p.dirs {
		size := int64(len(d.records(p.at, 0))) // the same whatever the addresses
		d.extents = []extent{{lba(p.take(size)), uint32(size)}}
	}
	// Behind the directories, as libarchive reads forward only.
	p.susp = p.takeSectors(1)
}

// partition places the loader, which is small and wanted first, and the EFI
// system partition with its files. Files shared with it get their extents here.
func (p *planner) partition(root *node, img Image) error {
	root.walk(func(n *node) {
		if img.BIOS != nil && strings.HasPrefix(n.file.Path, isolinuxDir) {
			p.place(n)
		}
	})
	if len(img.ESP) == 0 {
		return p.share(root, nil)
	}
	files := make([]esp.File, len(img.ESP))
	for i, f := range img.ESP {
		files[i] = esp.File{Path: f.Path, Size: f.Size}
	}
	fs, err := esp.Plan(esp.Volume{Label: "MASTHEAD", Serial: p.id.number("esp"), Epoch: p.at}, files)
	if err != nil {
		return err
	}
	p.esp = placedSize{roundUp(p.next, partAlign), fs.Size}
	p.next = p.esp.offset + fs.Size
	p.put(p.esp.offset, "EFI system partition", fs.Head)
	places := make(map[string]placedSize)
	for i, f := range img.ESP {
		at := placedSize{p.esp.offset + fs.Offsets[i], f.Size}
		places[f.Path] = at
		p.segments = append(p.segments, segment{offset: at.offset, size: at.size, what: "file " + f.Path + " of the EFI system partition", open: f.Open})
	}
	return p.share(root, places)
}

// share gives files inside of the ESP's files their extents.
func (p *planner) share(root *node, places map[string]placedSize) error {
	var errs []error
	root.walk(func(n *node) {
		s := n.file.Shared
		if s == nil {
			return
		}
		in, ok := places[s.Path]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("file %q: shared with %q, which is not in the EFI system partition", n.file.Path, s.Path))
		case s.Offset < 0 || s.Offset > in.size || n.file.Size > in.size-s.Offset:
			errs = append(errs, fmt.Errorf("file %q: shared range %d+%d is outside of %s (%d bytes)", n.file.Path, s.Offset, n.file.Size, s.Path, in.size))
		default:
			n.extents = split(in.offset+s.Offset, n.file.Size, p.maxExtent)
		}
	})
	return errors.Join(errs...)
}

// files places all files that have no place yet.
func (p *planner) files(root *node) {
	root.walk(func(n *node) {
		if n.extents == nil && n.file.Shared == nil && n.file.Size > 0 {
			p.place(n)
		}
	})
}

func (p *planner) place(n *node) {
	offset := p.take(n.file.Size)
	n.extents = split(offset, n.file.Size, p.maxExtent)
	if n.file.Path != isolinuxBin {
		p.segments = append(p.segments, segment{offset: offset, size: n.file.Size, what: "file " + n.file.Path, open: n.file.Open})
	}
}

// split cuts a run into extents that the 32 bits of a directory record can hold
// (ECMA-119 6.5.1: all but the last end at a sector).
func split(offset, size, maxExtent int64) []extent {
	var extents []extent
	for size > 0 {
		n := min(size, maxExtent)
		extents = append(extents, extent{lba(offset), uint32(n)})
		offset, size = offset+n, size-n
	}
	return extents
}

// finish encodes all that holds addresses.
func (p *planner) finish(root *node, img Image) error {
	p.size = roundUp(p.next+endPadding+backupGPTBytes, partAlign)
	if p.size > maxSize {
		return fmt.Errorf("%d bytes are more than ISO 9660 can hold", p.size)
	}
	for _, d := range p.dirs {
		p.put(offset(d.extent().lba), "directory", d.records(p.at, p.susp))
	}
	p.put(offset(p.tables.little), "path table", pathTable(p.dirs, binary.LittleEndian))
	p.put(offset(p.tables.big), "path table", pathTable(p.dirs, binary.BigEndian))
	p.put(offset(p.susp), "continuation area", []byte(extensionReference))

	boot, isolinux := p.bootImages(root, img)
	descriptors := primaryDescriptor(img.VolumeID, lba(p.size), p.tables, root.extent(), p.at)
	if len(boot) > 0 {
		descriptors = append(descriptors, bootRecord(p.catalog)...)
		p.put(offset(p.catalog), "boot catalog", bootCatalog(boot))
	}
	p.put(systemArea*sectorSize, "volume descriptors", append(descriptors, terminator()...))

	var code []byte
	if img.BIOS != nil {
		code = img.BIOS.HybridMBR
	}
	p.put(0, "boot sector", bootSector(code, isolinux, p.size, p.id.number("disk")))
	gpt, err := partitionTables(p.size, p.id, p.esp)
	if err != nil {
		return err
	}
	for _, t := range gpt {
		p.put(t.offset, "GPT", t.data)
	}
	return nil
}

// bootImages lists the El Torito entries and places the patched isolinux.bin.
func (p *planner) bootImages(root *node, img Image) (images []bootImage, isolinux uint32) {
	if img.BIOS != nil {
		root.walk(func(n *node) {
			if n.file.Path == isolinuxBin {
				isolinux = n.extent().lba
			}
		})
		p.put(offset(isolinux), "file "+isolinuxBin, withBootInfo(img.BIOS.ISOLINUX, isolinux))
		images = append(images, bootImage{platformBIOS, isolinux, isolinuxSectors})
	}
	if p.esp.size > 0 {
		images = append(images, bootImage{platformUEFI, lba(p.esp.offset), espSectors(p.esp.size)})
	}
	return images, isolinux
}

func lba(offset int64) uint32 { return uint32(offset / sectorSize) }

func offset(lba uint32) int64 { return int64(lba) * sectorSize }

func roundUp(n, align int64) int64 { return (n + align - 1) / align * align }
