package netif

import "fmt"

// EventKind is what happened to a lease.
type EventKind string

// The kinds of events.
const (
	Renewed EventKind = "renewed" // Result has the new lease
	Moved   EventKind = "moved"   // the server gave another address: Result has it, and the old one stays as well
	Silent  EventKind = "silent"  // nobody answered: Err says what was tried
	NAK     EventKind = "nak"     // the server takes the lease back: Err has its word
	Expired EventKind = "expired" // the lease is over, the address stays
	NotSet  EventKind = "not set" // a lease came, and the kernel refused its address: Err
)

// Event is one thing that happened to a lease.
type Event struct {
	Kind   EventKind
	Result Result
	Err    error
}

// String says it in words.
func (e Event) String() string {
	at := e.Result.Link.Name + " " + e.Result.Prefix.String()
	switch e.Kind {
	case Renewed:
		return fmt.Sprintf("%s: lease renewed by %v", at, e.Result.Lease.Server)
	case Moved:
		return fmt.Sprintf("%s: a new address from %v; the old one stays until the machine boots again", at, e.Result.Lease.Server)
	case Expired:
		return at + ": lease expired, address kept since the root comes over it"
	}
	return fmt.Sprintf("%s: lease %s: %v", at, e.Kind, e.Err)
}
