package failover

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// lab runs Decide for some heads under one fake clock: what each says reaches the others, what each wants is done. It knows
// no bad luck (package simulation does); each test says what fails, and when.
type lab struct {
	t     testing.TB
	now   Instant
	heads []*box
	cut   map[string]bool // "head1 nic0 head2": what head1 sends on nic0 does not reach head2
	lease struct {
		epoch, known Epoch
		holder       string
		until        Instant
	}
	vouches bool
	twoOK   bool // two open gates are what this test is about
}

const (
	step = 10 * time.Millisecond
	nic0 = "nic0"
	nic1 = "nic1"
	tty  = "ttyS1"
)

// newLab is a cluster of n heads that are switched on at the same moment.
func newLab(t testing.TB, kind AuthorityKind, n int, links ...string) *lab {
	l := &lab{t: t, cut: map[string]bool{}, vouches: true}
	if len(links) == 0 {
		links = []string{nic0}
	}
	for i := range n {
		b := &box{lab: l, links: links, voters: Up, fenceEnds: FenceProof, fenceTakes: 50 * time.Millisecond}
		b.Policy = Policy{Timing: Normal()}
		b.Self = Self{Name: fmt.Sprintf("head%d", i+1), ID: i}
		b.Authority.Kind = kind
		b.Uplink = Up
		for j := range n {
			if j != i {
				b.Peers = append(b.Peers, Peer{Name: fmt.Sprintf("head%d", j+1), ID: j})
			}
		}
		l.heads = append(l.heads, b)
		b.start()
	}
	return l
}

// warm is a lab in which head1 owns and the others follow, for long enough.
func warm(t testing.TB, kind AuthorityKind, n int, links ...string) *lab {
	l := newLab(t, kind, n, links...)
	l.settle()
	return l
}

func (l *lab) settle() {
	l.t.Helper()
	l.run(3 * time.Second)
	if l.heads[0].phase() != Active {
		l.t.Fatalf("head1 does not own after the start: %s", l)
	}
}

func (l *lab) head(name string) *box {
	return l.heads[slices.IndexFunc(l.heads, func(b *box) bool { return b.Self.Name == name })]
}

// part cuts a way between two heads, in both directions.
func (l *lab) part(a, way, b string) { l.deafen(a, way, b); l.deafen(b, way, a) }

func (l *lab) deafen(from, way, to string) { l.cut[from+" "+way+" "+to] = true }

func (l *lab) heal() { clear(l.cut) }

func (l *lab) reaches(from, way, to string) bool { return !l.cut[from+" "+way+" "+to] }

// lan reports whether a asks by ARP and b answers.
func (l *lab) lan(a, b *box) bool {
	for _, way := range a.links {
		if way != tty && l.reaches(a.Self.Name, way, b.Self.Name) && l.reaches(b.Self.Name, way, a.Self.Name) {
			return true
		}
	}
	return false
}

func (l *lab) run(d time.Duration) {
	l.t.Helper()
	for end := l.now + d; l.now < end; {
		l.now += step
		for _, b := range l.heads {
			b.tick()
		}
		var open []string
		for _, b := range l.heads {
			if b.Gate.Open && b.Gate.Until > l.now {
				open = append(open, b.Self.Name)
			}
		}
		if len(open) > 1 && !l.twoOK {
			l.t.Fatalf("%v: the gates of %v are open: %s", l.now, open, l)
		}
	}
}

// until runs until the head is in that phase, and says after how long.
func (l *lab) until(name string, p Phase, limit time.Duration) time.Duration {
	l.t.Helper()
	for begin := l.now; l.now-begin < limit; {
		l.run(step)
		if l.head(name).phase() == p {
			return l.now - begin
		}
	}
	l.t.Fatalf("%s is not %v within %v: %s", name, p, limit, l)
	return 0
}

func (l *lab) String() string {
	var s strings.Builder
	for _, b := range l.heads {
		w := b.last.Why
		fmt.Fprintf(&s, "\n\t%s %v, record %v of %q, gate %v: %s %q %q, try %q",
			b.Self.Name, b.phase(), b.Record.Epoch, b.Record.Owner, b.Gate.Open, w.Summary, w.For, w.Against, w.Try)
	}
	return s.String()
}

// owner is who has its gate open.
func (l *lab) owner() string {
	for _, b := range l.heads {
		if b.Gate.Open && b.Gate.Until > l.now {
			return b.Self.Name
		}
	}
	return ""
}
