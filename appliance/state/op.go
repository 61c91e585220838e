package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Errors that callers tell apart.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("changed by somebody else meanwhile")
	ErrReadOnly = errors.New("the state is read-only")
	ErrClosed   = errors.New("the state is closed")
)

// Origin is who asks for a change, for the audit log.
type Origin struct {
	Who   string // admin, dhcp, a node's name
	Where string // an address, or local
}

// Op is one change of one key.
type Op struct {
	Key   Key
	Value json.RawMessage // nil deletes
	// Expect is the version that the key must have for the change to be made; zero: it must not exist (a tombstone is
	// not existing). Nil: whatever it has.
	Expect *Version
}

// Put sets a key to the JSON of v, whatever was there.
func Put(kind Kind, name string, v any) (Op, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return Op{}, fmt.Errorf("state: value of %s/%s: %w", kind, name, err)
	}
	return Op{Key: Key{kind, name}, Value: data}, nil
}

// Delete removes a key, whatever was there.
func Delete(kind Kind, name string) Op { return Op{Key: Key{kind, name}} }

// At makes an Op conditional on the version that the key has.
func (o Op) At(v Version) Op {
	o.Expect = &v
	return o
}

// MaxOps bounds one Apply: a change of every node of a large cluster, and not a mistake that fills the disk.
const MaxOps = 20_000

// plan turns ops into the records to write as version v. It reads the present through at and changes nothing. Ops
// that change nothing yield no record, but for those with an Expect: who counts versions gets a new one.
func plan(ops []Op, v Version, at func(Key) (Record, bool)) (writes []Record, old []Record, err error) {
	if len(ops) > MaxOps {
		return nil, nil, fmt.Errorf("state: %d changes at once, at most %d", len(ops), MaxOps)
	}
	seen := make(map[Key]bool, len(ops))
	for _, op := range ops {
		if err := op.Key.Validate(); err != nil {
			return nil, nil, fmt.Errorf("state: %w", err)
		}
		if op.Key.Kind == KindAudit {
			return nil, nil, fmt.Errorf("state: %s: the audit log is written by the state alone", op.Key)
		}
		if seen[op.Key] {
			return nil, nil, fmt.Errorf("state: %s changed twice at once", op.Key)
		}
		seen[op.Key] = true
		now, exists := at(op.Key)
		if now.Deleted {
			exists = false
		}
		if op.Expect != nil {
			want, have := *op.Expect, Version{}
			if exists {
				have = now.Version
			}
			if want != have {
				return nil, nil, fmt.Errorf("state: %s: %w", op.Key, ErrConflict)
			}
		}
		w := Record{Key: op.Key, Version: v, Deleted: op.Value == nil, Base: baseOver(now, v.Head)}
		if w.Deleted {
			if !exists {
				continue
			}
		} else {
			if w.Value, err = canonicalValue(op.Value); err != nil {
				return nil, nil, fmt.Errorf("state: %s: %w", op.Key, err)
			}
			if exists && op.Expect == nil && bytes.Equal(w.Value, now.Value) {
				continue
			}
		}
		writes, old = append(writes, w), append(old, now)
	}
	return writes, old, nil
}

// canonicalValue is Canonical for what shall be the value of a record.
func canonicalValue(data []byte) ([]byte, error) {
	value, err := Canonical(data)
	if err == nil && len(value) > maxValue {
		err = fmt.Errorf("%d bytes, at most %d", len(value), maxValue)
	}
	return value, err
}

// baseOver is the Base of what head writes over old, which may be a tombstone or nothing.
func baseOver(old Record, head string) []Version {
	var base []Version
	for _, v := range append(slices.Clip(old.Base), old.Version) {
		if v.Head != head && v.Head != "" {
			base = append(base, v)
		}
	}
	if len(base) > maxBase {
		slices.SortFunc(base, Version.Compare)
		base = base[len(base)-maxBase:]
	}
	slices.SortFunc(base, func(a, b Version) int { return strings.Compare(a.Head, b.Head) })
	return base
}
