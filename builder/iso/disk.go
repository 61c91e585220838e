package iso

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

// The image as a disk: a boot sector for BIOS and a GPT for UEFI, both in the
// 32 KiB that ISO 9660 leaves to systems.

const (
	hybridCode    = 432 // size of isohdpfx.bin
	hybridLBA     = 432 // where it wants the address of isolinux.bin
	diskSignature = 440
	partitionTab  = 446
	// gptArray and the header before it end within the system area.
	gptArray       = 128 * 128
	backupGPTBytes = gptArray + diskSector
)

// bootSector is the protective MBR, with the code that starts ISOLINUX in front
// if there is any.
func bootSector(code []byte, isolinuxLBA uint32, size int64, signature uint32) []byte {
	b := make([]byte, diskSector)
	if len(code) > 0 {
		copy(b, code)
		// A 64-bit address in disk sectors, as syslinux utils/isohybrid.c puts it.
		binary.LittleEndian.PutUint64(b[hybridLBA:], uint64(isolinuxLBA)*(sectorSize/diskSector))
	}
	binary.LittleEndian.PutUint32(b[diskSignature:], signature)
	sectors := min(size/diskSector-1, math.MaxUint32)
	// UEFI takes the GPT only with an entry of type 0xEE at sector 1
	// (EDK2 MdeModulePkg/Universal/Disk/PartitionDxe/Gpt.c).
	putPartition(b[partitionTab:], 0, 0xee, 1, uint32(sectors))
	if len(code) > 0 {
		// Some BIOSes start a disk only if a partition is active, and UEFI wants
		// the protective one not to be. So there is one more, of type 0, which
		// all others take for unused (xorriso -boot_image any mbr_force_bootable=on).
		putPartition(b[partitionTab+16:], 0x80, 0, 0, 1)
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

// putPartition writes an MBR entry. Cylinders are not computed: all readers of
// today go by the sector numbers.
func putPartition(b []byte, active, kind byte, start, sectors uint32) {
	b[0], b[4] = active, kind
	if kind != 0 {
		copy(b[1:], "\x00\x02\x00") // sector 1 of head 0 of cylinder 0
		copy(b[5:], "\xff\xff\xff") // beyond what can be said
	} else {
		copy(b[1:], "\x00\x01\x00")
		copy(b[5:], "\x00\x01\x00")
	}
	binary.LittleEndian.PutUint32(b[8:], start)
	binary.LittleEndian.PutUint32(b[12:], sectors)
}

// placed are bytes with their place in the file.
type placed struct {
	offset int64
	data   []byte
}

// partitionTables encodes both copies of the GPT of a disk of the given size.
func partitionTables(size int64, id identity, esp placedSize) ([]placed, error) {
	table := &gpt.Table{
		LogicalSectorSize: diskSector,
		GUID:              id.guid("disk"),
	}
	if esp.size > 0 {
		start := uint64(esp.offset) / diskSector
		table.Partitions = []*gpt.Partition{{
			Index: 1,
			Start: start,
			End:   start + uint64(esp.size)/diskSector - 1,
			Type:  gpt.EFISystemPartition,
			Name:  "EFI system partition",
			GUID:  id.guid("esp"),
		}}
	}
	var w recorder
	if err := table.Write(&w, size); err != nil {
		return nil, fmt.Errorf("encode GPT: %w", err)
	}
	return w.written, nil
}

// placedSize is a run of the file.
type placedSize struct{ offset, size int64 }

// recorder keeps what go-diskfs writes to a disk. Writing a partition table
// uses no other method; a nil interface stands for the rest.
type recorder struct {
	backend.WritableFile
	written []placed
}

func (r *recorder) WriteAt(p []byte, off int64) (int, error) {
	r.written = append(r.written, placed{off, append([]byte(nil), p...)})
	return len(p), nil
}

// identity derives all the numbers that name this image and no other.
type identity [sha256.Size]byte

func (id identity) guid(what string) string {
	// Version 8: made as the application sees fit (RFC 9562, 5.8).
	u := sha256.Sum256(append(id[:], what...))
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

func (id identity) number(what string) uint32 {
	sum := sha256.Sum256(append(id[:], what...))
	return binary.LittleEndian.Uint32(sum[:])
}
