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
	metaFormat    = "format"
	formatVersion = "1"
)

const (
	// DefaultAuditKeep is the length of the audit log: years of what people do.
	DefaultAuditKeep = 10_000
	// tombstoneKeep is how long a deleted key is remembered. With a single head nobody else must hear of it; a week
	// keeps a key that was just deleted from coming back out of a damaged file.
	tombstoneKeep = 7 * 24 * time.Hour
)

// ErrInUse is a state that another process has open.
var ErrInUse = errors.New("in use by another process")

// Config says where a DB lives and who writes it.
type Config struct {
	Dir         string           // made if it is missing
	Head        string           // the name of this head
	Epoch       uint64           // of the owner; 0 is 1, a single head that owns itself
	AuditKeep   int              // 0 is DefaultAuditKeep
	ReserveSize int64            // bytes kept back for a full disk; 0 is 8 MiB
	Now         func() time.Time // nil is time.Now
}

var headName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}$`)

// DB is the Store of a single head. Changes that come while the disk syncs share the next sync.
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
	bolt    *bolt.DB
	hlc     HLC
	audited int   // entries in the audit log
	expired []Key // tombstones to forget with the next write
	retry   time.Time
	closed  bool

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
		err = createFile(d.path(), nil)
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
	records := salvage(data)
	moved, err := moveAside(d.path())
	if err != nil {
		return err
	}
	if err := createFile(d.path(), records); err != nil {
		// Back under its name, so that the next start finds it again and not an empty state.
		return errors.Join(fmt.Errorf("state: rebuild %s: %w", d.path(), err), os.Rename(moved, d.path()))
	}
	d.damage = &Damage{File: d.path(), Moved: moved, Reason: reason.Error(), Kept: len(records)}
	return nil
}

// createFile makes a state file that appears complete or not at all.
func createFile(path string, records []Record) error {
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
			meta, err := tx.CreateBucket([]byte(bucketMeta))
			if err != nil {
				return err
			}
			if err := meta.Put([]byte(metaFormat), []byte(formatVersion)); err != nil {
				return err
			}
			bucket, err := tx.CreateBucket([]byte(bucketRecords))
			if err != nil {
				return err
			}
			for _, r := range records {
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
	records, err := readRecords(data)
	if err != nil {
		return fmt.Errorf("state file %s: %w", d.path(), err)
	}
	d.audited, d.expired = 0, nil
	forget := d.conf.Now().Add(-tombstoneKeep)
	live := records[:0]
	for _, r := range records {
		d.hlc = max(d.hlc, r.Version.HLC)
		switch {
		case r.Key.Kind == KindAudit:
			d.audited++
		case r.Deleted && r.Version.HLC.Time().Before(forget):
			d.expired = append(d.expired, r.Key)
		default:
			live = append(live, r)
		}
	}
	changed := d.index.replace(live)
	if d.bolt, err = openBoltDB(d.path()); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	d.hub.publish(changed)
	return nil
}

// readRecords is all that a state file holds. Pure.
func readRecords(data []byte) ([]Record, error) {
	var records []Record
	format := ""
	err := walkBolt(data, func(bucket string, key, value []byte) error {
		switch bucket {
		case bucketMeta:
			if string(key) == metaFormat {
				format = string(value)
			}
		case bucketRecords:
			k, err := ParseKey(string(key))
			if err != nil {
				return fmt.Errorf("%w: %w", errRecord, err)
			}
			r, err := DecodeRecord(k, value)
			if err != nil {
				return err
			}
			records = append(records, r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if format == "" {
		return nil, damaged("it has no format")
	}
	if format != formatVersion {
		return nil, fmt.Errorf("format %q, this version of masthead reads %s", format, formatVersion)
	}
	return records, nil
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

// Watch implements Store.
func (d *DB) Watch(kinds ...Kind) *Watch { return d.hub.add(kinds) }

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
