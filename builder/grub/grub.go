// Package grub puts together GRUB's core image for BIOS, as grub-mkimage -O i386-pc does: the parts that the
// distribution's package brings become one file that fits into a BIOS boot partition and needs nothing else to read its
// configuration. No tool of GRUB is run, and the same parts give the same bytes.
//
//	diskboot.img         one sector; loads the rest by a list of blocks that is filled in where the disk is written
//	lzma_decompress.img  goes to protected mode, unpacks what follows
//	LZMA                 kernel.img without its ELF, and the modules behind it
//
// The formats are those of GRUB 2.06 to 2.12: util/mkimage.c, include/grub/offsets.h, include/grub/kernel.h. GRUB for
// UEFI is the distribution's own, signed, and comes whole (builder/loader).
package grub

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io/fs"

	"github.com/ulikunitz/xz/lzma"
)

// Dir is where the package (Debian: grub-pc-bin) puts GRUB's parts for BIOS, relative to the root.
const Dir = "usr/lib/grub/i386-pc"

// Config is what differs between core images.
type Config struct {
	// Prefix is where GRUB finds grub.cfg: a device in parentheses and a folder. A device that begins with a comma is
	// a partition of the disk that the BIOS started.
	Prefix string
	// Modules are built in, with all that they depend on.
	Modules []string
}

// Kinds of objects behind the kernel (include/grub/kernel.h).
const (
	objectELF    = 0
	objectPrefix = 3

	moduleMagic      = 0x676d696d // "mimg", GRUB_MODULE_MAGIC
	moduleInfoSize   = 12
	moduleHeaderSize = 8
)

// Where things are in the parts (include/grub/offsets.h), and what bounds them (util/mkimage.c).
const (
	sectorSize         = 512
	linkAddress        = 0x9000
	decompressorMax    = 0x9000 - 0x8200
	compressedSizeAt   = 0x08
	uncompressedSizeAt = 0x0c
	coreMax            = 0x78000 - linkAddress
	kernelMax          = 0x68000 - linkAddress
	listSizeAt         = sectorSize - 4 // of the first entry of the block list, in sectors
	lzmaHeaderSize     = 13             // of the .lzma format, which GRUB's decoder does not want
	lzmaDictionary     = 1 << 16
)

// Core makes core.img from the parts in dir.
func Core(dir fs.FS, cfg Config) ([]byte, error) {
	core, err := core(dir, cfg)
	if err != nil {
		return nil, fmt.Errorf("make GRUB's core image: %w", err)
	}
	return core, nil
}

func core(dir fs.FS, cfg Config) ([]byte, error) {
	kernel, err := kernelImage(dir)
	if err != nil {
		return nil, err
	}
	modules, err := moduleArea(dir, cfg)
	if err != nil {
		return nil, err
	}
	unpacked := append(kernel, modules...)
	packed, err := compress(unpacked)
	if err != nil {
		return nil, err
	}
	boot, err := fs.ReadFile(dir, "diskboot.img")
	if err != nil {
		return nil, err
	}
	if len(boot) != sectorSize {
		return nil, fmt.Errorf("diskboot.img has %d bytes, want %d", len(boot), sectorSize)
	}
	start, err := fs.ReadFile(dir, "lzma_decompress.img")
	if err != nil {
		return nil, err
	}
	if len(start) > decompressorMax || len(start) < uncompressedSizeAt+4 {
		return nil, fmt.Errorf("lzma_decompress.img has %d bytes, at most %d fit", len(start), decompressorMax)
	}
	binary.LittleEndian.PutUint32(start[compressedSizeAt:], uint32(len(packed)))
	binary.LittleEndian.PutUint32(start[uncompressedSizeAt:], uint32(len(unpacked)))
	size := len(start) + len(packed)
	if size > coreMax {
		return nil, fmt.Errorf("%d bytes are more than the %d below the BIOS's memory", size, coreMax)
	}
	binary.LittleEndian.PutUint16(boot[listSizeAt:], uint16((size+sectorSize-1)/sectorSize))
	return bytes.Join([][]byte{boot, start, packed}, nil), nil
}

// kernelImage is what of kernel.img is in memory at its start: the one segment that is loaded, up to its zeros.
func kernelImage(dir fs.FS) ([]byte, error) {
	data, err := fs.ReadFile(dir, "kernel.img")
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("kernel.img: %w", err)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		if p.Vaddr != linkAddress || p.Memsz > kernelMax || p.Filesz > p.Memsz {
			return nil, fmt.Errorf("kernel.img is %d bytes at %#x, want it at %#x and at most %d", p.Memsz, p.Vaddr, linkAddress, kernelMax)
		}
		image := make([]byte, p.Filesz)
		if _, err := p.ReadAt(image, 0); err != nil {
			return nil, fmt.Errorf("kernel.img: %w", err)
		}
		return image, nil
	}
	return nil, fmt.Errorf("kernel.img has nothing to load")
}

// moduleArea is what stands behind the kernel: a header, the modules, the prefix.
func moduleArea(dir fs.FS, cfg Config) ([]byte, error) {
	names, err := closure(dir, cfg.Modules)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	area := make([]byte, moduleInfoSize)
	object := func(kind uint32, data []byte) {
		size := (len(data) + 3) / 4 * 4
		area = le.AppendUint32(area, kind)
		area = le.AppendUint32(area, uint32(moduleHeaderSize+size))
		area = append(area, data...)
		area = append(area, make([]byte, size-len(data))...)
	}
	for _, name := range names {
		data, err := fs.ReadFile(dir, name+".mod")
		if err != nil {
			return nil, err
		}
		object(objectELF, data)
	}
	object(objectPrefix, append([]byte(cfg.Prefix), 0))
	le.PutUint32(area, moduleMagic)
	le.PutUint32(area[4:], moduleInfoSize)
	le.PutUint32(area[8:], uint32(len(area)))
	return area, nil
}

// compress is a bare LZMA stream with the parameters that lzma_decompress.img has built in.
func compress(data []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := lzma.WriterConfig{
		Properties: &lzma.Properties{LC: 3, LP: 0, PB: 2}, DictCap: lzmaDictionary, Size: int64(len(data)), Matcher: lzma.HashTable4,
	}.NewWriter(&out)
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if _, err := w.Write(data); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return out.Bytes()[lzmaHeaderSize:], nil
}
