package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// exportFormat is the first thing in the file, so that nobody mistakes another one for it.
const exportFormat = "masthead state 1"

// Export is a whole state as one file that a person can read and edit: all that exists, by key. What was deleted is
// left out.
type Export struct {
	Format  string         `json:"format"`
	Time    time.Time      `json:"time"`
	Head    string         `json:"head"`
	Root    Hash           `json:"root"`    // of the state that it was taken from
	Missing []string       `json:"missing"` // secrets that are not in the file; null: they all are
	Records []ExportRecord `json:"records"`
}

// ExportRecord is one record of it.
type ExportRecord struct {
	Key     string          `json:"key"`
	Version Version         `json:"version"`
	Value   json.RawMessage `json:"value"`
}

// Export takes down the state. Without secrets the file names those that it lacks. Writes under way meanwhile are in it
// or not; each Apply by itself may be in it in part.
func (d *DB) Export(secrets bool) (Export, error) {
	e := Export{Format: exportFormat, Time: d.conf.Now().UTC().Truncate(time.Second), Head: d.conf.Head, Root: d.Summary().Root, Records: []ExportRecord{}}
	if !secrets {
		e.Missing = []string{}
	}
	leaves := make([]int, LeafCount)
	for i := range leaves {
		leaves[i] = i
	}
	var keys []Key
	for _, s := range d.Stamps(leaves) {
		keys = append(keys, s.Key)
	}
	records, err := d.Records(keys)
	if err != nil {
		return Export{}, err
	}
	for _, r := range records {
		switch {
		case r.Deleted:
		case r.Key.Kind == KindSecret && !secrets:
			e.Missing = append(e.Missing, r.Key.String())
		default:
			e.Records = append(e.Records, ExportRecord{r.Key.String(), r.Version, r.Value})
		}
	}
	return e, nil
}

// Write writes the file.
func (e Export) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return fmt.Errorf("state: write an export: %w", err)
	}
	return nil
}

// ReadExport reads a file and checks all of it: every mistake is told, not the first alone.
func ReadExport(data []byte) (Export, error) {
	var e Export
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil {
		return Export{}, fmt.Errorf("it is no export of a state: %w", err)
	}
	if e.Format != exportFormat {
		return Export{}, fmt.Errorf("format %q, this version of masthead reads %q", e.Format, exportFormat)
	}
	if _, err := dec.Token(); err != io.EOF {
		return Export{}, errors.New("something follows after the end of the export")
	}
	var errs []error
	seen := map[string]bool{}
	for i, r := range e.Records {
		_, err := ParseKey(r.Key)
		if err == nil && seen[r.Key] {
			err = errors.New("it is there twice")
		}
		seen[r.Key] = true
		if err == nil {
			e.Records[i].Value, err = canonicalValue(r.Value)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("records[%d], %s: %w", i, r.Key, err))
		}
	}
	for i, name := range e.Missing {
		if k, err := ParseKey(name); err != nil || k.Kind != KindSecret {
			errs = append(errs, fmt.Errorf("missing[%d]: %q is not the key of a secret", i, name))
		}
	}
	if len(errs) > 0 {
		return Export{}, errors.Join(errs...)
	}
	return e, nil
}

// bound begin the keys that belong to the heads as they are now: which there are and were, how they find one another,
// who allocates what, and what happened here.
var bound = []string{
	string(KindAudit) + "/", string(KindHead) + "/", string(KindSlot) + "/",
	string(KindSecret) + "/gossip-keys", string(KindSecret) + "/shared-keys", string(KindSecret) + "/join-token/",
	string(KindSetting) + "/" + SettingHorizon, string(KindSetting) + "/removed-head/", string(KindSetting) + "/generation",
}

// Portable reports whether an import may change a key.
func (k Key) Portable() bool {
	return !slices.ContainsFunc(bound, func(prefix string) bool { return strings.HasPrefix(k.String(), prefix) })
}

// Import gives the changes that bring a state to what the file says, by key, each on condition that the key is as it is
// in now. What now has and the file has not stays, unless prune; a secret that the file leaves out stays in any case.
// Keys that are not Portable are left alone. Pure.
func (e Export) Import(now []Record, prune bool) (ops []Op, diffs []Diff) {
	have := map[Key]Record{}
	for _, r := range now {
		if !r.Deleted && r.Key.Portable() {
			have[r.Key] = r
		}
	}
	add := func(op Op, d Diff) {
		v := Version{}
		if d.Ours != nil {
			v = d.Ours.Version
		}
		ops, diffs = append(ops, op.At(v)), append(diffs, d)
	}
	there := map[Key]bool{}
	for _, name := range e.Missing {
		if k, err := ParseKey(name); err == nil {
			there[k] = true
		}
	}
	for _, r := range e.Records {
		k, err := ParseKey(r.Key)
		if err != nil || !k.Portable() {
			continue
		}
		there[k] = true
		d := Diff{Key: k, Theirs: &Record{Key: k, Value: r.Value, Version: r.Version}}
		if old, ok := have[k]; ok {
			if bytes.Equal(old.Value, r.Value) {
				continue
			}
			d.Ours = &old
		}
		add(Op{Key: k, Value: r.Value}, d)
	}
	if prune {
		for k, r := range have {
			if !there[k] {
				add(Op{Key: k}, Diff{Key: k, Ours: &r})
			}
		}
	}
	slices.SortFunc(ops, func(a, b Op) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	slices.SortFunc(diffs, func(a, b Diff) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return ops, diffs
}
