package disk

import (
	"fmt"
	"io"
)

// Sizes are those of the partitions that have one, in bytes; the data partition gets the rest.
type Sizes struct{ ESP, Slot, State int64 }

const (
	mib = 1 << 20
	gib = 1 << 30

	// align is what partitions begin and end at: any sector size, any stripe of a RAID controller.
	align = mib
	// biosSize holds a core.img of 100 KiB, with room to grow.
	biosSize = mib
	// minData is a data partition that DRBD and a file system on it can still use.
	minData = 64 * mib
)

// DefaultSizes suits a disk of that many bytes. A slot holds an ISO, 0.1 GiB with a minimal root, 0.5 GiB with the
// shipped Debian, more with what others put in; the state holds every image that the head serves.
func DefaultSizes(diskBytes int64) Sizes {
	switch {
	case diskBytes >= 200*gib:
		return Sizes{ESP: 256 * mib, Slot: 8 * gib, State: 64 * gib}
	case diskBytes >= 50*gib:
		return Sizes{ESP: 256 * mib, Slot: 4 * gib, State: 16 * gib}
	case diskBytes >= 16*gib:
		return Sizes{ESP: 128 * mib, Slot: 2 * gib, State: 6 * gib}
	}
	return Sizes{ESP: 64 * mib, Slot: diskBytes / 8 / align * align, State: diskBytes / 3 / align * align}
}

// layout is the order of the partitions.
var layout = [...]struct {
	name, kind string
	size       func(Sizes) int64 // nil: the rest
}{
	numberBIOS - 1:  {NameBIOS, TypeBIOS, func(Sizes) int64 { return biosSize }},
	numberESP - 1:   {NameESP, TypeESP, func(s Sizes) int64 { return s.ESP }},
	numberA - 1:     {NameA, TypeLinux, func(s Sizes) int64 { return s.Slot }},
	numberB - 1:     {NameB, TypeLinux, func(s Sizes) int64 { return s.Slot }},
	numberState - 1: {NameState, TypeLinux, func(s Sizes) int64 { return s.State }},
	numberData - 1:  {NameData, TypeLinux, nil},
}

// SectorError is a disk whose logical sectors the layout does not fit.
type SectorError int

func (e SectorError) Error() string {
	return fmt.Sprintf("the disk has logical sectors of %d bytes; the slots hold ISO 9660, which Linux mounts from disks with 512 only", int(e))
}

// TooSmallError is a disk that the partitions do not fit on.
type TooSmallError struct{ Disk, Need int64 }

func (e *TooSmallError) Error() string {
	return fmt.Sprintf("the disk has %d MiB, the partitions need %d MiB", e.Disk/mib, (e.Need+mib-1)/mib)
}

// Plan divides a disk of diskBytes. Every GUID comes from random: sixteen bytes for the disk, then sixteen for each
// partition in order; a reader that is seeded makes the plan reproducible.
func Plan(diskBytes int64, sector int, s Sizes, random io.Reader) (Table, error) {
	t := Table{Sector: sector, Disk: diskBytes}
	if sector != 512 {
		return Table{}, fmt.Errorf("plan the disk: %w", SectorError(sector))
	}
	for _, size := range []int64{s.ESP, s.Slot, s.State} {
		if size <= 0 || size%align != 0 {
			return Table{}, fmt.Errorf("plan the disk: size %d is not a multiple of 1 MiB", size)
		}
	}
	end := t.usableEnd() / align * align
	need := int64(align+biosSize+minData+mib) + s.ESP + 2*s.Slot + s.State
	if diskBytes < need {
		return Table{}, fmt.Errorf("plan the disk: %w", &TooSmallError{Disk: diskBytes, Need: need})
	}
	var err error
	if t.GUID, err = newGUID(random); err != nil {
		return Table{}, fmt.Errorf("plan the disk: %w", err)
	}
	first := int64(align)
	for i, l := range layout {
		p := Partition{Number: i + 1, Name: l.name, Type: l.kind, First: first, Size: end - first}
		if l.size != nil {
			p.Size = l.size(s)
		}
		if p.UUID, err = newGUID(random); err != nil {
			return Table{}, fmt.Errorf("plan the disk: %w", err)
		}
		first += p.Size
		t.Partitions = append(t.Partitions, p)
	}
	return t, nil
}

// newGUID is a random GUID, version 4 (RFC 9562, 5.4).
func newGUID(random io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("random numbers: %w", err)
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}
