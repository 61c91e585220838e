package blockdev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Signature is what says that something lies on a device.
type Signature struct {
	Kind  string `json:"kind"` // ext4, GPT, LVM, data
	Label string `json:"label,omitempty"`
}

func (s Signature) String() string {
	if s.Label == "" {
		return s.Kind
	}
	return s.Kind + " " + s.Label
}

const (
	// probed is how much is looked at, at each end: file systems, partition tables, RAID, LVM, DRBD leave their mark there.
	probed = 1 << 20

	kindData = "data" // nobody knows whose
)

// mark is where a kind has its magic. at counts from the end where it is negative.
type mark struct {
	kind  string
	at    int64
	magic string
	label func(head []byte) string // nil: it has none
}

// marks are those of libblkid (util-linux, libblkid/src/superblocks and src/partitions) that a server's disk may have.
var marks = []mark{
	{"GPT", 512, "EFI PART", nil},
	{"GPT", 4096, "EFI PART", nil},
	{"GPT", -512, "EFI PART", nil},
	{"ext2/3/4", 1024 + 0x38, "\x53\xef", field(1024+0x78, 16)},
	{"xfs", 0, "XFSB", field(108, 12)},
	{"btrfs", 0x10040, "_BHRfS_M", field(0x1012b, 256)},
	{"LVM physical volume", 512, "LABELONE", nil},
	{"LVM physical volume", 0, "LABELONE", nil},
	{"RAID member", 0, "\xfc\x4e\x2b\xa9", nil},    // mdraid 1.1
	{"RAID member", 4096, "\xfc\x4e\x2b\xa9", nil}, // mdraid 1.2
	{"LUKS", 0, "LUKS\xba\xbe", nil},
	{"swap", 4086, "SWAPSPACE2", field(1052, 16)},
	{"ISO 9660", 0x8001, "CD001", field(0x8028, 32)},
	{"FAT", 54, "FAT", field(43, 11)},
	{"FAT", 82, "FAT32", field(71, 11)},
	{"NTFS", 3, "NTFS    ", nil},
	{"exFAT", 3, "EXFAT   ", nil},
	{"EROFS", 1024, "\xe2\xe1\xf5\xe0", field(1024+64, 16)},
	{"squashfs", 0, "hsqs", nil},
	{"ZFS", 0x20000, "\x0c\xb1\xba\x00\x00\x00\x00\x00", nil},
	{"bcache", 4096 + 24, "\xc6\x85\x73\xf6", nil},
}

// field is a label of n bytes at most.
func field(at, n int) func([]byte) string {
	return func(head []byte) string {
		if at+n > len(head) {
			return ""
		}
		text, _, _ := bytes.Cut(head[at:at+n], []byte{0})
		return printable(string(text))
	}
}

// drbdMagic are those of its metadata, big endian, which lie in the last 4 KiB of the device (DRBD 8.4
// drbd/drbd_int.h, DRBD_MD_MAGIC + 3 and + 4, and 9).
var drbdMagic = []uint32{0x8374026a, 0x8374026b, 0x8374026c, 0x8374026d}

// Probe tells what lies on a device of that size. Nothing is found only where both of its ends are all zeros: what nobody
// knows is data.
func Probe(r io.ReaderAt, size int64) ([]Signature, error) {
	head, err := readPart(r, 0, min(probed, size))
	if err != nil {
		return nil, err
	}
	from := max(0, size-probed)
	tail, err := readPart(r, from, size-from)
	if err != nil {
		return nil, err
	}
	var found []Signature
	add := func(s Signature) {
		for _, f := range found {
			if f.Kind == s.Kind {
				return
			}
		}
		found = append(found, s)
	}
	for _, m := range marks {
		where, at := head, m.at
		if at < 0 {
			where, at = tail, int64(len(tail))+at
		}
		if at < 0 || at+int64(len(m.magic)) > int64(len(where)) || string(where[at:at+int64(len(m.magic))]) != m.magic {
			continue
		}
		s := Signature{Kind: m.kind}
		if m.label != nil {
			s.Label = m.label(head)
		}
		add(s)
	}
	if isDRBD(tail) {
		add(Signature{Kind: "DRBD"})
	}
	if len(tail) >= 64<<10 && size >= 128<<10 {
		// mdraid 0.90: 64 KiB from the end, rounded down to 64 KiB (include/uapi/linux/raid/md_p.h, MD_NEW_SIZE_SECTORS).
		at := (size&^(64<<10-1) - 64<<10) - from
		if at >= 0 && at+4 <= int64(len(tail)) && string(tail[at:at+4]) == "\xfc\x4e\x2b\xa9" {
			add(Signature{Kind: "RAID member"})
		}
	}
	if len(head) >= 512 && head[510] == 0x55 && head[511] == 0xaa && len(found) == 0 {
		add(Signature{Kind: "partition table (MBR)"})
	}
	if len(found) == 0 && (!zero(head) || !zero(tail)) {
		add(Signature{Kind: kindData})
	}
	return found, nil
}

// isDRBD looks for the metadata block in the last 4 KiB: the magic follows the size, the UUIDs and flags.
func isDRBD(tail []byte) bool {
	if len(tail) < 4096 {
		return false
	}
	block := tail[len(tail)-4096:]
	for at := 0; at+4 <= 256; at += 4 {
		v := binary.BigEndian.Uint32(block[at:])
		for _, m := range drbdMagic {
			if v == m {
				return true
			}
		}
	}
	return false
}

func readPart(r io.ReaderAt, at, n int64) ([]byte, error) {
	b := make([]byte, n)
	if _, err := r.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %d bytes at %d: %w", n, at, err)
	}
	return b, nil
}

func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// ProbeDevice is Probe of a device by its path.
func ProbeDevice(path string) ([]Signature, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", path, err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", path, err)
	}
	found, err := Probe(f, size)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", path, err)
	}
	return found, nil
}

// Describe is what was found, for people.
func Describe(found []Signature) string {
	if len(found) == 0 {
		return "nothing"
	}
	words := make([]string, len(found))
	for i, s := range found {
		words[i] = s.String()
	}
	return strings.Join(words, ", ")
}
