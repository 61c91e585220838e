package arbiter

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"masthead/appliance/failover"
	"masthead/node/witness"
)

// simulation is two heads and their voters under one true clock, with clocks of their own that run at other speeds, and a
// network that loses, delays, repeats and reorders.
type simulation struct {
	timing failover.Timing
	now    time.Duration // true
	nodes  map[string]*simNode
	heads  []*simHead
	wires  []packet
	boots  uint64
	lists  []Roster
	acted  []act
}

// simNode is a machine with a vote.
type simNode struct {
	offset, slow time.Duration // its clock shows offset + t - t*slow/s
	voter        *witness.Voter
}

func (n *simNode) clock(t time.Duration) failover.Instant {
	return n.offset + t - t*n.slow/time.Second
}

// true is when the clock shows i.
func (n *simNode) when(i failover.Instant) time.Duration {
	return time.Duration(float64(i-n.offset) / (1 - float64(n.slow)/float64(time.Second)))
}

type simHead struct {
	*simNode
	id     int
	name   string
	lease  *Lease
	disk   Rosters
	epoch  failover.Epoch // highest claimed: it is on the disk
	wanted failover.Epoch
	until  time.Duration // true end of what the kernel was told, also by a daemon that is gone
}

type packet struct {
	from, to string
	ask      *witness.Ask
	answer   *witness.Answer
	at       time.Duration
}

type act struct {
	epoch failover.Epoch
	since time.Duration
}

func (s *simulation) newVoter(n *simNode) {
	s.boots++
	n.voter = witness.NewVoter(witness.VoterConfig{Cluster: 7, Boot: s.boots, Longest: s.timing.TTL, Margin: s.timing.Margin}, n.clock(s.now))
}

// choice gives a number from lo to hi: rapid's are shrunk to a short schedule, random ones reach further.
type choice func(lo, hi int, what string) int

