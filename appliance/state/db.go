package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// fileName is the state in its folder. Beside it lie lock and reserve.
const fileName = "state.db"

// Names of what is in the file.
const (
	bucketRecords = "records"
	bucketMeta    = "meta"
)

// DefaultAuditKeep is the length of the audit log: years of what people do. It must be the same on all heads.
const DefaultAuditKeep = 10_000

// ErrInUse is a state that another process has open.
var ErrInUse = errors.New("in use by another process")

// Config says where a DB lives and who writes it.
type Config struct {
	Dir         string           // made if it is missing
	Head        string           // the name of this head
	Epoch       uint64           // the least to write in; 0 is 1
	AuditKeep   int              // 0 is DefaultAuditKeep
	ReserveSize int64            // bytes kept back for a full disk; 0 is 8 MiB
	Now         func() time.Time // nil is time.Now
}

var headName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}$`)

// DB is the Store of this head alone, with what it takes to keep it the same on several. Changes that come while the disk syncs share the next sync.
type DB struct {
	conf    Config
	lock    *os.File
	reserve reserve
	damage  *Damage
	hub     hub
	index   *index
	queue   queue
	turn    chan struct{} // held by whoever writes; one token

	// Below is the writer's, who holds turn.
	bolt   *bolt.DB
	format string // of the file
	hlc    HLC
	epoch  uint64
	retry  time.Time
	closed bool

	complete atomic.Bool   // changed with turn held
	epochNow atomic.Uint64 // epoch, for readers
	readOnly atomic.Pointer[readOnlyError]
}

var _ Store = (*DB)(nil)

// Open opens the state in a folder. A damaged file is moved aside, and what is whole in it is taken over: Damage tells
// of it. A full disk is no error: the state is then read-only until there is room.
func Open(conf Config) (*DB, error) {
	if !headName.MatchString(conf.Head) {
		return nil, fmt.Errorf("state: head name %q: want a host name", conf.Head)
	}
	conf.Epoch = max(conf.Epoch, 1)
	if conf.AuditKeep == 0 {
		conf.AuditKeep = DefaultAuditKeep
	}
	if conf.ReserveSize == 0 {
		conf.ReserveSize = defaultReserve
	}
	if conf.Now == nil {
		conf.Now = time.Now
	}
	if err := os.MkdirAll(conf.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	d := &DB{
		conf:    conf,
		reserve: reserve{filepath.Join(conf.Dir, "reserve"), conf.ReserveSize},
		hub:     hub{watches: map[*Watch]bool{}},
		index:   newIndex(),
		turn:    make(chan struct{}, 1),
	}
	var err error
	if d.lock, err = lockFile(filepath.Join(conf.Dir, "lock")); err != nil {
		return nil, err
	}
	if err := d.start(); err != nil {
		d.lock.Close()
		return nil, err
	}
	return d, nil
}

func (d *DB) path() string { return filepath.Join(d.conf.Dir, fileName) }

func (d *DB) start() error {
	_, err := os.Stat(d.path())
	if errors.Is(err, fs.ErrNotExist) {
		err = createFile(d.path(), contents{})
	}
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	err = d.load()
	if errors.Is(err, errDamaged) || errors.Is(err, errRecord) {
		if err = d.rebuild(errors.Unwrap(err)); err == nil {
			err = d.load()
		}
	}
	if err != nil {
		return err
	}
	if err := d.reserve.take(); err != nil {
		d.setReadOnly(err)
	}
	return nil
}

// rebuild puts a new file with all whole records in the place of a damaged one.
func (d *DB) rebuild(reason error) error {
	data, err := os.ReadFile(d.path())
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	c := d.mend(salvage(data))
	moved, err := moveAside(d.path())
	if err != nil {
		return err
	}
	if err := createFile(d.path(), c); err != nil {
		// Back under its name, so that the next start finds it again and not an empty state.
		return errors.Join(fmt.Errorf("state: rebuild %s: %w", d.path(), err), os.Rename(moved, d.path()))
	}
	d.damage = &Damage{File: d.path(), Moved: moved, Reason: reason.Error(), Kept: len(c.records), Others: !c.complete}
	return nil
}

// mend makes a state of records that were found in a damaged file. What is missing is unknown. So it is complete only
// if there is nobody who could have more.
func (d *DB) mend(records []Record) contents {
	t := &draft{
		before: newIndex(), keep: d.conf.AuditKeep,
		set: map[Key]Record{}, gone: map[Key]Version{}, own: map[Key]bool{},
	}
	alone := len(records) > 0
	for _, r := range records {
		t.put(r, false)
		// What another head wrote tells of others too: the records of the heads may be what is missing.
		if r.Version.Head != d.conf.Head || r.Key.Kind == KindHead && r.Key.Name != d.conf.Head && !r.Deleted {
			alone = false
		}
	}
	return contents{meta: meta{complete: alone}, records: t.finish().writes}
}

// createFile makes a state file that appears complete or not at all.
func createFile(path string, c contents) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b, err := openBoltDB(tmp)
	if err != nil {
		return err
	}
	err = guard(func() error {
		return b.Update(func(tx *bolt.Tx) error {
			if _, err := tx.CreateBucket([]byte(bucketMeta)); err != nil {
				return err
			}
			c.format = formatVersion
			if err := c.meta.store(tx); err != nil {
				return err
			}
			bucket, err := tx.CreateBucket([]byte(bucketRecords))
			if err != nil {
				return err
			}
			for _, r := range c.records {
				if err := bucket.Put([]byte(r.Key.String()), r.Encode()); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err = errors.Join(err, b.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// load checks the file, reads it into the index and opens it for writing. The writer calls it again after a write that
// failed: what is on disk then is known by reading it only.
func (d *DB) load() error {
	data, err := os.ReadFile(d.path())
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	c, err := readContents(data)
	if err != nil {
		return fmt.Errorf("state file %s: %w", d.path(), err)
	}
	d.format = c.format
	d.complete.Store(c.complete)
	epoch := max(d.epoch, d.conf.Epoch, c.epoch)
	for _, r := range c.records {
		d.hlc, epoch = max(d.hlc, r.Version.HLC), max(epoch, r.Version.Epoch)
	}
	d.setEpoch(epoch)
	changed := d.index.replace(c.records)
	if d.bolt, err = openBoltDB(d.path()); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	d.hub.publish(changed, nil)
	return nil
}

func openBoltDB(path string) (b *bolt.DB, err error) {
	err = guard(func() error {
		b, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout: time.Second,
			// Not on disk: it is a fifth of each write, and a damaged one lets bbolt overwrite pages in use.
			NoFreelistSync: true,
			FreelistType:   bolt.FreelistMapType,
		})
		return err
	})
	return b, err
}

// Damage is what Open found, or nil.
func (d *DB) Damage() *Damage { return d.damage }

// Get implements Store.
func (d *DB) Get(k Key) (Record, error) { return d.index.get(k) }

// List implements Store.
func (d *DB) List(kind Kind, prefix string) []Record { return d.index.list(kind, prefix) }

// All gives every record but the audit entries, by key, tombstones too.
func (d *DB) All() []Record {
	records := d.index.all()
	byKey(records)
	return records
}

// Watch implements Store.
func (d *DB) Watch(kinds ...Kind) *Watch { return d.hub.add(kinds, false) }

// Follow is a Watch of what Apply writes on this head, audit entries too; not of what Merge takes over.
func (d *DB) Follow() *Watch { return d.hub.add(nil, true) }

// Audit implements Store.
func (d *DB) Audit(limit int) ([]AuditEntry, error) {
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	if d.bolt == nil {
		return nil, fmt.Errorf("state: read the audit log: %w", errors.Join(ErrClosed, d.ReadOnly()))
	}
	var entries []AuditEntry
	err := guard(func() error {
		return d.bolt.View(func(tx *bolt.Tx) error {
			c := tx.Bucket([]byte(bucketRecords)).Cursor()
			var v []byte
			k, _ := c.Seek([]byte(KindAudit + "0")) // "0" follows "/": just after the last entry
			if k == nil {
				k, v = c.Last()
			} else {
				k, v = c.Prev()
			}
			for ; k != nil && len(entries) < limit; k, v = c.Prev() {
				key, err := ParseKey(string(k))
				if err != nil || key.Kind != KindAudit {
					return nil
				}
				r, err := DecodeRecord(key, v)
				if err != nil {
					return err
				}
				e, err := Decode[AuditEntry](r)
				if err != nil {
					return err
				}
				entries = append(entries, e)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("state: read the audit log: %w", err)
	}
	return entries, nil
}

// Close waits for a write under way and closes the file.
func (d *DB) Close() error {
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	if d.closed {
		return nil
	}
	d.closed = true
	err := d.closeBolt()
	return errors.Join(err, d.lock.Close())
}

func (d *DB) closeBolt() error {
	if d.bolt == nil {
		return nil
	}
	b := d.bolt
	d.bolt = nil
	return guard(b.Close)
}

func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, fmt.Errorf("state in %s: %w", filepath.Dir(path), err)
	}
	return f, nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
