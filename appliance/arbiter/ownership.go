package arbiter

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"masthead/appliance/failover"
)

// Ownership is what heads with raft agree on.
type Ownership struct {
	Epoch    failover.Epoch `json:"epoch"` // the highest that was committed
	Owner    string         `json:"owner,omitempty"`
	Solo     time.Time      `json:"solo,omitzero"`
	DataUUID string         `json:"data_uuid,omitempty"`
	// Told is the epoch whose owner said Solo and DataUUID: a claim alone says nothing of the data.
	Told   failover.Epoch `json:"told,omitempty"`
	Voters uint32         `json:"voters,omitempty"` // version of the list of heads
}

// command is an entry of raft's log. One of the fields is set.
type command struct {
	Claim *claim `json:"claim,omitempty"`
	Facts *facts `json:"facts,omitempty"`
	// Seed is the first: what was true before there was raft.
	Seed *Ownership `json:"seed,omitempty"`
	// Voters is the version of the list of heads that the leader brings about from now on.
	Voters uint32 `json:"voters,omitempty"`
}

// claim makes a head the owner, of an epoch that is above all others and above Above.
type claim struct {
	Owner string         `json:"owner"`
	ID    int            `json:"id"`
	Above failover.Epoch `json:"above"`
}

// facts is what an owner tells about itself. If another epoch is committed it is too late.
type facts struct {
	Epoch    failover.Epoch `json:"epoch"`
	Solo     time.Time      `json:"solo,omitzero"`
	DataUUID string         `json:"data_uuid,omitempty"`
}

// after is the ownership after a command. It depends on nothing else, so that all heads come to the same.
//
// The epoch counts the claims in the order of the log, above what was known before there was one: with another arbiter, or
// from a head that a person promoted.
func (o Ownership) after(c command) Ownership {
	switch {
	case c.Seed != nil && o.Epoch == 0:
		o = *c.Seed
		o.Told = o.Epoch
	case c.Claim != nil && c.Claim.ID >= 0 && c.Claim.ID < failover.MaxHeads:
		o.Epoch = max(o.Epoch, c.Claim.Above).Next(c.Claim.ID)
		o.Owner = c.Claim.Owner
	case c.Facts != nil && c.Facts.Epoch == o.Epoch:
		o.Solo, o.DataUUID, o.Told = c.Facts.Solo, c.Facts.DataUUID, o.Epoch
	}
	o.Voters = max(o.Voters, c.Voters)
	return o
}

// machine is raft's state machine.
type machine struct {
	changed func() // must not block

	mu  sync.Mutex
	now Ownership
}

func (m *machine) ownership() Ownership {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Apply performs a committed command, and returns the Ownership after it, or an error.
func (m *machine) Apply(l *raft.Log) any {
	var c command
	if err := json.Unmarshal(l.Data, &c); err != nil {
		return fmt.Errorf("command %d: %w", l.Index, err) // the same on all heads: none does anything
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.after(c)
	m.changed()
	return m.now
}

// Snapshot copies the state.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) { return snapshot(m.ownership()), nil }

// Restore replaces the state.
func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	var o Ownership
	if err := json.NewDecoder(r).Decode(&o); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = o
	m.changed()
	return nil
}

type snapshot Ownership

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := json.NewEncoder(sink).Encode(Ownership(s)); err != nil {
		_ = sink.Cancel()
		return fmt.Errorf("snapshot: %w", err)
	}
	return sink.Close()
}

func (s snapshot) Release() {}
