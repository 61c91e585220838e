package uki

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// Section is one appended section of the image.
type Section struct {
	Name    string
	Offset  int64 // in the file, a multiple of Alignment
	Size    int64 // bytes of contents; in the file padded to the file alignment
	Address int64 // offset in memory from the image base
}

// Alignment of the appended sections, in the file and in memory. A page is what
// newer stubs ask of the kernel; in the file it lets an ISO 9660 directory
// point at kernel and initramfs inside the image.
const Alignment = 4096

// maxImage keeps all sizes and addresses in 31 bits: the fields have 32, and
// firmware is careless with the last.
const maxImage = 1 << 31

// Layout is a planned image.
type Layout struct {
	Size     int64     // of the whole file, in bytes
	Sections []Section // the appended ones, in file order

	head    []byte // the stub with the grown section table
	sources []Source
}

// Plan places the sections. The kernel comes last: a kernel of the handover
// protocol is decompressed in place by older stubs and needs the room behind it
// (systemd issue 34578).
func Plan(img Image) (Layout, error) {
	if err := img.validate(); err != nil {
		return Layout{}, fmt.Errorf("plan unified kernel image: %w", err)
	}
	h, err := parseHeader(img.Stub)
	if err != nil {
		return Layout{}, fmt.Errorf("read stub of unified kernel image: %w", err)
	}
	kernel := img.Kernel
	kernel.Open = checkedKernel(img.Kernel.Open)
	parts := []struct {
		name  string
		src   Source
		flags uint32
	}{
		{".osrel", text(img.OSRelease), flagData | flagRead},
		{".cmdline", text(img.Cmdline), flagData | flagRead},
		{".uname", text(img.Uname), flagData | flagRead},
		{".initrd", img.Initramfs, flagData | flagRead},
		{".linux", kernel, flagCode | flagExecute | flagRead},
	}
	l := Layout{head: bytes.Clone(img.Stub)}
	var (
		align  = max(Alignment, h.sectionAlign, h.fileAlign)
		offset = roundUp(int64(len(img.Stub)), h.fileAlign)
		addr   = h.imageEnd
		added  int64
	)
	for _, p := range parts {
		if p.src.Size == 0 {
			continue // an absent text; a section of no size is invalid
		}
		offset, addr = roundUp(offset, align), roundUp(addr, align)
		s := Section{Name: p.name, Offset: offset, Size: p.src.Size, Address: addr}
		offset, addr = offset+roundUp(s.Size, h.fileAlign), addr+s.Size
		if offset > maxImage || addr > maxImage {
			return Layout{}, fmt.Errorf("plan unified kernel image: %s of %d bytes makes it larger than 2 GiB", s.Name, s.Size)
		}
		if err := h.addSection(l.head, s, p.flags); err != nil {
			return Layout{}, fmt.Errorf("plan unified kernel image: %w", err)
		}
		added += roundUp(s.Size, h.fileAlign)
		l.Sections = append(l.Sections, s)
		l.sources = append(l.sources, p.src)
	}
	h.finish(l.head, added, addr)
	l.Size = offset
	return l, nil
}

// Section returns the appended section of the given name.
func (l Layout) Section(name string) (Section, bool) {
	for _, s := range l.Sections {
		if s.Name == name {
			return s, true
		}
	}
	return Section{}, false
}

func text(s string) Source {
	return Source{Size: int64(len(s)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(s)), nil
	}}
}

// checkedKernel refuses, before the first byte is used, what the stub could
// only refuse at boot: a kernel without the headers of a bzImage with EFI stub
// (Documentation/arch/x86/boot.rst, "HdrS" at 0x202).
func checkedKernel(open func() (io.ReadCloser, error)) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		r, err := open()
		if err != nil {
			return nil, err
		}
		start := make([]byte, 0x206)
		if _, err := io.ReadFull(r, start); err != nil {
			r.Close()
			return nil, fmt.Errorf("read kernel header: %w", err)
		}
		if string(start[:2]) != "MZ" || string(start[0x202:]) != "HdrS" {
			r.Close()
			return nil, fmt.Errorf("kernel is not a bzImage with an EFI stub")
		}
		return readCloser{io.MultiReader(bytes.NewReader(start), r), r}, nil
	}
}

type readCloser struct {
	io.Reader
	io.Closer
}
