package arbiter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// logStore is raft's log and its few values (term, vote) in one bbolt file. Every write is on the disk when it returns: raft
// promises things to other heads on the strength of it. (hashicorp's own raft-boltdb does not build with raft v1.8.)
type logStore struct{ db *bbolt.DB }

var (
	bucketLogs   = []byte("logs")   // index, 8 bytes big-endian: entry
	bucketStable = []byte("stable") // key: value
)

// errNotFound has the text by which raft knows that a value was never set (raft.go, requestVote).
var errNotFound = errors.New("not found")

// openLogStore opens or makes the file. Another process that has it open makes it fail after a second.
func openLogStore(path string) (*logStore, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, NoFreelistSync: true})
	if err != nil {
		return nil, fmt.Errorf("raft log %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucketLogs)
		_, err2 := tx.CreateBucketIfNotExists(bucketStable)
		return errors.Join(err, err2)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("raft log %s: %w", path, err), db.Close())
	}
	return &logStore{db}, nil
}

func (s *logStore) Close() error { return s.db.Close() }

// FirstIndex is 0 where there is no entry.
func (s *logStore) FirstIndex() (uint64, error) { return s.end((*bbolt.Cursor).First) }

// LastIndex is 0 where there is no entry.
func (s *logStore) LastIndex() (uint64, error) { return s.end((*bbolt.Cursor).Last) }

func (s *logStore) end(which func(*bbolt.Cursor) ([]byte, []byte)) (index uint64, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		if k, _ := which(tx.Bucket(bucketLogs).Cursor()); k != nil {
			index = binary.BigEndian.Uint64(k)
		}
		return nil
	})
	return index, err
}

// GetLog reads one entry; raft.ErrLogNotFound where there is none.
func (s *logStore) GetLog(index uint64, into *raft.Log) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketLogs).Get(indexKey(index))
		if b == nil {
			return raft.ErrLogNotFound
		}
		entry, err := decodeEntry(b)
		if err != nil {
			return fmt.Errorf("raft log entry %d: %w", index, err)
		}
		entry.Index = index
		*into = entry
		return nil
	})
}

// StoreLog writes one entry.
func (s *logStore) StoreLog(entry *raft.Log) error { return s.StoreLogs([]*raft.Log{entry}) }

// StoreLogs writes all entries or none.
func (s *logStore) StoreLogs(entries []*raft.Log) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		logs := tx.Bucket(bucketLogs)
		for _, e := range entries {
			if err := logs.Put(indexKey(e.Index), encodeEntry(e)); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteRange removes the entries from min to max, both included.
func (s *logStore) DeleteRange(min, max uint64) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketLogs).Cursor()
		for k, _ := c.Seek(indexKey(min)); k != nil && binary.BigEndian.Uint64(k) <= max; k, _ = c.Next() {
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return nil
	})
}

// Set writes a value.
func (s *logStore) Set(key, value []byte) error {
	return s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketStable).Put(key, value) })
}

// Get reads a value.
func (s *logStore) Get(key []byte) (value []byte, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketStable).Get(key)
		if b == nil {
			return errNotFound
		}
		value = append([]byte{}, b...) // b is the database's
		return nil
	})
	return value, err
}

// SetUint64 writes a number.
func (s *logStore) SetUint64(key []byte, n uint64) error { return s.Set(key, indexKey(n)) }

// GetUint64 reads a number.
func (s *logStore) GetUint64(key []byte) (uint64, error) {
	b, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("raft value %q: %d bytes, want 8", key, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

func indexKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