// failer is *rapid.T and *testing.T.
type failer interface {
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

func (s *simulation) newLease(t failer, h *simHead) {
	s.boots++
	l, err := NewLease(LeaseConfig{Self: h.id, Cluster: 7, Timing: s.timing}, h.disk, s.boots<<32, h.clock(s.now))
	if err != nil {
		t.Fatal(err)
	}
	h.lease, h.wanted = l, 0
}

func newSimulation(t failer, choose choice) *simulation {
	s := &simulation{timing: failover.Normal(), nodes: map[string]*simNode{}}
	if choose(0, 1, "fast") == 1 {
		s.timing = failover.Fast()
	}
	drift := int(s.timing.Margin * time.Second / (s.timing.TTL + s.timing.Margin) / 3)
	add := func(name string) *simNode {
		n := &simNode{offset: time.Duration(choose(0, 1e12, "offset")), slow: time.Duration(choose(-drift, drift, "drift"))}
		s.nodes[name] = n
		s.newVoter(n)
		return n
	}
	all := choose(1, 6, "workers")
	for i := range all {
		add(fmt.Sprintf("n%02d", i))
	}
	for v := range 3 { // three lists of voters, as an administrator may set them one after the other
		r := Roster{Version: uint32(v + 1), Voters: []Voter{{Name: "head0", Head: 0}, {Name: "head1", Head: 1}}}
		for i := range all {
			if choose(0, 1, "in") == 1 {
				r.Voters = append(r.Voters, Voter{Name: fmt.Sprintf("n%02d", i), Head: Witness})
			}
		}
		s.lists = append(s.lists, r)
	}
	for i := range 2 {
		name := fmt.Sprintf("head%d", i)
		h := &simHead{simNode: add(name), id: i, name: name, disk: Rosters{Needed: s.lists[:1]}}
		s.newLease(t, h)
		s.heads = append(s.heads, h)
	}
	return s
}

// ask has a head ask what it has to.
func (s *simulation) ask(h *simHead) {
	if h.disk = h.lease.Rosters(); h.lease.Ripe(h.clock(s.now)) {
		h.disk = h.lease.Adopted()
		h.lease.Adopt()
	}
	h.voter.SetRoster(h.lease.Newest())
	for range 4 {
		ask, again := h.lease.Next(h.clock(s.now))
		for _, q := range ask {
			if q.To.Name == h.name {
				h.lease.Heard(h.name, h.voter.Answer(q.Ask, h.clock(s.now)), h.clock(s.now))
				continue
			}
			s.wires = append(s.wires, packet{from: h.name, to: q.To.Name, ask: &q.Ask, at: s.now})
		}
		if again > h.clock(s.now) {
			break
		}
	}
}

func (s *simulation) deliver(p packet) {
	n := s.nodes[p.to]
	if p.ask != nil {
		if h := s.head(p.to); h != nil {
			h.lease.HeardAsk(*p.ask, h.clock(s.now))
		}
		a := n.voter.Answer(*p.ask, n.clock(s.now))
		s.wires = append(s.wires, packet{from: p.to, to: p.from, answer: &a, at: s.now})
		return
	}
	h := s.head(p.to)
	h.lease.Heard(p.from, *p.answer, h.clock(s.now))
	s.ask(h)
}

func (s *simulation) head(name string) *simHead {
	for _, h := range s.heads {
		if h.name == name {
			return h
		}
	}
	return nil
}

func (s *simulation) check(t failer) {
	for _, h := range s.heads {
		a := h.lease.Authority(h.clock(s.now))
		if a.Held != 0 {
			h.until = max(h.until, h.when(a.Until))
			if n := len(s.acted); n > 0 && a.Held < s.acted[n-1].epoch {
				t.Fatalf("%v: %v is held after %v", s.now, a.Held, s.acted[n-1].epoch)
			} else if n == 0 || s.acted[n-1].epoch != a.Held {
				s.acted = append(s.acted, act{a.Held, s.now})
			}
		}
		m, whole := h.lease.Memory(h.clock(s.now))
		var acted failover.Epoch
		for _, a := range s.acted {
			if a.since < s.now-2*(2*pollTimes+1)*s.timing.Renew { // answers may be older than what began since
				acted = max(acted, a.epoch)
			}
		}
		if h.wanted != 0 && a.Held == 0 && !whole && len(s.acted) > 0 {
			// What Decide does: nobody claims for whom nobody vouches.
			h.until, h.wanted = min(h.until, s.now), 0
			h.lease.Want(0, time.Time{}, "", h.clock(s.now))
		}
		h.epoch = max(h.epoch, a.Known) // as it is on the disk
		if known := max(failover.Epoch(m.Owned), h.epoch); whole && known < acted {
			t.Fatalf("%v: %s is told that %v owned last, but %v did", s.now, h.name, known, acted)
		}
	}
	if s.heads[0].until > s.now && s.heads[1].until > s.now {
		t.Fatalf("%v: both own: until %v and %v", s.now, s.heads[0].until, s.heads[1].until)
	}
}

// run lets steps things happen.
func (s *simulation) run(t failer, steps int, choose choice) {
	parted := map[[2]string]bool{}
	for range steps {
		h := s.heads[choose(0, 1, "head")]
		switch what := choose(0, 40, "what"); {
		case what < 12: // all packets arrive, as they mostly do
			for n := 0; len(s.wires) > 0 && n < 100; n++ {
				p := s.wires[0]
				s.wires = s.wires[1:]
				if !parted[[2]string{p.from, p.to}] {
					s.deliver(p)
				}
			}
		case what < 20 && len(s.wires) > 0: // one arrives: late, early, once more, or not at all
			i := choose(0, len(s.wires)-1, "packet")
			p := s.wires[i]
			fate := choose(0, 3, "fate")
			if fate != 0 {
				s.wires = append(s.wires[:i:i], s.wires[i+1:]...)
			}
			if fate != 1 && !parted[[2]string{p.from, p.to}] {
				s.deliver(p)
			}
		case what < 32:
			s.now += time.Duration(choose(0, int(s.timing.Renew), "pause"))
		case what < 33:
			s.now += time.Duration(choose(0, int(2*s.timing.TTL), "long pause"))
		case what < 36:
			if h.wanted == 0 {
				h.epoch = h.epoch.Next(h.id)
				h.wanted = h.epoch
				h.lease.Want(h.wanted, time.Unix(int64(h.epoch), 0), "", h.clock(s.now))
			}
		case what < 37:
			h.until = min(h.until, s.now) // the gate is shut first
			h.wanted = 0
			h.lease.Want(0, time.Time{}, "", h.clock(s.now))
		case what < 38: // a machine is cut off on one side, or again not
			names := []string{"head0", "head1", "n00"}
			k := [2]string{names[choose(0, 2, "from")], names[choose(0, 2, "to")]}
			parted[k] = !parted[k]
		case what < 39:
			s.newVoter(s.nodes[fmt.Sprintf("n%02d", choose(0, len(s.nodes)-3, "worker"))])
		case what < 40: // the daemon of a head restarts
			s.newVoter(h.simNode)
			old := h.wanted
			s.newLease(t, h)
			if old != 0 && choose(0, 1, "goes on") == 1 { // the kernel's gate is still open
				h.wanted = old
				h.lease.Want(old, time.Unix(int64(old), 0), "", h.clock(s.now))
			}
		default:
			next := h.disk.newest() + uint32(choose(1, 2, "skip"))
			if int(next) <= len(s.lists) {
				if err := h.lease.SetRoster(s.lists[next-1], h.clock(s.now)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, h := range s.heads {
			s.ask(h)
		}
		s.check(t)
	}
}

// moved is how often the lease went from one head to the other.
func (s *simulation) moved() (n int) {
	for i := range s.acted {
		if i > 0 && s.acted[i].epoch.Head() != s.acted[i-1].epoch.Head() {
			n++
		}
	}
	return n
}

// TestOneHolder shows that whatever happens to packets, clocks, voters and heads, and however the voters are changed, one
// head at most has the lease; and that who is told what the last owner was is told of the last one.
func TestOneHolder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		choose := func(lo, hi int, what string) int { return rapid.IntRange(lo, hi).Draw(t, what) }
		s := newSimulation(t, choose)
		s.run(t, choose(50, 400, "steps"), choose)
	})
}

// TestOneHolderLong does the same for longer.
func TestOneHolderLong(t *testing.T) {
	schedules := 300
	if env := os.Getenv("ARBITER_SCHEDULES"); env != "" {
		schedules, _ = strconv.Atoi(env)
	}
	first := rand.Uint64()
	if env := os.Getenv("ARBITER_SEED"); env != "" {
		first, _ = strconv.ParseUint(env, 10, 64)
		schedules = 1
	}
	held, moved := 0, 0
	for i := range schedules {
		seed := first + uint64(i)
		r := rand.New(rand.NewPCG(seed, 0))
		choose := func(lo, hi int, _ string) int { return lo + r.IntN(hi-lo+1) }
		f := seeded{t, seed}
		s := newSimulation(f, choose)
		s.run(f, 1000, choose)
		held += len(s.acted)
		moved += s.moved()
	}
	t.Logf("%d schedules from seed %d: %d leases, %d from one head to the other", schedules, first, held, moved)
	if schedules > 1 && (held < schedules || moved < schedules/4) {
		t.Error("that shows little")
	}
}

// seeded says how to see a failure again.
type seeded struct {
	*testing.T
	seed uint64
}

func (s seeded) Fatalf(format string, args ...any) {
	s.T.Helper()
	s.T.Fatalf("ARBITER_SEED=%d: %s", s.seed, fmt.Sprintf(format, args...))
}

// TestTakeover shows how long it is from the owner's end to a lease of the other head, with a network that is there.
func TestTakeover(t *testing.T) {
	for _, tt := range []struct {
		name   string
		timing failover.Timing
		most   time.Duration
	}{{"normal", failover.Normal(), 700 * time.Millisecond}, {"fast", failover.Fast(), 370 * time.Millisecond}} {
		t.Run(tt.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				s := &simulation{timing: tt.timing, nodes: map[string]*simNode{}}
				r := Roster{Version: 1, Voters: []Voter{{Name: "head0", Head: 0}, {Name: "head1", Head: 1}}}
				for i := range 3 {
					n := &simNode{}
					name := fmt.Sprintf("n%02d", i)
					s.nodes[name] = n
					s.newVoter(n)
					r.Voters = append(r.Voters, Voter{Name: name, Head: Witness})
				}
				for i := range 2 {
					h := &simHead{simNode: &simNode{}, id: i, name: fmt.Sprintf("head%d", i), disk: Rosters{Needed: []Roster{r}}}
					s.nodes[h.name] = h.simNode
					s.newVoter(h.simNode)
					s.newLease(t, h)
					s.heads = append(s.heads, h)
				}
				run := func(until time.Duration, heads ...*simHead) {
					for ; s.now < until; s.now += time.Millisecond {
						for _, h := range heads {
							s.ask(h)
						}
						for len(s.wires) > 0 {
							p := s.wires[0]
							s.wires = s.wires[1:]
							if h := s.head(p.to); h == nil || len(heads) == 2 || h == heads[0] {
								s.deliver(p)
							}
						}
						s.check(t)
					}
				}
				a, b := s.heads[0], s.heads[1]
				run(time.Second, a, b)
				a.lease.Want(16, time.Time{}, "", a.clock(s.now))
				run(time.Second+20*time.Millisecond, a, b)
				if got := a.lease.Authority(a.clock(s.now)); got.Held != 16 || got.Quorum != failover.Up || got.Owner != "head0" {
					t.Fatalf("20 ms after it asked: %+v", got)
				}
				run(time.Duration(rapid.Int64Range(int64(1100*time.Millisecond), int64(1300*time.Millisecond)).Draw(t, "cut")), a, b)
				cut := s.now
				run(cut+tt.timing.Suspect, b)
				b.lease.Want(33, time.Unix(9, 0), "", b.clock(s.now))
				if got := b.lease.Authority(b.clock(s.now)); !got.Vouches || got.Known != 16 {
					t.Fatalf("before it claims: %+v", got)
				}
				run(s.now+10*time.Millisecond, b)
				if got := b.lease.Authority(b.clock(s.now)).Refused; !strings.Contains(got, "head0 has the lease for another") && tt.name == "normal" {
					t.Fatalf("refused: %q", got)
				}
				for b.lease.Authority(b.clock(s.now)).Held == 0 {
					if s.now > cut+tt.most {
						t.Fatalf("no lease %v after the cut: %+v", s.now-cut, b.lease.Authority(b.clock(s.now)))
					}
					run(s.now+time.Millisecond, b)
				}
			})
		})
	}
}
