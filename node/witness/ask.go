package witness

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// Port is where votes are asked for, in UDP.
const Port = 7948

// Holders is the number of heads that there can be; epoch%Holders is the only head that may use an epoch, as package
// failover numbers them.
const Holders = 16

// Kind is what a head asks.
type Kind uint8

const (
	Query   Kind = 1 + iota // how the voter stands; changes nothing
	Claim                   // a lease for a head that does not hold one now
	Renew                   // by a head that enough voters have granted the lease, to each of them: what it says is remembered
	Release                 // the head is done with that epoch for good
)

func (k Kind) String() string {
	if k >= Query && k <= Release {
		return [...]string{"query", "claim", "renew", "release"}[k-Query]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Ask is what a head sends to a voter.
type Ask struct {
	Cluster uint64 // Hash of its name
	Kind    Kind
	Holder  uint8 // id of the head that asks
	Epoch   uint64
	TTL     time.Duration
	Nonce   uint64 // comes back in the answer
	// Voter is the Boot that the voter gave in its last answer. Without the right one nothing is granted or learnt, so that
	// what was sent before a restart, and came late or again, means nothing to a voter that has forgotten.
	Voter  uint64
	Roster uint32 // the newest version of the list of voters that the head knows
	Facts  Facts
}

// Facts is what a voter remembers about an owner.
type Facts struct {
	Gen      uint64    // generation of the cluster
	Solo     time.Time // since when it has owned without the other head; zero: the other follows
	DataUUID [16]byte  // UUID of what the data engine says
}

// Reason says why an ask was refused.
type Reason uint8

const (
	NotRefused Reason = iota
	Restarted         // Ask.Voter is not the voter's Boot: ask again
	Abstains          // it may have granted a lease before it restarted
	Held              // another head has a lease
	OldEpoch          // a higher epoch is known, or this one was given back
	OldGen            // the cluster was recovered since
	BadAsk            // epoch of another head, another cluster, or a lease longer than voters give
)

var reasons = [...]string{"not refused", "restarted", "abstains", "held", "old epoch", "old generation", "bad ask"}

func (r Reason) String() string {
	if int(r) < len(reasons) {
		return reasons[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Answer is what a voter sends back.
type Answer struct {
	Nonce   uint64
	Boot    uint64 // random, chosen at each start of the voter
	Granted bool
	Reason  Reason
	// Epoch is the highest that was granted or renewed here; Holder has the lease of it for another Left, if that is not 0.
	// Where the voter abstains, Left is for how long.
	Epoch  uint64
	Holder uint8
	Left   time.Duration
	Roster uint32 // the newest version of the list of voters that the voter's own head knows; 0 from workers
	// Remembers: an owner has told its facts since the voter started. They are of epoch Owned.
	Remembers bool
	Owned     uint64
	Facts     Facts
}

// Hash makes a number from the name of a cluster, to tell clusters on one network apart.
func Hash(cluster string) uint64 {
	sum := sha256.Sum256([]byte(cluster))
	return binary.BigEndian.Uint64(sum[:])
}

// UUID makes 16 bytes of what a data engine calls the generation of its data. Empty is zero.
func UUID(s string) (id [16]byte) {
	if s != "" {
		sum := sha256.Sum256([]byte(s))
		copy(id[:], sum[:])
	}
	return id
}
