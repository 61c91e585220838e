package dhcp

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// State says what a lease's address is held for.
type State string

const (
	// Offered addresses are kept for the client until it asks for them; only in the memory of the head that offered.
	Offered State = "offered"
	// Bound addresses were acknowledged.
	Bound State = "bound"
	// Released addresses were given back; the record stays, so that the machine gets the same one again.
	Released State = "released"
	// Quarantined addresses were found in use by somebody who did not get them from us.
	Quarantined State = "quarantined"
)

// A Lease is what is known of one address.
type Lease struct {
	IP      netip.Addr
	MAC     MAC // zero when quarantined
	State   State
	Renewed time.Time // when this state was decided
	Expires time.Time

	ClientID string // option 61 in hex, as last seen
	UUID     string // option 97 in hex, in the order of the wire: SMBIOS's, with the first three fields little-endian
	Hostname string // what the client calls itself (option 12)
	Cause    MAC    // quarantined: who declined the address, or who answered for it
}

// Live tells whether the address is taken at that time.
func (l Lease) Live(at time.Time) bool { return l.Expires.After(at) }

// MayReplace is the rule that a Store applies to a commit of l when old is its record of the same address. It uses the
// time inside l and no clock, so that every replica of a log decides alike.
func (l Lease) MayReplace(old Lease) bool {
	if !old.Live(l.Renewed) || old.MAC == l.MAC {
		return true
	}
	return l.State == Quarantined && l.Cause == old.MAC
}

// ReclaimAfter is how long a lease must be over before its address goes to another machine: longer than the clocks of two
// heads may differ, each of which renews leases by its own.
const ReclaimAfter = time.Minute

// vacant tells whether nobody has leased the address since it was reserved for a machine that has another now.
func (l Lease) vacant() bool { return l.MAC == (MAC{}) && l.Cause == (MAC{}) && l.Expires.IsZero() }

// Over tells whether the address may go to another machine at that time.
func (l Lease) Over(at time.Time) bool { return at.Sub(l.Expires) > ReclaimAfter }

// ErrTaken is returned by Store.Commit when another machine holds the address.
var ErrTaken = errors.New("address is held by another machine")

// A Reservation is what an administrator decided about a machine.
type Reservation struct {
	IP       netip.Addr // zero: an address of the pool
	Hostname string     // option 12
}

// Registry knows the machines. Its methods answer from memory at once and may be called by many goroutines.
type Registry interface {
	Reservation(MAC) (Reservation, bool)
	// ReservedBy tells for whom an address is reserved, so that the pool leaves it alone.
	ReservedBy(netip.Addr) (MAC, bool)
	// Gives tells whether the address can be given at present to a machine that does not have it. It cannot where that is
	// another head's to do, and that head does not answer.
	Gives(netip.Addr) bool
	// Whole tells whether every head answers. What looks free here, another one may have given away; what looks as if it
	// had run out, it may have renewed.
	Whole() bool
}

// Leases are the records of addresses: at most one for an address and at most one for a MAC. An expired record is still
// returned; it lets a machine come back to its address. The methods answer from memory at once and may be called by many
// goroutines.
type Leases interface {
	LeaseByMAC(MAC) (Lease, bool)
	LeaseByIP(netip.Addr) (Lease, bool)
}

// Store keeps the leases.
type Store interface {
	Leases
	// Commit stores l in place of other records of its address and of its MAC (unless that is zero), as one step. It
	// returns ErrTaken when Lease.MayReplace forbids it. It blocks until the lease would survive a power cut; an
	// acknowledgement is sent only after it returned nil.
	Commit(ctx context.Context, l Lease) error
}

// View is all that a decision may look at.
type View interface {
	Registry
	Leases
}
