package state

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// retryEvery is how often a state that cannot be written tries again, at most: each try reads the whole file.
const retryEvery = time.Second

// request is one Apply that waits.
type request struct {
	origin Origin
	ops    []Op
	done   bool // set by the writer; read with turn held
	ack    Ack
	err    error
}

func (r *request) onlyDeletes() bool {
	return !slices.ContainsFunc(r.ops, func(op Op) bool { return op.Value != nil })
}

// queue holds the requests that no writer has taken yet.
type queue struct {
	mu      sync.Mutex
	waiting []*request
}

func (q *queue) add(r *request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, r)
}

func (q *queue) takeAll() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.waiting
	q.waiting = nil
	return all
}

// remove takes one back; false if a writer has it.
func (q *queue) remove(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, r)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// readOnlyError is why the state takes no writes.
type readOnlyError struct{ reason error }

func (e *readOnlyError) Error() string {
	if noSpace(e.reason) {
		return fmt.Sprintf("%v: the disk is full (%v)", ErrReadOnly, e.reason)
	}
	return fmt.Sprintf("%v: %v", ErrReadOnly, e.reason)
}

func (e *readOnlyError) Unwrap() []error { return []error{ErrReadOnly, e.reason} }

// Try says what helps.
func (e *readOnlyError) Try() string {
	if noSpace(e.reason) {
		return "make room on the disk of the state, for example `masthead image rm NAME`; writing goes on by itself"
	}
	return "check the disk of the state (dmesg, smartctl); writing goes on by itself when it works again"
}

// ReadOnly implements Store.
func (d *DB) ReadOnly() error {
	if e := d.readOnly.Load(); e != nil {
		return e
	}
	return nil
}

func (d *DB) setReadOnly(reason error) { d.readOnly.Store(&readOnlyError{reason}) }

// Apply implements Store. Whoever gets the turn writes for all who wait: while one transaction syncs, the next one
// gathers.
func (d *DB) Apply(ctx context.Context, o Origin, ops ...Op) (Ack, error) {
	if err := ctx.Err(); err != nil {
		return Ack{}, err
	}
	r := &request{origin: o, ops: ops}
	d.queue.add(r)
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		if d.queue.remove(r) {
			return Ack{}, ctx.Err()
		}
		d.turn <- struct{}{} // it is being written: only its end tells what to answer
	}
	defer func() { <-d.turn }()
	if !r.done {
		d.commit(d.queue.takeAll())
	}
	return r.ack, r.err
}

// commit does all requests of a batch, each of which succeeds or fails by itself, in one transaction.
func (d *DB) commit(batch []*request) {
	defer func() {
		for _, r := range batch {
			r.done = true
		}
	}()
	if d.closed {
		fail(batch, ErrClosed)
		return
	}
	d.recover()
	allowed := batch
	if err := d.ReadOnly(); err != nil {
		// Deleting is what helps against a full disk, so it goes on, in the space that was kept back.
		allowed = nil
		for _, r := range batch {
			if r.onlyDeletes() && d.bolt != nil {
				allowed = append(allowed, r)
			} else {
				r.err = err
			}
		}
	}
	err := d.write(allowed)
	if err == nil {
		return
	}
	d.failed(err)
	var deletes []*request
	for _, r := range allowed {
		if r.err = d.ReadOnly(); noSpace(err) && r.onlyDeletes() && d.bolt != nil {
			deletes = append(deletes, r)
		}
	}
	if err := d.write(deletes); err != nil {
		d.failed(err)
		fail(deletes, d.ReadOnly())
	}
}

func fail(batch []*request, err error) {
	for _, r := range batch {
		r.ack, r.err = Ack{}, err
	}
}

// failed notes a write that went wrong. What of it reached the disk is unknown, so the file is read anew.
func (d *DB) failed(err error) {
	d.setReadOnly(err)
	d.retry = d.conf.Now().Add(retryEvery)
	if noSpace(err) {
		d.reserve.release() // if that fails too, the disk stays full, which ReadOnly says already
	}
	if err := errors.Join(d.closeBolt(), d.load()); err != nil {
		d.setReadOnly(err)
	}
}

// recover tries to write again when the state is read-only.
func (d *DB) recover() {
	if d.ReadOnly() == nil || d.conf.Now().Before(d.retry) {
		return
	}
	d.retry = d.conf.Now().Add(retryEvery)
	if err := d.reserve.take(); err != nil {
		d.setReadOnly(err)
		return
	}
	if d.bolt == nil {
		if err := d.load(); err != nil {
			d.setReadOnly(err)
			return
		}
	}
	d.readOnly.Store(nil)
}

// write plans and writes requests, and sets the outcome of each. An error is of the disk, and then none was written.
func (d *DB) write(batch []*request) error {
	var writes []Record
	overlay := map[Key]Record{} // what earlier requests of the batch write
	at := func(k Key) (Record, bool) {
		if r, ok := overlay[k]; ok {
			return r, true
		}
		return d.index.lookup(k)
	}
	entries := 0
	for _, r := range batch {
		d.hlc = d.hlc.Tick(d.conf.Now())
		v := Version{Epoch: d.conf.Epoch, HLC: d.hlc, Head: d.conf.Head}
		news, olds, err := plan(r.ops, v, at)
		r.ack, r.err = Ack{}, err
		if err != nil || len(news) == 0 {
			continue
		}
		entry, audited, err := auditRecord(r.origin, v, news, olds)
		if err != nil {
			r.err = err
			continue
		}
		r.ack = Ack{Version: v}
		for _, w := range news {
			overlay[w.Key] = w
		}
		writes = append(writes, news...)
		if audited {
			writes = append(writes, entry)
			entries++
		}
	}
	if len(writes) == 0 {
		return nil
	}
	trim := max(0, d.audited+entries-d.conf.AuditKeep)
	err := guard(func() error { return d.bolt.Update(func(tx *bolt.Tx) error { return d.store(tx, writes, trim) }) })
	if err != nil {
		return fmt.Errorf("state: write %s: %w", d.path(), err)
	}
	d.audited += entries - trim
	d.expired = nil
	d.index.set(writes)
	d.hub.publish(writes)
	return nil
}

// store puts records in a transaction, the oldest trim audit entries and forgotten tombstones out of it.
func (d *DB) store(tx *bolt.Tx, writes []Record, trim int) error {
	b := tx.Bucket([]byte(bucketRecords))
	for _, w := range writes {
		if err := b.Put([]byte(w.Key.String()), w.Encode()); err != nil {
			return err
		}
	}
	for _, k := range d.expired {
		key := []byte(k.String())
		// It may have been written again, just above.
		if r, err := DecodeRecord(k, b.Get(key)); err == nil && r.Deleted {
			if err := b.Delete(key); err != nil {
				return err
			}
		}
	}
	for range trim {
		k, _ := b.Cursor().Seek([]byte(KindAudit + "/"))
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// guard runs f, which uses bbolt, and turns its panics into errors: also the fault that a bad sector under its memory
// map raises (a SIGBUS, which would otherwise end the process).
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	return f()
}
