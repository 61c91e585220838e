package uki

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Offsets of the fields used here, after the Microsoft PE/COFF specification.
// Optional header offsets are those of PE32+.
const (
	dosHeaderSize = 64
	dosNewHeader  = 60 // e_lfanew

	coffSections   = 4 + 2 // NumberOfSections, after "PE\0\0"
	coffOptSize    = 4 + 16
	coffHeaderSize = 4 + 20

	optMagic            = 0
	optInitializedData  = 8
	optSectionAlignment = 32
	optFileAlignment    = 36
	optSizeOfImage      = 56
	optSizeOfHeaders    = 60
	optCheckSum         = 64
	optSubsystem        = 68
	optDirectories      = 108 // NumberOfRvaAndSizes; the directories follow
	optSecurity         = 112 + 4*8

	sectionSize = 40

	machineAMD64   = 0x8664
	magicPE32Plus  = 0x20b
	subsystemEFI   = 10 // EFI application
	flagCode       = 0x00000020
	flagData       = 0x00000040
	flagExecute    = 0x20000000
	flagRead       = 0x40000000
	maxHeaderBytes = 1 << 20
)

// header is what must be known of a stub to append sections to it.
type header struct {
	pe           int // offset of "PE\0\0"
	opt          int // offset of the optional header
	table        int // offset of the section table
	sections     int
	sectionAlign int64
	fileAlign    int64
	headersEnd   int64 // SizeOfHeaders: the section table may grow up to here
	imageEnd     int64 // first address after the last section
}

// parseHeader reads the headers of an x86-64 UEFI program and checks that
// everything they point to lies inside it.
func parseHeader(b []byte) (header, error) {
	le := binary.LittleEndian
	if len(b) < dosHeaderSize || b[0] != 'M' || b[1] != 'Z' {
		return header{}, errors.New("no DOS header")
	}
	var h header
	newHeader := le.Uint32(b[dosNewHeader:])
	if newHeader > maxHeaderBytes || int(newHeader)+coffHeaderSize > len(b) {
		return header{}, fmt.Errorf("PE header at %d is outside of the file", newHeader)
	}
	h.pe = int(newHeader)
	coff := b[h.pe:]
	if string(coff[:4]) != "PE\x00\x00" {
		return header{}, errors.New("no PE signature")
	}
	if m := le.Uint16(coff[4:]); m != machineAMD64 {
		return header{}, fmt.Errorf("machine type %#x is not x86-64", m)
	}
	h.sections = int(le.Uint16(coff[coffSections:]))
	h.opt = h.pe + coffHeaderSize
	h.table = h.opt + int(le.Uint16(coff[coffOptSize:]))
	if h.table-h.opt < optSecurity+8 || h.table+h.sections*sectionSize > len(b) {
		return header{}, errors.New("optional header or section table is cut off")
	}
	opt := b[h.opt:h.table]
	if m := le.Uint16(opt[optMagic:]); m != magicPE32Plus {
		return header{}, fmt.Errorf("optional header magic %#x is not PE32+", m)
	}
	if s := le.Uint16(opt[optSubsystem:]); s != subsystemEFI {
		return header{}, fmt.Errorf("subsystem %d is not an EFI application", s)
	}
	if n := le.Uint32(opt[optDirectories:]); n > 4 && le.Uint32(opt[optSecurity+4:]) != 0 {
		return header{}, errors.New("it is signed: sections cannot be appended behind a signature")
	}
	h.sectionAlign = int64(le.Uint32(opt[optSectionAlignment:]))
	h.fileAlign = int64(le.Uint32(opt[optFileAlignment:]))
	for _, a := range []int64{h.sectionAlign, h.fileAlign} {
		if a < 16 || a > 1<<16 || a&(a-1) != 0 {
			return header{}, fmt.Errorf("alignment %d is not a power of two from 16 to 65536", a)
		}
	}
	h.headersEnd = int64(le.Uint32(opt[optSizeOfHeaders:]))
	if h.headersEnd > int64(len(b)) || h.headersEnd < int64(h.table+h.sections*sectionSize) {
		return header{}, fmt.Errorf("SizeOfHeaders %d does not fit the file", h.headersEnd)
	}
	h.imageEnd = h.headersEnd
	for i := range h.sections {
		s := b[h.table+i*sectionSize:]
		size, addr := int64(le.Uint32(s[8:])), int64(le.Uint32(s[12:]))
		rawSize, raw := int64(le.Uint32(s[16:])), int64(le.Uint32(s[20:]))
		if rawSize > 0 && (raw < h.headersEnd || raw+rawSize > int64(len(b))) {
			return header{}, fmt.Errorf("section %d has its data at %d+%d outside of the file", i, raw, rawSize)
		}
		h.imageEnd = max(h.imageEnd, addr+size, addr+rawSize)
	}
	return h, nil
}

// addSection writes a section header behind the existing ones.
func (h *header) addSection(b []byte, s Section, flags uint32) error {
	at := h.table + h.sections*sectionSize
	if int64(at+sectionSize) > h.headersEnd {
		return fmt.Errorf("stub has no room for the header of section %s", s.Name)
	}
	le := binary.LittleEndian
	e := b[at : at+sectionSize]
	clear(e)
	copy(e[:8], s.Name)
	le.PutUint32(e[8:], uint32(s.Size))
	le.PutUint32(e[12:], uint32(s.Address))
	le.PutUint32(e[16:], uint32(roundUp(s.Size, h.fileAlign)))
	le.PutUint32(e[20:], uint32(s.Offset))
	le.PutUint32(e[36:], flags)
	h.sections++
	le.PutUint16(b[h.pe+coffSections:], uint16(h.sections))
	return nil
}

// finish writes the totals. The checksum is left zero, which means none: UEFI
// does not look at it (only Windows drivers are checked), and computing it
// would mean reading kernel and initramfs before the first byte goes out.
func (h *header) finish(b []byte, added, imageEnd int64) {
	le := binary.LittleEndian
	opt := b[h.opt:h.table]
	le.PutUint32(opt[optInitializedData:], le.Uint32(opt[optInitializedData:])+uint32(added))
	le.PutUint32(opt[optSizeOfImage:], uint32(roundUp(imageEnd, h.sectionAlign)))
	le.PutUint32(opt[optCheckSum:], 0)
}

func roundUp(n, align int64) int64 { return (n + align - 1) / align * align }
