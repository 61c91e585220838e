package tftp

import (
	"net/netip"
	"time"
)

// Kind says how a request ended.
type Kind string

const (
	KindSent    Kind = "sent"    // the whole file, acknowledged
	KindProbed  Kind = "probed"  // the client wanted to know the size only, as PXE firmware does first
	KindMissing Kind = "missing" // there is no such file
	KindRefused Kind = "refused" // a name that we never gave, a write, or too much at a time
	KindFailed  Kind = "failed"  // broken off: by the client, by its silence, or by an error of ours
)

// An Event is one request that is over.
type Event struct {
	Time     time.Time // when it came
	Kind     Kind
	Client   netip.AddrPort // zero for a packet that was no request
	Name     string         // as the client asked for it, quoted where it does not print
	Bytes    int64
	Duration time.Duration
	Detail   string
}
