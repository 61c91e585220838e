package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
)

// Record is one version of one key.
type Record struct {
	Key     Key
	Value   json.RawMessage // canonical; shared: do not change it; nil in a tombstone
	Deleted bool            // a tombstone: the key was deleted, and every head must hear of it
	Version Version
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
		c = bytes.Compare(a.Encode(), b.Encode())
	}
	if c < 0 {
		return b
	}
	return a
}

// The stored form of a record. bbolt does not checksum its pages, so each record carries its own check, over its key
// too: a flipped bit, and a value under another key, are found out, and a record is trustworthy wherever it is found.
//
//	0    format, 1
//	1    flags: 1 is a tombstone
//	2    epoch, big endian
//	10   HLC, big endian
//	18   length of the head's name, then the name
//	…    value, to the last 4 bytes
//	-4   CRC-32C of the key and all before
const (
	recordFormat  = 1
	recordFixed   = 19
	recordTrailer = 4
	flagDeleted   = 1
)

// maxValue is the longest value. The largest in use is a node with an inventory of a hundred disks, about 20 KiB.
const maxValue = 1 << 20

var errRecord = errors.New("damaged record")

func checksum(key Key, body []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum([]byte(key.String()), table), table, body)
}

// Encode gives the stored form.
func (r Record) Encode() []byte {
	out := make([]byte, 0, recordFixed+len(r.Version.Head)+len(r.Value)+recordTrailer)
	flags := byte(0)
	if r.Deleted {
		flags = flagDeleted
	}
	out = append(out, recordFormat, flags)
	out = binary.BigEndian.AppendUint64(out, r.Version.Epoch)
	out = binary.BigEndian.AppendUint64(out, uint64(r.Version.HLC))
	out = append(out, byte(len(r.Version.Head)))
	out = append(out, r.Version.Head...)
	out = append(out, r.Value...)
	return binary.BigEndian.AppendUint32(out, checksum(r.Key, out))
}

// DecodeRecord is the inverse of Encode. It copies what it keeps of data.
func DecodeRecord(key Key, data []byte) (Record, error) {
	fail := func(format string, args ...any) (Record, error) {
		return Record{}, fmt.Errorf("%w: %s: "+format, append([]any{errRecord, key}, args...)...)
	}
	if len(data) < recordFixed+recordTrailer {
		return fail("%d bytes", len(data))
	}
	body, sum := data[:len(data)-recordTrailer], binary.BigEndian.Uint32(data[len(data)-recordTrailer:])
	if got := checksum(key, body); got != sum {
		return fail("checksum %08x, want %08x", got, sum)
	}
	headLen := int(body[18])
	if body[0] != recordFormat || body[1]&^flagDeleted != 0 || recordFixed+headLen > len(body) {
		return fail("format %d, flags %x, %d bytes", body[0], body[1], len(data))
	}
	r := Record{
		Key:     key,
		Deleted: body[1]&flagDeleted != 0,
		Version: Version{
			Epoch: binary.BigEndian.Uint64(body[2:]),
			HLC:   HLC(binary.BigEndian.Uint64(body[10:])),
			Head:  string(body[recordFixed : recordFixed+headLen]),
		},
	}
	if value := body[recordFixed+headLen:]; len(value) > 0 {
		r.Value = bytes.Clone(value)
	}
	if r.Deleted != (r.Value == nil) || len(r.Value) > maxValue || (r.Value != nil && !json.Valid(r.Value)) {
		return fail("tombstone %t with a value of %d bytes", r.Deleted, len(r.Value))
	}
	return r, key.Validate()
}
