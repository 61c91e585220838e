package ownership

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"masthead/appliance/failover"
)

// The record's file holds two slots. A write goes to the one that is not in force, so that power may fail at any byte of
// it: the other one is still whole. The file never changes its size, so a write needs no change of the file system's own
// records.
//
// A slot: magic (8 bytes), sequence number (8, big endian), length of the JSON (4), JSON, SHA-256 of all before.
const (
	slotSize  = 4096 // what disks and page caches write at once, at most
	slotCount = 2
	slotMagic = "MHOWNER1"
	slotHead  = len(slotMagic) + 8 + 4
)

// errDamaged is a record's file of which no slot is whole.
var errDamaged = errors.New("no slot of the ownership record is whole")

// encodeSlot gives the bytes of a slot.
func encodeSlot(seq uint64, r failover.Record) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode the ownership record: %w", err)
	}
	if slotHead+len(body)+sha256.Size > slotSize {
		return nil, fmt.Errorf("encode the ownership record: %d bytes are too many", len(body))
	}
	slot := make([]byte, 0, slotSize)
	slot = append(slot, slotMagic...)
	slot = binary.BigEndian.AppendUint64(slot, seq)
	slot = binary.BigEndian.AppendUint32(slot, uint32(len(body)))
	slot = append(slot, body...)
	sum := sha256.Sum256(slot)
	slot = append(slot, sum[:]...)
	return slot[:slotSize], nil
}

// decodeSlot is its inverse; ok is false for a slot that is not whole.
func decodeSlot(slot []byte) (seq uint64, r failover.Record, ok bool) {
	if len(slot) < slotHead+sha256.Size || !bytes.HasPrefix(slot, []byte(slotMagic)) {
		return 0, failover.Record{}, false
	}
	seq = binary.BigEndian.Uint64(slot[len(slotMagic):])
	n := int(binary.BigEndian.Uint32(slot[len(slotMagic)+8:]))
	if n < 0 || n > len(slot)-slotHead-sha256.Size {
		return 0, failover.Record{}, false
	}
	sum := sha256.Sum256(slot[:slotHead+n])
	if !bytes.Equal(sum[:], slot[slotHead+n:slotHead+n+sha256.Size]) {
		return 0, failover.Record{}, false
	}
	if json.Unmarshal(slot[slotHead:slotHead+n], &r) != nil {
		return 0, failover.Record{}, false
	}
	return seq, r, true
}

// decodeSlots gives the record in force. A file that is all zeros is new, and holds the zero record.
func decodeSlots(data []byte) (seq uint64, r failover.Record, err error) {
	found := false
	for at := 0; at+slotSize <= len(data); at += slotSize {
		s, rec, ok := decodeSlot(data[at : at+slotSize])
		if ok && (!found || s > seq) {
			seq, r, found = s, rec, true
		}
	}
	if !found && len(bytes.Trim(data, "\x00")) > 0 {
		return 0, failover.Record{}, errDamaged
	}
	return seq, r, nil
}

// recordFile is the durable record of this head. It may be used from several goroutines.
type recordFile struct {
	mu     sync.Mutex // over file and seq, for as long as the disk takes
	file   *os.File
	seq    uint64
	record atomic.Pointer[failover.Record] // what the disk has
}

// openRecord opens or makes the record's file. A damaged one is set aside, never overwritten: damage says so, and the head
// starts with an empty memory, with which it claims nothing before others have told it their epoch.
func openRecord(path string) (f *recordFile, damage error, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, nil, fmt.Errorf("open the ownership record: %w", err)
	}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("open the ownership record: %w", err)
	}
	seq, record, damage := decodeSlots(data)
	if damage != nil {
		aside, err := setAside(path)
		if err != nil {
			return nil, nil, fmt.Errorf("open the ownership record: %w: %w", damage, err)
		}
		damage = fmt.Errorf("%w: kept as %s", damage, aside)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open the ownership record: %w", err)
	}
	if err := reserve(file); err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("open the ownership record: %w", err)
	}
	f = &recordFile{file: file, seq: seq}
	f.record.Store(&record)
	return f, damage, nil
}

// reserve gives the file its final size, with blocks on the disk where the file system can, so that a full disk cannot
// keep an owner from giving up.
func reserve(file *os.File) error {
	if err := unix.Fallocate(int(file.Fd()), 0, 0, slotCount*slotSize); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	if err := file.Truncate(slotCount * slotSize); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(file.Name()))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// setAside renames a file to the first free NAME.old.NN.
func setAside(path string) (string, error) {
	for n := range 100 {
		to := fmt.Sprintf("%s.old.%02d", path, n)
		if _, err := os.Lstat(to); errors.Is(err, os.ErrNotExist) {
			return to, os.Rename(path, to)
		}
	}
	return "", fmt.Errorf("%s.old.00 to .old.99 exist", path)
}

// Record is the record in force: what the disk has. It does not wait for a write under way.
func (f *recordFile) Record() failover.Record { return *f.record.Load() }

// Write puts a record on the disk. After an error the old one is in force, here and after a power cut, or the new one
// after a power cut alone: it is safe either way, since epochs only rise. It blocks for as long as the disk takes.
func (f *recordFile) Write(r failover.Record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.Record()
	if r == old {
		return nil
	}
	if r.Epoch < old.Epoch {
		return fmt.Errorf("write the ownership record: epoch %s is below %s, which this head knows", r.Epoch, old.Epoch)
	}
	slot, err := encodeSlot(f.seq+1, r)
	if err != nil {
		return err
	}
	if _, err := f.file.WriteAt(slot, int64((f.seq+1)%slotCount)*slotSize); err != nil {
		return fmt.Errorf("write the ownership record: %w", err)
	}
	if err := unix.Fdatasync(int(f.file.Fd())); err != nil {
		return fmt.Errorf("write the ownership record: %w", err)
	}
	f.seq++
	f.record.Store(&r)
	return nil
}

// Close waits for a write under way.
func (f *recordFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.Close()
}
