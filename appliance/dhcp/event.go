package dhcp

import (
	"net/netip"
	"time"
)

// Kind says what an Event is about.
type Kind string

const (
	KindDiscover  Kind = "discover"  // a machine asked for an address
	KindOffer     Kind = "offer"     // we offered one, or a boot file in proxy mode
	KindRequest   Kind = "request"   // a machine wants an address confirmed
	KindAck       Kind = "ack"       // confirmed, and stored
	KindNak       Kind = "nak"       // refused: the machine has to start over
	KindInform    Kind = "inform"    // a machine with an address of its own was told the options
	KindDecline   Kind = "decline"   // a machine found its address in use
	KindRelease   Kind = "release"   // a machine gave its address back
	KindConflict  Kind = "conflict"  // an address of ours is used by somebody else
	KindExhausted Kind = "exhausted" // the pool is full: no answer was given
	KindFailed    Kind = "failed"    // we wanted to answer and could not
	KindIgnored   Kind = "ignored"   // not for us, or not sane
)

// An Event is one noteworthy step, kept by the head to explain why a machine did not boot.
type Event struct {
	Time      time.Time
	Kind      Kind
	MAC       MAC
	IP        netip.Addr
	Arch      string // "BIOS", "UEFI x64", … or empty when the client did not say
	UserClass string
	Detail    string // a sentence for a person; quoted where it repeats what a client sent
}
