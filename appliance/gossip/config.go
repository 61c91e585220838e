package gossip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"masthead/appliance/state"
)

// Protocol is what heads say to one another. Heads of different numbers do not exchange records.
const Protocol = 1

// Peer is another configured head.
type Peer struct {
	Name    string
	Address netip.Addr
	Gossip  uint16 // port of the membership protocol, TCP and UDP
	URL     string // of its API, without a path
}

// Config says who this head is and how it reaches the others.
type Config struct {
	Name    string // of this head, as in its versions
	Version string // of this program, for people
	DB      *state.DB
	// Clock is what DB has as Now. Nil: there is one, but what DB writes is then not kept from a clock that was set.
	Clock *Clock
	// Peers are the configured heads but this one. It is asked every second and must not block.
	Peers func() []Peer
	// Client speaks to the head of that name and to nobody else.
	Client func(name string) *http.Client
	// Keys of the membership protocol, 16, 24 or 32 bytes each: the first encrypts, all decrypt. It is asked every
	// second, so that keys are changed while running. While there is none the membership protocol is off.
	Keys  func() [][]byte
	Label string     // of the cluster: packets of others are dropped before they are decrypted
	Bind  netip.Addr // where the membership protocol listens, and the address that it tells; invalid: it is off
	Port  uint16     // of it, TCP and UDP
	Log   *slog.Logger
	// Event tells people what happened between heads. Nil is nobody. It must not block.
	Event  func(text string, failed bool)
	Timing Timing // zero fields are those of DefaultTiming
}

// Timing is how often and how long.
type Timing struct {
	Digest    time.Duration // between digests to each head
	DigestMin time.Duration // between two digests because of changes
	Settle    time.Duration // that two roots must differ before a walk
	Walk      time.Duration // between two walks with one head
	WalkMax   time.Duration // between two walks that moved nothing
	WalkVain  time.Duration // the same where nothing changes that could make another one move something
	Ack       time.Duration // for another head's word that it has a write
	Push      time.Duration // for one push
	Call      time.Duration // for any other call
	Retry     time.Duration // of a push that failed, at first
	RetryMax  time.Duration // of one that failed often
	Probe     time.Duration // between two looks at another head's clock
	ProbeDark time.Duration // the same for a head whose digests do not come
	Alive     time.Duration // without a word, and a head counts as gone
	Rejoin    time.Duration // between two attempts to find a head that is no member
	// HorizonAge is the youngest that a tombstone is forgotten, HorizonEvery the time between two times of forgetting.
	HorizonAge, HorizonEvery time.Duration
}

// DefaultTiming is for heads on one local network.
func DefaultTiming() Timing {
	return Timing{
		Digest:    time.Second,
		DigestMin: 100 * time.Millisecond, // a burst of writes is a few packets
		Settle:    250 * time.Millisecond, // pushes are under way for milliseconds, a slow disk syncs within 100
		Walk:      time.Second,            // under load roots differ whenever one looks; a walk takes about 10 ms
		WalkMax:   3 * time.Second,        // a clock that is wrong is not set within seconds; once it is, all are equal within 5
		WalkVain:  30 * time.Second,       // an hour of records from a clock that was an hour ahead is no hour of walks
		Ack:       time.Second,            // what a person at a prompt hardly notices
		Push:      time.Second,
		Call:      2 * time.Second, // 4 MiB at 100 Mbit/s take 0.4 s
		Retry:     50 * time.Millisecond,
		RetryMax:  time.Second,
		Probe:     5 * time.Second, // a quartz drifts by less than 1 ms in that time
		ProbeDark: time.Second,
		Alive:     3500 * time.Millisecond, // three digests lost, and half a second
		Rejoin:    5 * time.Second,
		// A tombstone costs about 200 bytes of memory. An hour is longer than a restart of all heads one by one.
		HorizonAge:   time.Hour,
		HorizonEvery: 6 * time.Hour,
	}
}

func (t Timing) withDefaults() Timing {
	d := DefaultTiming()
	for _, f := range []struct{ have, want *time.Duration }{
		{&t.Digest, &d.Digest}, {&t.DigestMin, &d.DigestMin}, {&t.Settle, &d.Settle}, {&t.Walk, &d.Walk},
		{&t.WalkMax, &d.WalkMax}, {&t.WalkVain, &d.WalkVain}, {&t.Ack, &d.Ack}, {&t.Push, &d.Push}, {&t.Call, &d.Call}, {&t.Retry, &d.Retry},
		{&t.RetryMax, &d.RetryMax}, {&t.Probe, &d.Probe}, {&t.ProbeDark, &d.ProbeDark}, {&t.Alive, &d.Alive},
		{&t.Rejoin, &d.Rejoin}, {&t.HorizonAge, &d.HorizonAge}, {&t.HorizonEvery, &d.HorizonEvery},
	} {
		if *f.have <= 0 {
			*f.have = *f.want
		}
	}
	return t
}

// Bounds of what goes over the wire at once.
const (
	maxRecords = 500              // of a push or an answer: one transaction of a few ms
	maxBytes   = 4 << 20          // of records; a single longer one goes alone
	maxBody    = 8 << 20          // of a request or an answer
	maxLeaves  = 256              // whose stamps are asked for at once
	maxStamps  = 20_000           // of an answer, about 2 MB
	maxOpsBody = 64 << 20         // of an ApplyAt: state bounds the operations
	maxDetail  = 200              // characters of another head's words in ours
	protoHead  = "Masthead-State" // header of requests and answers: protocol and program version
)

func (c *Config) validate() error {
	var errs []error
	if c.Name == "" {
		errs = append(errs, errors.New("no name"))
	}
	if c.DB == nil {
		errs = append(errs, errors.New("no state"))
	}
	if c.Peers == nil {
		errs = append(errs, errors.New("no list of heads"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("gossip: configuration: %w", err)
	}
	if c.Clock == nil {
		c.Clock = NewClock(nil)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Event == nil {
		c.Event = func(string, bool) {}
	}
	if c.Client == nil {
		c.Client = func(string) *http.Client { return http.DefaultClient }
	}
	if c.Keys == nil {
		c.Keys = func() [][]byte { return nil }
	}
	c.Timing = c.Timing.withDefaults()
	return nil
}
