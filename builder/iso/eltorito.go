package iso

import (
	"encoding/binary"
	"math"
)

// El Torito is how firmware starts a CD ("El Torito" Bootable CD-ROM Format
// Specification 1.0): a boot record points at a catalog of boot images.

// bootImage is one entry of the catalog.
type bootImage struct {
	platform byte
	lba      uint32
	sectors  uint16 // of 512 bytes, to load (BIOS) or the size of the partition (UEFI)
}

const (
	platformBIOS = 0x00
	platformUEFI = 0xef
)

// isolinuxSectors is what the BIOS loads of ISOLINUX, which then loads the rest
// of itself.
const isolinuxSectors = 4

// bootRecord is the volume descriptor that points at the catalog.
func bootRecord(catalog uint32) []byte {
	b := make([]byte, sectorSize)
	copy(b, "\x00CD001\x01EL TORITO SPECIFICATION")
	binary.LittleEndian.PutUint32(b[71:], catalog)
	return b
}

// bootCatalog lists the images; the first is the default one, each further one
// is a section of its own.
func bootCatalog(images []bootImage) []byte {
	b := make([]byte, sectorSize)
	b[0], b[1] = 1, images[0].platform
	copy(b[4:28], "masthead")
	b[30], b[31] = 0x55, 0xaa
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	binary.LittleEndian.PutUint16(b[28:], -sum) // the words of the entry add up to zero
	at := b[32:]
	for i, img := range images {
		if i > 0 {
			at[0], at[1], at[2] = 0x90, img.platform, 1
			if i == len(images)-1 {
				at[0] = 0x91 // the last section
			}
			at = at[32:]
		}
		at[0] = 0x88 // bootable; the zeros that follow: no emulation, usual segment
		binary.LittleEndian.PutUint16(at[6:], img.sectors)
		binary.LittleEndian.PutUint32(at[8:], img.lba)
		at = at[32:]
	}
	return b
}

// espSectors is the size of the ESP for its catalog entry. The field holds less
// than 32 MiB; 0 means up to the end of the volume (UEFI 2.10, 13.3.2.1).
func espSectors(size int64) uint16 {
	if n := size / diskSector; n <= math.MaxUint16 {
		return uint16(n)
	}
	return 0
}

// bootInfoSize is where ISOLINUX's own code begins behind its boot info table.
const bootInfoSize = 64

// withBootInfo returns isolinux.bin with the boot info table filled in, by
// which ISOLINUX finds the rest of itself on the disc (mkisofs -boot-info-table).
func withBootInfo(isolinux []byte, lba uint32) []byte {
	le := binary.LittleEndian
	b := make([]byte, (len(isolinux)+3)/4*4)
	copy(b, isolinux)
	var sum uint32
	for i := bootInfoSize; i < len(b); i += 4 {
		sum += le.Uint32(b[i:])
	}
	clear(b[8:bootInfoSize])
	le.PutUint32(b[8:], systemArea) // the primary volume descriptor
	le.PutUint32(b[12:], lba)
	le.PutUint32(b[16:], uint32(len(isolinux)))
	le.PutUint32(b[20:], sum)
	return b[:len(isolinux)]
}
