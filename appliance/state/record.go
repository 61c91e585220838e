package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// Record is one version of one key.
type Record struct {
	Key     Key
	Value   json.RawMessage // canonical; shared: do not change it; nil in a tombstone
	Deleted bool            // a tombstone: the key was deleted, and every head must hear of it
	Version Version
	// Base is the newest version by each other head that the writer had seen under this key, by head. A write that is
	// neither in it nor by the same head was made without knowledge of this one.
	Base []Version
}

// knew reports whether the writer of r had seen version v of the key.
func (r Record) knew(v Version) bool {
	if v.Head == r.Version.Head {
		return v.Compare(r.Version) <= 0
	}
	for _, b := range r.Base {
		if b.Head == v.Head {
			return v.Compare(b) <= 0
		}
	}
	return false
}

// Decode reads the value of a record into a T.
func Decode[T any](r Record) (T, error) {
	var v T
	if err := json.Unmarshal(r.Value, &v); err != nil {
		return v, fmt.Errorf("state: value of %s: %w", r.Key, err)
	}
	return v, nil
}

// Merge chooses between two records of one key: the later write. Records of the same version differ only if something
// is badly wrong; then too all heads must choose alike.
func Merge(a, b Record) Record {
	c := a.Version.Compare(b.Version)
	if c == 0 {
		c = a.Hash().Compare(b.Hash())
	}
	if c < 0 {
		return b
	}
	return a
}

// The stored form of a record, on disk and between heads. bbolt does not checksum its pages, so each record carries its
// own check, over its key too: a flipped bit, and a value under another key, are found out, and a record is trustworthy
// wherever it is found.
//
//	0    format, 2
//	1    flags: 1 is a tombstone
//	2    version: epoch 8, HLC 8, length of the head's name 1, the name; all big endian
//	…    number of versions in Base, then these, by head (absent in format 1, of the time when heads were alone)
//	…    value, to the last 4 bytes
//	-4   CRC-32C of the key and all before
const (
	recordFormat    = 2
	recordFormatOld = 1
	recordTrailer   = 4
	versionFixed    = 17
	flagDeleted     = 1
)

// maxBase bounds Base. More heads never wrote one key; what is cut off could at worst be taken for a conflict.
const maxBase = 255

// maxValue is the longest value. The largest in use is a node with an inventory of a hundred disks, about 20 KiB.
const maxValue = 1 << 20

var errRecord = errors.New("damaged record")

func checksum(key Key, body []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum([]byte(key.String()), table), table, body)
}

// Encode gives the stored form.
func (r Record) Encode() []byte {
	out := make([]byte, 0, 3+(1+len(r.Base))*(versionFixed+16)+len(r.Value)+recordTrailer)
	flags := byte(0)
	if r.Deleted {
		flags = flagDeleted
	}
	out = r.Version.append(append(out, recordFormat, flags))
	out = append(out, byte(len(r.Base)))
	for _, b := range r.Base {
		out = b.append(out)
	}
	out = append(out, r.Value...)
	return binary.BigEndian.AppendUint32(out, checksum(r.Key, out))
}

func (v Version) append(out []byte) []byte {
	out = binary.BigEndian.AppendUint64(out, v.Epoch)
	out = binary.BigEndian.AppendUint64(out, uint64(v.HLC))
	return append(append(out, byte(len(v.Head))), v.Head...)
}

// cutVersion reads a version from the beginning of data.
func cutVersion(data []byte) (v Version, rest []byte, ok bool) {
	if len(data) < versionFixed || len(data) < versionFixed+int(data[16]) {
		return v, data, false
	}
	end := versionFixed + int(data[16])
	return Version{
		Epoch: binary.BigEndian.Uint64(data),
		HLC:   HLC(binary.BigEndian.Uint64(data[8:])),
		Head:  string(data[versionFixed:end]),
	}, data[end:], true
}

// cutBase reads Base. There is one spelling: by head, none twice, the writer not among them.
func cutBase(data []byte, writer string) (base []Version, rest []byte, ok bool) {
	if len(data) == 0 {
		return nil, data, false
	}
	n, rest := int(data[0]), data[1:]
	last := ""
	for range n {
		var v Version
		if v, rest, ok = cutVersion(rest); !ok || v.Head == writer || strings.Compare(v.Head, last) <= 0 {
			return nil, data, false
		}
		base, last = append(base, v), v.Head
	}
	return base, rest, true
}

// DecodeRecord is the inverse of Encode, and reads format 1 too. It copies what it keeps of data.
func DecodeRecord(key Key, data []byte) (Record, error) {
	fail := func(format string, args ...any) (Record, error) {
		return Record{}, fmt.Errorf("%w: %s: "+format, append([]any{errRecord, key}, args...)...)
	}
	if len(data) < 2+versionFixed+recordTrailer {
		return fail("%d bytes", len(data))
	}
	body, sum := data[:len(data)-recordTrailer], binary.BigEndian.Uint32(data[len(data)-recordTrailer:])
	if got := checksum(key, body); got != sum {
		return fail("checksum %08x, want %08x", got, sum)
	}
	format, flags := body[0], body[1]
	r := Record{Key: key, Deleted: flags&flagDeleted != 0}
	var ok bool
	r.Version, body, ok = cutVersion(body[2:])
	if ok && format == recordFormat {
		r.Base, body, ok = cutBase(body, r.Version.Head)
	}
	if !ok || (format != recordFormat && format != recordFormatOld) || flags&^flagDeleted != 0 {
		return fail("format %d, flags %x, %d bytes", format, flags, len(data))
	}
	if len(body) > 0 {
		r.Value = bytes.Clone(body)
	}
	if r.Deleted != (r.Value == nil) || len(r.Value) > maxValue || (r.Value != nil && !json.Valid(r.Value)) {
		return fail("tombstone %t with a value of %d bytes", r.Deleted, len(r.Value))
	}
	return r, key.Validate()
}
