package disk

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strings"
	"unicode/utf16"
)

// The GPT (UEFI 2.10, 5.3). It is encoded here rather than with go-diskfs, whose protective MBR wraps around on disks
// of more than 2 TiB, and whose reader believes the sizes that a damaged header states.
const (
	gptEntries    = 128
	gptEntrySize  = 128
	gptArraySize  = gptEntries * gptEntrySize
	gptHeaderSize = 92
	gptSignature  = "EFI PART"
	gptRevision   = 0x00010000
	gptNameLength = 36 // UTF-16 units

	mbrCode      = 440 // bytes of code in the boot sector; the disk's signature and the table follow
	mbrTable     = 446
	mbrSignature = 510
)

// DiskFile is what a disk is written through: a block device or an image file.
type DiskFile interface {
	io.WriterAt
}

func (t Table) sectors() int64 { return t.Disk / int64(t.Sector) }

// arraySectors is how many sectors an array of entries takes.
func (t Table) arraySectors() int64 { return (gptArraySize + int64(t.Sector) - 1) / int64(t.Sector) }

// usableEnd is where the backup copy begins, in bytes.
func (t Table) usableEnd() int64 { return (t.sectors() - 1 - t.arraySectors()) * int64(t.Sector) }

// Write writes both copies of the GPT and the protective MBR; the code in the boot sector stays as it is. The backup
// goes first, so that one of the two is whole at any time.
func (t Table) Write(w DiskFile) error {
	array, err := t.encodeArray()
	if err != nil {
		return fmt.Errorf("write the partition table: %w", err)
	}
	sector := int64(t.Sector)
	last := t.sectors() - 1
	for _, part := range []struct {
		what   string
		offset int64
		data   []byte
	}{
		{"backup entries", t.usableEnd(), array},
		{"backup header", last * sector, t.encodeHeader(array, last, 1, last-t.arraySectors())},
		{"entries", 2 * sector, array},
		{"header", sector, t.encodeHeader(array, 1, last, 2)},
		{"protective MBR", mbrCode, t.protectiveMBR()[mbrCode:]},
	} {
		if _, err := w.WriteAt(part.data, part.offset); err != nil {
			return fmt.Errorf("write the partition table: %s: %w", part.what, err)
		}
	}
	return nil
}

func (t Table) protectiveMBR() []byte {
	b := make([]byte, 512)
	p := b[mbrTable:]
	copy(p[1:], "\x00\x02\x00") // sector 1, the first after this one
	p[4] = 0xee
	copy(p[5:], "\xff\xff\xff") // beyond what cylinders can say
	binary.LittleEndian.PutUint32(p[8:], 1)
	binary.LittleEndian.PutUint32(p[12:], uint32(min(t.sectors()-1, math.MaxUint32)))
	b[mbrSignature], b[mbrSignature+1] = 0x55, 0xaa
	return b
}

func (t Table) encodeArray() ([]byte, error) {
	array := make([]byte, t.arraySectors()*int64(t.Sector))
	for _, p := range t.Partitions {
		if p.Number < 1 || p.Number > gptEntries {
			return nil, fmt.Errorf("partition %s has number %d", p.Name, p.Number)
		}
		b := array[(p.Number-1)*gptEntrySize:]
		kind, err := encodeGUID(p.Type)
		if err != nil {
			return nil, fmt.Errorf("partition %s: %w", p.Name, err)
		}
		id, err := encodeGUID(p.UUID)
		if err != nil {
			return nil, fmt.Errorf("partition %s: %w", p.Name, err)
		}
		name := utf16.Encode([]rune(p.Name))
		if len(name) > gptNameLength {
			return nil, fmt.Errorf("partition name %q is longer than %d characters", p.Name, gptNameLength)
		}
		copy(b, kind)
		copy(b[16:], id)
		first := p.First / int64(t.Sector)
		binary.LittleEndian.PutUint64(b[32:], uint64(first))
		binary.LittleEndian.PutUint64(b[40:], uint64(first+p.Size/int64(t.Sector)-1))
		for i, u := range name {
			binary.LittleEndian.PutUint16(b[56+2*i:], u)
		}
	}
	return array, nil
}

