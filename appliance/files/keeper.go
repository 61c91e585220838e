package files

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"masthead/images"
	"masthead/node/wire"
)

// Record is a file as the state has it. Version changes whenever somebody has decided about the file.
type Record struct {
	wire.FileRecord
	Version string
}

// Config says what a Keeper stands on.
type Config struct {
	Head    string
	Records func() map[string]Record // by path
	// Changed waits until a record may have changed, or for ctx.
	Changed func(ctx context.Context) error
	// Content opens what has a digest, verified while it is read, from another head if need be.
	Content   func(ctx context.Context, b images.Blob) (io.ReadCloser, error)
	Forbidden []string // folders that no file may be in
	Memory    string   // file that remembers what was put in place
	Boot      string   // identifies the present boot of the machine
	Root      string   // for tests: the folder that is /
	Every     time.Duration
	Event     func(text string, failed bool)
}

// DefaultEvery is how often it is looked for files that were changed by hand.
const DefaultEvery = 30 * time.Second

// Keeper puts files in place. Its methods may be called at once from anywhere.
type Keeper struct {
	conf Config

	looking sync.Mutex // held while files are looked at and written
	memory  memory
	told    map[string]string // by path: the difference that was an event

	mu      sync.Mutex
	differs []wire.FileDifference
}

// memory is what was put in place in the present boot: a root that is made anew at each boot starts over.
type memory struct {
	Boot   string            `json:"boot"`
	Placed map[string]string `json:"placed"` // by path: the version
}

// New makes a Keeper.
func New(conf Config) (*Keeper, error) {
	if conf.Records == nil || conf.Changed == nil || conf.Content == nil {
		return nil, errors.New("files: no state, or no contents")
	}
	if conf.Every == 0 {
		conf.Every = DefaultEvery
	}
	if conf.Event == nil {
		conf.Event = func(string, bool) {}
	}
	k := &Keeper{conf: conf, memory: memory{Boot: conf.Boot, Placed: map[string]string{}}, told: map[string]string{}}
	data, err := os.ReadFile(conf.Memory)
	if err == nil {
		var m memory
		if json.Unmarshal(data, &m) == nil && m.Boot == conf.Boot && m.Placed != nil { // a damaged one is as good as none
			k.memory = m
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("files: %w", err)
	}
	return k, nil
}

// Run keeps the files until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		wait := k.conf.Every
		if !k.Look(ctx, true) {
			wait = min(wait, retry)
		}
		next, cancel := context.WithTimeout(ctx, wait)
		_ = k.conf.Changed(next) // a change or the time: look again
		cancel()
	}
	return ctx.Err()
}

// retry is how soon a content that no head gave is asked for again.
const retry = 5 * time.Second

// Differs lists the files that were not as the state says when they were last looked at. It never waits.
func (k *Keeper) Differs() []wire.FileDifference {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.differs)
}

// action is what to do about a file.
type action int

const (
	keep   action = iota // it is right
	place                // put the state's version in its place
	save                 // the same, after keeping what is there as PATH.old.NN
	report               // somebody has changed it since: tell, and leave it
)

// decide says what to do about a file. placed: the state's version was put in place before, in the present boot. Pure.
func decide(l local, r wire.FileRecord, placed bool) action {
	switch {
	case len(differences(l, r.Now())) == 0:
		return keep
	case l.other != "" || placed:
		return report
	case !l.exists:
		return place
	case slices.ContainsFunc(r.Versions, func(v wire.FileVersion) bool { return v.Digest == l.digest }):
		return place
	}
	return save
}

// Look compares all files with the state and, if write is set, puts in place what has to be. It reports whether all
// that had to be written was.
func (k *Keeper) Look(ctx context.Context, write bool) bool {
	k.looking.Lock()
	defer k.looking.Unlock()
	records := k.conf.Records()
	var differs []wire.FileDifference
	done := true
	before := maps.Clone(k.memory.Placed)
	for _, path := range slices.Sorted(maps.Keys(records)) {
		d, ok := k.one(ctx, path, records[path], write)
		if d != nil {
			d.Head, d.Path = k.conf.Head, path
			differs = append(differs, *d)
		}
		done = done && ok
		k.tell(path, d)
	}
	maps.DeleteFunc(k.memory.Placed, func(path, _ string) bool { _, ok := records[path]; return !ok })
	maps.DeleteFunc(k.told, func(path, _ string) bool { _, ok := records[path]; return !ok })
	k.mu.Lock()
	k.differs = differs
	k.mu.Unlock()
	if !maps.Equal(before, k.memory.Placed) {
		data, err := json.Marshal(k.memory)
		if err == nil {
			err = renameio.WriteFile(k.conf.Memory, data, 0o600)
		}
		if err != nil {
			k.conf.Event(fmt.Sprintf("what was done with files is not remembered: %v", err), true)
		}
	}
	return done
}

// one looks after one file: what differs afterwards, and whether it could be written if it had to be.
func (k *Keeper) one(ctx context.Context, path string, r Record, write bool) (*wire.FileDifference, bool) {
	v := r.Now()
	fail := func(err error) (*wire.FileDifference, bool) {
		d := &wire.FileDifference{Reason: err.Error()}
		var t interface{ Try() string }
		if errors.As(err, &t) {
			d.Try = t.Try()
		}
		return d, false
	}
	// Another head may be of a version that allows more.
	err := errors.Join(CheckPath(path, k.conf.Forbidden), CheckVersion(path, v))
	if err == nil {
		err = k.checkParent(path)
	}
	if err != nil {
		return fail(err)
	}
	l, err := look(k.at(path))
	if err != nil {
		return fail(err)
	}
	diff := differences(l, v)
	switch a := decide(l, r.FileRecord, k.memory.Placed[path] == r.Version); {
	case a == keep:
		if write {
			k.memory.Placed[path] = r.Version
		}
		return nil, true
	case a == report:
		return &wire.FileDifference{Diff: diff, Reason: "it was changed here after it was put in place",
			Try: "masthead file add " + path + rights(l, diff) + " on that head keeps the change; masthead file restore " + path + " takes it back"}, true
	case !write:
		return &wire.FileDifference{Diff: diff, Reason: "it is about to be put in place"}, true
	default:
		kept := ""
		if a == save {
			if kept, err = aside(k.at(path), l.digest); err != nil {
				return fail(err)
			}
		}
		if err := k.place(ctx, path, v); err != nil {
			d, _ := fail(err)
			d.Diff = diff
			return d, false
		}
		k.memory.Placed[path] = r.Version
		text := fmt.Sprintf("%s: version of %s put in place", path, stamp(v.Time))
		if kept != "" {
			text += "; what was here is now " + path + kept[len(k.at(path)):]
		}
		k.conf.Event(text, false)
		return nil, true
	}
}

// tell makes an event of a difference that is new.
func (k *Keeper) tell(path string, d *wire.FileDifference) {
	if d == nil {
		delete(k.told, path)
		return
	}
	text := path + ": " + d.Reason
	for _, f := range d.Diff {
		text += fmt.Sprintf("; %s is %s, not %s", f.Field, f.New, f.Old)
	}
	if k.told[path] == text {
		return
	}
	k.told[path] = text
	if d.Try != "" {
		text += "; " + d.Try
	}
	k.conf.Event(text, true)
}

func (k *Keeper) at(path string) string { return filepath.Join("/", k.conf.Root, path) }
