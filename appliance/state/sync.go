package state

import (
	"errors"
	"fmt"
	"os"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// Summary is the state in short, for other heads to compare with theirs.
type Summary struct {
	Root     Hash   `json:"root"` // of all records, tombstones and audit entries too
	Newest   HLC    `json:"newest"`
	Horizon  HLC    `json:"horizon"`
	Complete bool   `json:"complete"`
	Records  int    `json:"records"`
	Seq      uint64 `json:"seq"` // of this head's commits, since it started
	Epoch    uint64 `json:"epoch"`
}

// Summary gives the state in short. It hashes what changed since the last time.
func (d *DB) Summary() Summary {
	s := Summary{Complete: d.complete.Load(), Epoch: d.epochNow.Load(), Seq: d.hub.position()}
	b := d.index.brief() // after Seq: all up to that is in it
	s.Root, s.Newest, s.Horizon, s.Records = b.root, b.newest, b.horizon, b.records
	return s
}

// Mids gives the hashes below the root, Fanout of them.
func (d *DB) Mids() []Hash {
	x := d.index
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tree.settle()
	return slices.Clone(x.tree.mids[:])
}

// Leaves gives the hashes below a mid, Fanout of them; none if there is no such mid.
func (d *DB) Leaves(mid int) []Hash {
	if mid < 0 || mid >= Fanout {
		return nil
	}
	x := d.index
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tree.settle()
	return slices.Clone(x.tree.leaves[mid*Fanout : (mid+1)*Fanout])
}

// Stamps gives what is in leaves, by key. The number of a leaf is that of its mid times Fanout and its place there;
// others are passed over.
func (d *DB) Stamps(leaves []int) []Stamp {
	x := d.index
	x.mu.RLock()
	var found []Stamp
	for _, leaf := range leaves {
		if leaf >= 0 && leaf < LeafCount {
			found = append(found, x.tree.buckets[leaf]...)
		}
	}
	x.mu.RUnlock()
	sortStamps(found)
	return found
}

// Records gives the records of keys, in their order, tombstones and audit entries too. What is not here is left out.
// For audit entries it waits for a write under way.
func (d *DB) Records(keys []Key) ([]Record, error) {
	var audit []Key
	found := make(map[Key]Record, len(keys))
	for _, k := range keys {
		if k.Kind == KindAudit {
			audit = append(audit, k)
		} else if r, ok := d.index.lookup(k); ok {
			found[k] = r
		}
	}
	if err := d.readAudit(audit, found); err != nil {
		return nil, err
	}
	records := make([]Record, 0, len(found))
	for _, k := range keys {
		if r, ok := found[k]; ok {
			records = append(records, r)
		}
	}
	return records, nil
}

func (d *DB) readAudit(keys []Key, found map[Key]Record) error {
	if len(keys) == 0 {
		return nil
	}
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	if d.bolt == nil {
		return fmt.Errorf("state: read the audit log: %w", errors.Join(ErrClosed, d.ReadOnly()))
	}
	err := guard(func() error {
		return d.bolt.View(func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte(bucketRecords))
			for _, k := range keys {
				data := b.Get([]byte(k.String()))
				if data == nil {
					continue
				}
				r, err := DecodeRecord(k, data)
				if err != nil {
					return err
				}
				found[k] = r
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("state: read the audit log: %w", err)
	}
	return nil
}

// SetComplete notes, for good, that this head has had all that the others have: the first one of a cluster, or after
// the first full comparison with another.
func (d *DB) SetComplete() error {
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	if d.complete.Load() {
		return nil
	}
	if err := d.setMeta(meta{format: formatVersion, complete: true, epoch: d.epoch}); err != nil {
		return fmt.Errorf("state: note that it is complete: %w", err)
	}
	d.complete.Store(true)
	return nil
}

// SetEpoch makes later writes win over all of earlier epochs, whatever their clocks say. An epoch never goes down.
func (d *DB) SetEpoch(epoch uint64) error {
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	if epoch < d.epoch {
		return fmt.Errorf("state: epoch %d: it is %d already", epoch, d.epoch)
	}
	if epoch == d.epoch {
		return nil
	}
	if err := d.setMeta(meta{format: formatVersion, complete: d.complete.Load(), epoch: epoch}); err != nil {
		return fmt.Errorf("state: set epoch %d: %w", epoch, err)
	}
	d.setEpoch(epoch)
	return nil
}

// Epoch is the one that writes are made in: the newest that was set or seen in a record.
func (d *DB) Epoch() uint64 { return d.epochNow.Load() }

func (d *DB) setEpoch(epoch uint64) {
	d.epoch = epoch
	d.epochNow.Store(epoch)
}

func (d *DB) setMeta(m meta) error {
	if d.closed {
		return ErrClosed
	}
	if d.bolt == nil {
		return d.ReadOnly()
	}
	err := guard(func() error { return d.bolt.Update(m.store) })
	if err != nil {
		d.failed(err)
		return err
	}
	d.format = formatVersion
	return nil
}

// Reset begins anew with these records alone, incomplete, and gives the path that the file has now: for a head that
// joins another cluster, leaves its own or comes back after it was ejected. After a power cut it is the old state or
// the new one. The clock goes on. Who watches hears of what is gone as deleted.
func (d *DB) Reset(records ...Record) (moved string, err error) {
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	if d.closed {
		return "", ErrClosed
	}
	before := d.index.all()
	if moved, err = d.replaceFile(contents{meta: meta{epoch: d.epoch}, records: records}); err != nil {
		d.failed(err)
		return "", fmt.Errorf("state: reset: %w", err)
	}
	if err := d.load(); err != nil {
		d.setReadOnly(err)
		return moved, fmt.Errorf("state: reset: %w", err)
	}
	var gone []Record
	for _, r := range before {
		if _, ok := d.index.lookup(r.Key); !ok {
			gone = append(gone, Record{Key: r.Key, Deleted: true, Version: r.Version})
		}
	}
	d.hub.publish(gone, nil)
	return moved, nil
}

func (d *DB) replaceFile(c contents) (moved string, err error) {
	if err := d.closeBolt(); err != nil {
		return "", err
	}
	if moved, err = linkAside(d.path()); err != nil {
		return "", err
	}
	if err := createFile(d.path(), c); err != nil {
		return "", errors.Join(err, os.Remove(moved))
	}
	return moved, nil
}
