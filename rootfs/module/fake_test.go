package module

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// fakeModule is a made-up module: what goes into the ELF file that object makes of it.
type fakeModule struct {
	info    []string // key=value
	exports []string
	imports []string
	crcs    bool // with __crc_ symbols, as CONFIG_MODVERSIONS makes
}

// object makes a relocatable ELF file with just the sections that depmod reads.
func (m fakeModule) object() []byte {
	le := binary.LittleEndian
	strtab, symtab := []byte{0}, make([]byte, 24)
	symbol := func(name string, section uint16) {
		sym := make([]byte, 24)
		le.PutUint32(sym, uint32(len(strtab)))
		sym[4] = 1 << 4 // global
		le.PutUint16(sym[6:], section)
		strtab = append(append(strtab, name...), 0)
		symtab = append(symtab, sym...)
	}
	for _, s := range m.imports {
		symbol(s, 0)
	}
	for _, s := range m.exports {
		symbol(s, 1)
		if m.crcs {
			symbol("__crc_"+s, 0xfff1)
		}
	}
	sections := []struct {
		name string
		kind uint32
		data []byte
		link uint32
		size uint64 // of an entry
	}{
		{},
		{name: ".modinfo", kind: 1, data: joined(m.info)},
		{name: "__ksymtab_strings", kind: 1, data: joined(m.exports)},
		{name: ".symtab", kind: 2, data: symtab, link: 4, size: 24},
		{name: ".strtab", kind: 3, data: strtab},
		{name: ".shstrtab", kind: 3},
	}
	names := []byte{0}
	var heads, body []byte
	for i := range sections {
		s := &sections[i]
		head := make([]byte, 64)
		if s.name != "" {
			le.PutUint32(head, uint32(len(names)))
			names = append(append(names, s.name...), 0)
		}
		if s.name == ".shstrtab" {
			s.data = names
		}
		le.PutUint32(head[4:], s.kind)
		le.PutUint64(head[24:], uint64(64+len(body)))
		le.PutUint64(head[32:], uint64(len(s.data)))
		le.PutUint32(head[40:], s.link)
		le.PutUint64(head[48:], 1)
		le.PutUint64(head[56:], s.size)
		body = append(body, s.data...)
		heads = append(heads, head...)
	}
	file := make([]byte, 64)
	copy(file, "\x7fELF\x02\x01\x01")
	le.PutUint16(file[16:], 1)  // relocatable
	le.PutUint16(file[18:], 62) // x86-64
	le.PutUint32(file[20:], 1)
	le.PutUint64(file[40:], uint64(64+len(body)))
	le.PutUint16(file[52:], 64)
	le.PutUint16(file[58:], 64)
	le.PutUint16(file[60:], uint16(len(sections)))
	le.PutUint16(file[62:], uint16(len(sections)-1))
	return append(append(file, body...), heads...)
}

func joined(list []string) []byte {
	if len(list) == 0 {
		return nil
	}
	return []byte(strings.Join(list, "\x00") + "\x00")
}

// packed compresses as the ending of a file name says.
func packed(t testing.TB, name string, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w interface {
		Write([]byte) (int, error)
		Close() error
	}
	var err error
	switch {
	case strings.HasSuffix(name, ".xz"):
		w, err = xz.NewWriter(&buf)
	case strings.HasSuffix(name, ".zst"):
		w, err = zstd.NewWriter(&buf)
	case strings.HasSuffix(name, ".gz"):
		w = gzip.NewWriter(&buf)
	default:
		return data
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// fakeTree is a module tree with every compression, soft dependencies, an alias of two modules and things built in.
func fakeTree(t testing.TB) fstest.MapFS {
	t.Helper()
	tree := fstest.MapFS{
		"modules.order":           {Data: []byte("kernel/net/nic.ko\nkernel/lib/ring.ko\nkernel/crypto/fast.ko\nkernel/crypto/slow.ko\n")},
		"modules.builtin":         {Data: []byte("kernel/fs/in-kernel.ko\n")},
		"modules.builtin.modinfo": {Data: []byte("in_kernel.license=GPL\x00in_kernel.alias=fs-inside\x00in_kernel.file=fs/in-kernel\x00")},
		"build/kernel/net/nic.ko": {Data: []byte("headers are not modules")},
		"kernel/README":           {Data: []byte("nor is this")},
	}
	for name, m := range map[string]fakeModule{
		"kernel/net/nic.ko.xz": {
			info:    []string{"license=GPL", "alias=pci:v00001AF4d00001000sv*", "alias=virtio:d1-x", "softdep=pre: crc32c post: after", "firmware=nic/fw.bin", "firmware=nic/none.bin"},
			imports: []string{"printk", "ring_add", "bus_register"},
		},
		"kernel/lib/ring.ko.zst":   {exports: []string{"ring_add", "ring_del"}, imports: []string{"bus_register"}, crcs: true},
		"kernel/lib/bus-core.ko":   {info: []string{"alias=char-major-10-200", "alias=devname:net/bus"}, exports: []string{"bus_register"}},
		"kernel/crypto/fast.ko.gz": {info: []string{"alias=crc32c", "alias=crypto-crc32c"}},
		"kernel/crypto/slow.ko":    {info: []string{"alias=crc32c", "weakdep=fast"}},
		"kernel/misc/after.ko":     {},
		"kernel/misc/lonely.ko":    {},
		"updates/lonely.ko":        {info: []string{"alias=newer"}},
	} {
		tree[name] = &fstest.MapFile{Data: packed(t, name, m.object())}
	}
	return tree
}
