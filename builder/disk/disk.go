// Package disk writes the raw image of an installed head's disk: what an installation leaves behind, with one of our
// ISOs in slot a. State and data are left blank; the first boot makes their file systems.
//
// What is where is images/disk; here it goes into a sparse file.
package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"masthead/builder/iso"
	"masthead/images/disk"
)

// Image says what goes into the file.
type Image struct {
	Size     int64  // bytes of the whole disk; 0: the least that is of use
	Identity string // seeds every GUID, so that the same image is the same bytes
	Loader   disk.Loader
	Config   disk.Config
	Slot     *iso.Layout // the ISO for slot a
}

// Layout is a planned image.
type Layout struct {
	Table disk.Table
	image Image
}

const (
	mib = 1 << 20
	gib = 1 << 30
)

// MinSize is the least that is of use: both slots hold the ISO with a quarter to spare, state and data a gigabyte each.
func MinSize(isoSize int64) int64 {
	s := sizes(0, isoSize)
	return 4*mib + s.ESP + 2*s.Slot + s.State + gib
}

// Fits is an error where a disk of diskSize bytes is too small for an ISO of isoSize. What is too small for 0 is so for all.
func Fits(diskSize, isoSize int64) error {
	if least := MinSize(isoSize); diskSize < least {
		return &disk.TooSmallError{Disk: diskSize, Need: least}
	}
	return nil
}

// sizes are those that an installation takes on such a disk, and smaller ones on a disk that is small for that.
func sizes(diskSize, isoSize int64) disk.Sizes {
	s := disk.DefaultSizes(diskSize)
	slot := (isoSize + isoSize/4 + mib - 1) / mib * mib
	if diskSize >= 16*gib && s.Slot >= slot {
		return s
	}
	return disk.Sizes{ESP: 64 * mib, Slot: slot, State: max(gib, diskSize/3/mib*mib)}
}

// Plan divides the disk. It takes any size that MinSize allows.
func Plan(img Image) (*Layout, error) {
	if img.Size == 0 {
		img.Size = MinSize(img.Slot.Size)
	}
	if err := Fits(img.Size, img.Slot.Size); err != nil {
		return nil, fmt.Errorf("plan the disk image: %w", err)
	}
	seed := sha256.Sum256(fmt.Appendf(nil, "%s %d", img.Identity, img.Size))
	table, err := disk.Plan(img.Size/mib*mib, 512, sizes(img.Size, img.Slot.Size), rand.NewChaCha8(seed))
	if err != nil {
		return nil, err
	}
	return &Layout{Table: table, image: img}, nil
}

// Write writes the image to a new, empty file. What holds nothing takes no room. It ends early with the cause of ctx
// when that is done.
func (l *Layout) Write(ctx context.Context, f *os.File, progress func(done, total int64)) error {
	if err := f.Truncate(l.Table.Disk); err != nil {
		return fmt.Errorf("write the disk image: %w", err)
	}
	if err := l.Table.Write(f); err != nil {
		return err
	}
	if err := l.image.Loader.Write(f, l.Table, l.image.Config); err != nil {
		return err
	}
	slot, _ := l.Table.Slot(disk.SlotA)
	w := &sparse{w: io.NewOffsetWriter(f, slot.First), progress: func(n int64) { progress(n, l.image.Slot.Size) }}
	return l.image.Slot.Write(ctx, w)
}

// sparse writes on, and leaves out what is zeros.
type sparse struct {
	w        *io.OffsetWriter
	at       int64
	progress func(int64)
}

const block = 4096

var zeros [block]byte

func (s *sparse) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n := min(len(p)-done, block-int(s.at%block))
		if b := p[done : done+n]; !bytes.Equal(b, zeros[:n]) {
			if _, err := s.w.WriteAt(b, s.at); err != nil {
				return done, err
			}
		}
		done += n
		s.at += int64(n)
	}
	s.progress(s.at)
	return len(p), nil
}
