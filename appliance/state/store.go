package state

import "context"

// Ack is the answer to an Apply that was done.
type Ack struct {
	Version  Version // of the records that changed; zero if none did
	Seq      uint64  // how far the commits of this head had come, counted since it started, with this one
	Degraded string  // not empty: done and durable here, but why no other head has it yet
}

// Store is the state as its users see it. All methods may be called at once from anywhere.
type Store interface {
	// Get gives a record that exists, or ErrNotFound.
	Get(k Key) (Record, error)
	// List gives the records of a kind whose names begin with prefix, by name. Audit entries are not listed.
	List(kind Kind, prefix string) []Record
	// Apply makes all changes or none. When it returns without error they survive a power cut. It blocks for as long
	// as the disk takes; a cancelled ctx ends the wait only before the write has begun. Errors to tell apart:
	// ErrConflict, ErrReadOnly.
	Apply(ctx context.Context, o Origin, ops ...Op) (Ack, error)
	// Watch follows the changes of some kinds, of all if none is given, from now on. The caller closes it.
	Watch(kinds ...Kind) *Watch
	// Audit gives the last entries of the audit log, the newest first.
	Audit(limit int) ([]AuditEntry, error)
	// ReadOnly is why writes are refused at the moment, or nil. It wraps ErrReadOnly.
	ReadOnly() error
}
