package state

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Records between heads: a batch is
//
//	0    format, 1
//	1    number of records, as a varint
//	…    each: length of the key, the key, length of the stored form, the stored form; lengths as varints
const batchFormat = 1

var errBatch = errors.New("damaged batch of records")

// EncodeBatch gives records in their stored form, for another head.
func EncodeBatch(records []Record) []byte {
	out := binary.AppendUvarint([]byte{batchFormat}, uint64(len(records)))
	for _, r := range records {
		key, data := r.Key.String(), r.Encode()
		out = append(binary.AppendUvarint(out, uint64(len(key))), key...)
		out = append(binary.AppendUvarint(out, uint64(len(data))), data...)
	}
	return out
}

// DecodeBatch is the inverse of EncodeBatch. It gives all records or an error, and copies what it keeps of data.
func DecodeBatch(data []byte) ([]Record, error) {
	if len(data) == 0 || data[0] != batchFormat {
		return nil, fmt.Errorf("state: %w: unknown format", errBatch)
	}
	count, rest, ok := cutUvarint(data[1:])
	if !ok || count > uint64(len(rest)) { // a record is longer than a byte: no allocation by what a stranger says
		return nil, fmt.Errorf("state: %w: it is too short", errBatch)
	}
	records := make([]Record, 0, count)
	for i := range count {
		var name, body []byte
		if name, rest, ok = cutBytes(rest); ok {
			body, rest, ok = cutBytes(rest)
		}
		if !ok {
			return nil, fmt.Errorf("state: %w: record %d of %d is cut off", errBatch, i+1, count)
		}
		key, err := ParseKey(string(name))
		if err != nil {
			return nil, fmt.Errorf("state: %w: record %d of %d: %w", errBatch, i+1, count, err)
		}
		r, err := DecodeRecord(key, body)
		if err != nil {
			return nil, fmt.Errorf("state: %w: record %d of %d: %w", errBatch, i+1, count, err)
		}
		records = append(records, r)
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("state: %w: %d bytes after its end", errBatch, len(rest))
	}
	return records, nil
}

func cutUvarint(data []byte) (n uint64, rest []byte, ok bool) {
	n, size := binary.Uvarint(data)
	if size <= 0 {
		return 0, data, false
	}
	return n, data[size:], true
}

func cutBytes(data []byte) (b, rest []byte, ok bool) {
	n, rest, ok := cutUvarint(data)
	if !ok || n > uint64(len(rest)) {
		return nil, data, false
	}
	return rest[:n], rest[n:], true
}