func (t Table) encodeHeader(array []byte, self, other, arrayAt int64) []byte {
	le := binary.LittleEndian
	b := make([]byte, t.Sector)
	copy(b, gptSignature)
	le.PutUint32(b[8:], gptRevision)
	le.PutUint32(b[12:], gptHeaderSize)
	le.PutUint64(b[24:], uint64(self))
	le.PutUint64(b[32:], uint64(other))
	le.PutUint64(b[40:], uint64(2+t.arraySectors()))
	le.PutUint64(b[48:], uint64(t.usableEnd()/int64(t.Sector)-1))
	if id, err := encodeGUID(t.GUID); err == nil {
		copy(b[56:], id)
	}
	le.PutUint64(b[72:], uint64(arrayAt))
	le.PutUint32(b[80:], gptEntries)
	le.PutUint32(b[84:], gptEntrySize)
	le.PutUint32(b[88:], crc32.ChecksumIEEE(array[:gptArraySize]))
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:gptHeaderSize]))
	return b
}

// ErrNoTable is a disk without a GPT, or with two damaged copies.
var ErrNoTable = errors.New("no partition table (GPT)")

// ReadTable reads the GPT of a disk of diskBytes with sectors of that size: the first copy, or the backup if that is
// damaged.
func ReadTable(r io.ReaderAt, diskBytes int64, sector int) (Table, error) {
	t := Table{Sector: sector, Disk: diskBytes}
	if sector < 512 || sector&(sector-1) != 0 || diskBytes < int64(sector)*(2*t.arraySectors()+4) {
		return Table{}, fmt.Errorf("read the partition table: a disk of %d bytes in sectors of %d: %w", diskBytes, sector, ErrNoTable)
	}
	var errs []error
	for _, at := range []int64{1, t.sectors() - 1} {
		found, err := t.read(r, at)
		if err == nil {
			return found, nil
		}
		errs = append(errs, fmt.Errorf("sector %d: %w", at, err))
	}
	return Table{}, fmt.Errorf("read the partition table: %w", errors.Join(errs...))
}

func (t Table) read(r io.ReaderAt, at int64) (Table, error) {
	le := binary.LittleEndian
	sector := int64(t.Sector)
	b := make([]byte, sector)
	if _, err := r.ReadAt(b, at*sector); err != nil {
		return Table{}, err
	}
	if !bytes.HasPrefix(b, []byte(gptSignature)) {
		return Table{}, ErrNoTable
	}
	sum := le.Uint32(b[16:])
	clear(b[16:20])
	if le.Uint32(b[12:]) != gptHeaderSize || crc32.ChecksumIEEE(b[:gptHeaderSize]) != sum {
		return Table{}, fmt.Errorf("damaged header: %w", ErrNoTable)
	}
	arrayAt := le.Uint64(b[72:])
	if le.Uint32(b[80:]) != gptEntries || le.Uint32(b[84:]) != gptEntrySize || arrayAt > uint64(t.sectors()-t.arraySectors()) {
		return Table{}, fmt.Errorf("entries of another size than ours: %w", ErrNoTable)
	}
	array := make([]byte, gptArraySize)
	if _, err := r.ReadAt(array, int64(arrayAt)*sector); err != nil {
		return Table{}, err
	}
	if crc32.ChecksumIEEE(array) != le.Uint32(b[88:]) {
		return Table{}, fmt.Errorf("damaged entries: %w", ErrNoTable)
	}
	t.GUID = decodeGUID(b[56:])
	for i := range gptEntries {
		p, ok, err := t.decodeEntry(i+1, array[i*gptEntrySize:(i+1)*gptEntrySize])
		if err != nil {
			return Table{}, err
		}
		if ok {
			t.Partitions = append(t.Partitions, p)
		}
	}
	return t, nil
}

func (t Table) decodeEntry(number int, b []byte) (Partition, bool, error) {
	if bytes.Equal(b[:16], make([]byte, 16)) {
		return Partition{}, false, nil
	}
	first, last := binary.LittleEndian.Uint64(b[32:]), binary.LittleEndian.Uint64(b[40:])
	if first > last || last >= uint64(t.sectors()) {
		return Partition{}, false, fmt.Errorf("partition %d is from sector %d to %d: %w", number, first, last, ErrNoTable)
	}
	var name []uint16
	for i := range gptNameLength {
		u := binary.LittleEndian.Uint16(b[56+2*i:])
		if u == 0 {
			break
		}
		name = append(name, u)
	}
	return Partition{
		Number: number, Name: string(utf16.Decode(name)), Type: decodeGUID(b), UUID: decodeGUID(b[16:]),
		First: int64(first) * int64(t.Sector), Size: int64(last-first+1) * int64(t.Sector),
	}, true, nil
}

// encodeGUID puts a GUID as UEFI stores it: the first three fields little endian (UEFI 2.10, appendix A).
func encodeGUID(s string) ([]byte, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return nil, fmt.Errorf("%q is not a GUID", s)
	}
	return swapGUID(b), nil
}

func decodeGUID(b []byte) string {
	b = swapGUID(b[:16])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func swapGUID(b []byte) []byte {
	return []byte{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}
}
