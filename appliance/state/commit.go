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

// request is a change that waits for the writer.
type request struct {
	change func(*draft) error // an error is of this request alone, which then has changed nothing; may be called again
	frees  func() bool        // it makes the state smaller than it is now; asked with turn held; nil: never
	done   bool               // set by the writer; read with turn held
	seq    uint64             // of the commits of this head, after this one
	err    error
}

func (r *request) mayFree() bool { return r.frees != nil && r.frees() }

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

// Apply implements Store.
func (d *DB) Apply(ctx context.Context, o Origin, ops ...Op) (Ack, error) {
	var v Version
	r := &request{frees: func() bool {
		return !slices.ContainsFunc(ops, func(op Op) bool {
			return op.Value != nil && !d.index.shrinks(Record{Key: op.Key, Value: op.Value})
		})
	}}
	r.change = func(t *draft) (err error) {
		v, err = t.apply(o, ops)
		return err
	}
	if err := d.do(ctx, r); err != nil {
		return Ack{}, err
	}
	return Ack{Version: v, Seq: r.seq}, nil
}

// Merge takes over records of other heads, in one transaction. When it returns without error all that it counts as
// taken survives a power cut. It blocks as Apply does. Errors to tell apart: ErrReadOnly. If the disk is full, what makes
// the state smaller is taken nevertheless, and counted; the error then says that the rest was not.
func (d *DB) Merge(ctx context.Context, records []Record) (Merged, error) {
	m, err := d.mergeAll(ctx, records)
	if err == nil || !errors.Is(err, ErrReadOnly) || !noSpace(err) {
		return m, err
	}
	// A removal made elsewhere must come in between writes that have no room.
	part := slices.DeleteFunc(slices.Clone(records), func(r Record) bool { return !d.index.smaller(r) })
	if len(part) == 0 || len(part) == len(records) {
		return m, err
	}
	if freed, partErr := d.mergeAll(ctx, part); partErr == nil {
		m = freed
	}
	return m, err
}

func (d *DB) mergeAll(ctx context.Context, records []Record) (Merged, error) {
	var m Merged
	r := &request{frees: func() bool {
		// The entry of the audit log that comes with a removal is paid for by the reserve, as that of one made here.
		rest := slices.DeleteFunc(slices.Clone(records), func(r Record) bool { return r.Key.Kind == KindAudit })
		return len(rest) > 0 && !slices.ContainsFunc(rest, func(r Record) bool { return !d.index.smaller(r) })
	}}
	r.change = func(t *draft) (err error) {
		m, err = t.merge(records)
		return err
	}
	if err := d.do(ctx, r); err != nil {
		return Merged{}, err
	}
	return m, nil
}

// Drop forgets records that are here at exactly these versions, without a tombstone: they were deleted elsewhere before
// the horizon. Who watches hears of them as deleted.
func (d *DB) Drop(stamps []Stamp) error {
	return d.do(context.Background(), &request{frees: func() bool { return true }, change: func(t *draft) error {
		t.drop(stamps)
		return nil
	}})
}

// do has a request done. Whoever gets the turn writes for all who wait: while one transaction syncs, the next one
// gathers.
func (d *DB) do(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.queue.add(r)
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		if d.queue.remove(r) {
			return ctx.Err()
		}
		d.turn <- struct{}{} // it is being written: only its end tells what to answer
	}
	defer func() { <-d.turn }()
	if !r.done {
		d.commit(d.queue.takeAll())
	}
	return r.err
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
		// What makes the state smaller helps against a full disk, so it goes on, in the space that was kept back.
		allowed = nil
		for _, r := range batch {
			if d.bolt != nil && r.mayFree() {
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
		if r.err = d.ReadOnly(); noSpace(err) && d.bolt != nil && r.mayFree() {
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
		r.err = err
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

// write drafts and writes requests, and sets the outcome of each. An error is of the disk, and then none was written.
func (d *DB) write(batch []*request) error {
	t := d.draft()
	for _, r := range batch {
		r.err = r.change(t)
	}
	c := t.finish()
	d.hlc = t.hlc
	d.setEpoch(t.epoch)
	if len(c.writes)+len(c.drops) > 0 {
		err := guard(func() error { return d.bolt.Update(func(tx *bolt.Tx) error { return d.store(tx, c) }) })
		if err != nil {
			return fmt.Errorf("state: write %s: %w", d.path(), err)
		}
		d.format = formatVersion
		d.index.apply(c.writes, c.drops)
	}
	d.hub.publish(c.seen, c.own)
	for _, r := range batch {
		r.seq = d.hub.position()
	}
	return nil
}

// draft begins a change over what is there.
func (d *DB) draft() *draft {
	return &draft{
		before: d.index, head: d.conf.Head, keep: d.conf.AuditKeep, complete: d.complete.Load(), now: d.conf.Now(),
		hlc: d.hlc, epoch: d.epoch, horizon: d.index.horizon,
		set: map[Key]Record{}, gone: map[Key]Version{}, own: map[Key]bool{},
	}
}

// store brings a change into a transaction.
func (d *DB) store(tx *bolt.Tx, c change) error {
	if d.format != formatVersion { // from now on earlier versions of this program cannot read all of it
		m := meta{format: formatVersion, complete: d.complete.Load(), epoch: d.epoch}
		if err := m.store(tx); err != nil {
			return err
		}
	}
	b := tx.Bucket([]byte(bucketRecords))
	for _, w := range c.writes {
		if err := b.Put([]byte(w.Key.String()), w.Encode()); err != nil {
			return err
		}
	}
	for _, k := range c.drops {
		if err := b.Delete([]byte(k.String())); err != nil {
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
