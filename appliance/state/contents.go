package state

import (
	"errors"
	"fmt"
	"strconv"

	bolt "go.etcd.io/bbolt"
)

// formatVersion is that of the whole file. Format 1, of the time when heads were alone, is read as well, and becomes
// the present one with the next write.
const (
	formatVersion = "2"
	formatOld     = "1"
)

// Keys of the bucket meta.
const (
	metaFormat   = "format"
	metaComplete = "complete"
	metaEpoch    = "epoch"
)

// meta is what the file says beside the records. It is of this head alone and not replicated.
type meta struct {
	format   string
	complete bool
	epoch    uint64
}

func (m meta) store(tx *bolt.Tx) error {
	b := tx.Bucket([]byte(bucketMeta))
	return errors.Join(
		b.Put([]byte(metaFormat), []byte(m.format)),
		b.Put([]byte(metaComplete), strconv.AppendBool(nil, m.complete)),
		b.Put([]byte(metaEpoch), strconv.AppendUint(nil, m.epoch, 10)),
	)
}

// contents is all that a state file holds.
type contents struct {
	meta
	records []Record
}

// readContents reads a file. Pure.
func readContents(data []byte) (contents, error) {
	var c contents
	err := walkBolt(data, func(bucket string, key, value []byte) error {
		switch bucket {
		case bucketMeta:
			return c.readMeta(string(key), string(value))
		case bucketRecords:
			k, err := ParseKey(string(key))
			if err != nil {
				return fmt.Errorf("%w: %w", errRecord, err)
			}
			r, err := DecodeRecord(k, value)
			if err != nil {
				return err
			}
			c.records = append(c.records, r)
		}
		return nil
	})
	if err != nil {
		return contents{}, err
	}
	switch c.format {
	case formatVersion:
	case formatOld:
		c.complete = true // it was alone
	case "":
		return contents{}, damaged("it has no format")
	default:
		return contents{}, fmt.Errorf("format %q, this version of masthead reads %s and %s", c.format, formatOld, formatVersion)
	}
	return c, nil
}

func (c *contents) readMeta(key, value string) (err error) {
	switch key {
	case metaFormat:
		c.format = value
	case metaComplete:
		c.complete, err = strconv.ParseBool(value)
	case metaEpoch:
		c.epoch, err = strconv.ParseUint(value, 10, 64)
	}
	if err != nil {
		return damaged("meta %s: %q", key, value)
	}
	return nil
}
