package uki

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"
)

// stub makes a small UEFI program: headers with room for `room` more sections
// and one section of code.
func stub(room int) []byte {
	const pe, headers = 0x80, 0x400
	le := binary.LittleEndian
	b := make([]byte, headers+0x200)
	copy(b, "MZ")
	le.PutUint32(b[dosNewHeader:], pe)
	copy(b[pe:], "PE\x00\x00")
	le.PutUint16(b[pe+4:], machineAMD64)
	le.PutUint16(b[pe+coffSections:], 1)
	le.PutUint16(b[pe+coffOptSize:], 240)
	opt := b[pe+coffHeaderSize:]
	le.PutUint16(opt[optMagic:], magicPE32Plus)
	le.PutUint32(opt[optSectionAlignment:], 0x1000)
	le.PutUint32(opt[optFileAlignment:], 0x200)
	le.PutUint32(opt[optSizeOfImage:], 0x2000)
	le.PutUint32(opt[optSizeOfHeaders:], headers)
	le.PutUint32(opt[optCheckSum:], 0x1234)
	le.PutUint16(opt[optSubsystem:], subsystemEFI)
	le.PutUint32(opt[optDirectories:], 16)
	s := opt[240:]
	copy(s, ".text")
	le.PutUint32(s[8:], 0x123)
	le.PutUint32(s[12:], 0x1000)
	le.PutUint32(s[16:], 0x200)
	le.PutUint32(s[20:], headers)
	// Take away the room that is not wanted by moving the end of the headers.
	le.PutUint32(opt[optSizeOfHeaders:], uint32(pe+coffHeaderSize+240+sectionSize*(1+room)))
	return b
}

func TestParseHeader(t *testing.T) {
	got, err := parseHeader(stub(5))
	if err != nil {
		t.Fatal(err)
	}
	want := header{
		pe: 0x80, opt: 0x98, table: 0x188, sections: 1, sectionAlign: 0x1000, fileAlign: 0x200,
		headersEnd: 0x188 + 6*sectionSize, imageEnd: 0x1200,
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseHeaderRefuses(t *testing.T) {
	const pe = 0x80
	opt := pe + coffHeaderSize
	le := binary.LittleEndian
	tests := []struct {
		name   string
		damage func(b []byte) []byte
		want   string
	}{
		{"empty", func([]byte) []byte { return nil }, "no DOS header"},
		{"not MZ", func(b []byte) []byte { b[0] = 'X'; return b }, "no DOS header"},
		{"far header", func(b []byte) []byte { le.PutUint32(b[dosNewHeader:], 0xfffffff0); return b }, "outside of the file"},
		{"no PE", func(b []byte) []byte { b[pe] = 0; return b }, "no PE signature"},
		{"arm64", func(b []byte) []byte { le.PutUint16(b[pe+4:], 0xaa64); return b }, "not x86-64"},
		{"many sections", func(b []byte) []byte { le.PutUint16(b[pe+coffSections:], 0xffff); return b }, "cut off"},
		{"no optional header", func(b []byte) []byte { le.PutUint16(b[pe+coffOptSize:], 0); return b }, "cut off"},
		{"PE32", func(b []byte) []byte { le.PutUint16(b[opt:], 0x10b); return b }, "not PE32+"},
		{"Windows program", func(b []byte) []byte { le.PutUint16(b[opt+optSubsystem:], 3); return b }, "not an EFI application"},
		{"signed", func(b []byte) []byte { le.PutUint32(b[opt+optSecurity+4:], 8); return b }, "signed"},
		{"odd alignment", func(b []byte) []byte { le.PutUint32(b[opt+optFileAlignment:], 24); return b }, "alignment 24"},
		{"huge headers", func(b []byte) []byte { le.PutUint32(b[opt+optSizeOfHeaders:], 1<<30); return b }, "SizeOfHeaders"},
		{"section outside", func(b []byte) []byte { le.PutUint32(b[opt+240+20:], 1<<20); return b }, "section 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseHeader(tt.damage(stub(5)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// FuzzPlan feeds damaged stubs: Plan must refuse or give a layout whose stream
// has the promised size.
func FuzzPlan(f *testing.F) {
	f.Add(stub(5))
	f.Add(stub(0))
	if b, err := os.ReadFile("/usr/lib/systemd/boot/efi/linuxx64.efi.stub"); err == nil {
		f.Add(b[:0x400])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		img := sample()
		img.Stub = b
		l, err := Plan(img)
		if err != nil {
			return
		}
		if got := int64(len(readAll(t, l))); got != l.Size {
			t.Errorf("stream has %d bytes, layout says %d", got, l.Size)
		}
	})
}
