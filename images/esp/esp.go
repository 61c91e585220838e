// Package esp lays out an EFI system partition: a FAT16 file system whose files
// lie each in one piece behind all of the metadata.
//
// That shape is why this is not done with go-diskfs: its FAT writer wants a
// store as large as the file system to write into at random, so a 60 MB kernel
// image would be copied once more, and it does not say where a file's bytes
// come to lie, which builder/iso needs to point ISO 9660 directory records at
// them. Here the metadata is a byte slice and the files follow as a stream.
//
// FAT16, because the sizes fit (8 MiB to 2 GiB) and UEFI firmware must read it
// from removable media (UEFI 2.10, section 13.3.1.1); every field is after
// Microsoft's FAT specification of 2000 (fatgen103).
package esp

import (
	"fmt"
	"time"
)

// BootX64 is the file that UEFI firmware starts from removable media.
const BootX64 = "EFI/BOOT/BOOTX64.EFI"

// Volume says what is the same for the whole file system.
type Volume struct {
	Label  string    // up to 11 characters, upper case
	Serial uint32    // volume serial number
	Epoch  time.Time // of every directory entry; FAT knows 1980 to 2107
	Size   int64     // bytes of the partition to fill, whole MiB; 0: as small as the files allow
}

// File is one file; its contents are placed by the caller.
type File struct {
	Path string // slash-separated, each part an 8.3 name; case does not matter
	Size int64  // bytes
}

// Layout is a planned file system.
type Layout struct {
	Size    int64   // of the file system in bytes, a multiple of 1 MiB
	Head    []byte  // boot sector, FATs and directories, for offset 0
	Offsets []int64 // of each file given, from the start of the file system
}

// Alignment is what every offset of a file is a multiple of: at least a CD
// sector.
const Alignment = 2048

// FAT16 has from 4085 to 65524 clusters; the type of a FAT is told by nothing
// else. Both bounds are kept 16 away from, as mkfs.fat does, for readers that
// are off by a little.
const (
	minClusters = 4085 + 16
	maxClusters = 65524 - 16
)

const (
	sector       = 512
	rootEntries  = 512
	rootSectors  = rootEntries * entrySize / sector
	granularity  = 1 << 20
	firstCluster = 2
	endOfChain   = 0xffff
)

// geometry is the division of the file system into areas, in sectors.
type geometry struct {
	total       int64
	perCluster  int64
	reserved    int64 // boot sector, and padding that aligns the data area
	fatSectors  int64
	dataStart   int64
	clusters    int64
	clusterSize int64 // bytes
}

// fit finds the smallest cluster size for which need, the clusters used for a
// given cluster size in bytes, fits into size bytes, or into as few as that
// takes if size is 0.
func fit(size int64, need func(clusterSize int64) int64) (geometry, error) {
	for per := int64(Alignment / sector); per <= 64; per *= 2 {
		used := need(per * sector)
		if used > maxClusters {
			continue
		}
		want := max(used, minClusters)
		g := divide(size/sector, per)
		for g.clusters < want && size == 0 {
			g = divide(g.total+granularity/sector, per)
		}
		if g.clusters >= want && g.clusters <= maxClusters {
			return g, nil
		}
	}
	if size > 0 {
		return geometry{}, fmt.Errorf("files do not fit into the %d MiB of the EFI system partition, or FAT16 does not: it takes 9 MiB to 2 GiB", size>>20)
	}
	return geometry{}, fmt.Errorf("EFI system partition: files do not fit in the 2 GiB of FAT16")
}

// divide lays out a file system of total sectors.
func divide(total, per int64) geometry {
	g := geometry{total: total, perCluster: per, clusterSize: per * sector}
	g.fatSectors = ceil((firstCluster+g.total/per)*2, sector)
	meta := 1 + 2*g.fatSectors + rootSectors
	g.dataStart = ceil(meta, per) * per
	g.reserved = 1 + g.dataStart - meta
	g.clusters = (g.total - g.dataStart) / per
	return g
}

// Plan lays out the files. The same volume and files give the same bytes.
func Plan(v Volume, files []File) (Layout, error) {
	root, err := buildTree(files)
	if err != nil {
		return Layout{}, fmt.Errorf("EFI system partition: %w", err)
	}
	if v.Size < 0 || v.Size%granularity != 0 {
		return Layout{}, fmt.Errorf("EFI system partition: size %d is not a multiple of 1 MiB", v.Size)
	}
	g, err := fit(v.Size, func(clusterSize int64) int64 { return root.clusters(clusterSize) })
	if err != nil {
		return Layout{}, err
	}
	a := allocation{geometry: g, fat: []uint16{0xff00 | mediaFixed, endOfChain}}
	a.directories(root)
	head := g.dataStart*sector + a.used()*g.clusterSize
	l := Layout{Size: g.total * sector, Offsets: make([]int64, len(files))}
	a.files(root, l.Offsets)

	l.Head = make([]byte, head)
	label, err := volumeLabel(v.Label)
	if err != nil {
		return Layout{}, fmt.Errorf("EFI system partition: %w", err)
	}
	g.bootSector(l.Head, label, v.Serial)
	for i := range int64(2) {
		putFAT(l.Head[(g.reserved+i*g.fatSectors)*sector:], a.fat)
	}
	root.write(l.Head, g, label, stamp(v.Epoch))
	return l, nil
}

func ceil(n, d int64) int64 { return (n + d - 1) / d }
