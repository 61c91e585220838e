// Package iso writes the bootable ISO image: one file that starts a machine
// from a CD and from a USB disk, by BIOS and by UEFI.
//
//	 0 KiB  hybrid boot sector (BIOS from disk), then GPT (UEFI from disk)
//	32 KiB  ISO 9660 with Rock Ridge; El Torito with an entry for BIOS
//	        (ISOLINUX) and one for UEFI (the EFI system partition)
//	        files
//	 n MiB  EFI system partition, see package esp
//	        files
//	   end  padding, backup GPT
//
// All places are decided from names and sizes before the first byte is written;
// the bytes then go out front to back, once, to any io.Writer. Nothing depends
// on the time, the folder or the order of the files given: same image, same
// bytes.
//
// go-diskfs encodes the GPT here. Its ISO 9660 writer is not used: it stamps the
// present time, and the owners and times of the folder that the files must first
// be copied into; it cannot place a file at a given block, while the partition
// must be where both GPT and El Torito say it is; it cuts the size of a file of
// 4 GiB to 32 bits without a word; and it needs the finished file trimmed. The
// tests read the result back with go-diskfs.
//
// What the files are and where they come from is not the matter of this package.
package iso

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// Image says what goes into the file.
type Image struct {
	// VolumeID names the medium; init finds it by this. Up to 32 of A-Z, 0-9 and _.
	VolumeID string
	// Identity seeds the disk and partition GUIDs, so that two different images
	// can be told apart: a manifest digest, a version. It may be empty.
	Identity string
	// Epoch is every date in the image; never the present time, or two builds differ.
	Epoch time.Time
	// Files is the ISO 9660 tree.
	Files []File
	// BIOS makes the image start on BIOS machines; nil leaves that out.
	BIOS *BIOS
	// ESP is the EFI system partition with esp.BootX64 in it; without files
	// the image does not start on UEFI machines. Paths are 8.3 names.
	ESP []File
}

// File is one file of the image. Its contents are read once, while writing.
type File struct {
	Path string // slash-separated, relative, any UTF-8 name up to 100 bytes a part
	Size int64  // bytes; Open must give exactly these
	Open func() (io.ReadCloser, error)
	// Shared places the file inside one of the ESP's instead of storing it
	// again; Open is not used then. For kernel and initramfs, which the BIOS
	// side wants as files and the UEFI side inside of a unified kernel image.
	Shared *Shared
}

// Shared is a place in a file of the ESP.
type Shared struct {
	Path   string // as in Image.ESP
	Offset int64  // bytes, a multiple of 2048
}

// BIOS holds the loader files of ISOLINUX and its menu.
type BIOS struct {
	ISOLINUX  []byte // isolinux.bin
	LDLinux   []byte // ldlinux.c32 of the same release
	HybridMBR []byte // isohdpfx.bin; empty for an image that starts from CD only
	Menu      Menu
}

// Write writes the image to w, front to back, and returns its size in bytes.
// It ends early with the cause of ctx when that is done; what was written is
// then of no use.
func Write(ctx context.Context, w io.Writer, img Image) (int64, error) {
	l, err := Plan(img)
	if err != nil {
		return 0, err
	}
	return l.Size, l.Write(ctx, w)
}

// Sizes and places fixed by ECMA-119 (ISO 9660) and by the GPT.
const (
	sectorSize  = 2048 // of a CD
	diskSector  = 512
	systemArea  = 16                                       // sectors before the first volume descriptor
	partAlign   = 1 << 20                                  // what partitioning tools ask of a partition
	endPadding  = 150 * 2048                               // drives read ahead past the end of a disc written track-at-once
	maxSegment  = math.MaxUint32 / sectorSize * sectorSize // largest extent of a directory record
	maxSize     = math.MaxUint32 * sectorSize
	maxFileSize = 1 << 40 // a bound on nonsense, far above what fits a medium
)

func (f File) validate() error {
	switch {
	case f.Size < 0 || f.Size > maxFileSize:
		return fmt.Errorf("size %d is out of range", f.Size)
	case f.Open == nil && f.Shared == nil:
		return errors.New("no contents: Open is nil")
	case f.Shared != nil && f.Shared.Offset%sectorSize != 0:
		return fmt.Errorf("shared at offset %d of %s, not a multiple of %d", f.Shared.Offset, f.Shared.Path, sectorSize)
	}
	return nil
}
