package arbiter

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"masthead/appliance/failover"
)

// guardSim is heads that elect leaders as Raft does at its most careless: a head votes for whoever asks in a term in which it
// has not voted, whether it has a leader or not; heartbeats are handled beside votes; and messages are lost, late, and out of
// order. What is left to keep leases apart is the guard.
type guardSim struct {
	r     *rand.Rand
	now   time.Duration
	nodes []*guardNode
	lease time.Duration
	margn time.Duration
	mail  []guardMail
	held  int
}

type guardNode struct {
	name         string
	offset, slow time.Duration
	guard        guard
	deaf         time.Duration // true time until which it abstains
	boot         int
	term         uint64
	voted        uint64 // the last term in which it voted
	votes        map[int]bool
	leads        bool
	seq          uint64
	acks         []failover.Instant // by node: when what it promised was asked
	until        time.Duration      // true end of its lease
	open         []func()           // what raft has still to do
}

func (n *guardNode) clock(t time.Duration) failover.Instant {
	return n.offset + t - t*n.slow/time.Second
}

func (n *guardNode) when(i failover.Instant) time.Duration {
	return time.Duration(float64(i-n.offset) / (1 - float64(n.slow)/float64(time.Second)))
}

type guardMail struct {
	to, boot int
	do       func()
}

func (s *guardSim) send(to int, do func()) {
	s.mail = append(s.mail, guardMail{to, s.nodes[to].boot, do})
}

// later is something that raft on n does in a while, beside other things.
func (s *guardSim) later(n *guardNode, do func()) {
	boot := n.boot
	n.open = append(n.open, func() {
		if n.boot == boot {
			do()
		}
	})
}

func (s *guardSim) raise(n *guardNode, term uint64) {
	if term > n.term {
		n.term, n.leads = term, false
	}
}

func (s *guardSim) campaign(i int) {
	n := s.nodes[i]
	s.raise(n, n.term+1)
	term := n.term
	n.voted, n.votes = term, map[int]bool{i: true}
	for j := range s.nodes {
		if j == i {
			continue
		}
		s.later(n, func() {
			if !n.guard.candidate(n.name, n.clock(s.now)) {
				return
			}
			s.send(j, func() { s.asked(j, i, term) })
		})
	}
}

// asked: a vote is asked of node j for i.
func (s *guardSim) asked(j, i int, term uint64) {
	n := s.nodes[j]
	if !n.guard.vote(s.nodes[i].name, n.clock(s.now)) {
		return
	}
	s.later(n, func() {
		granted := term > n.voted && term >= n.term
		s.raise(n, term)
		if granted {
			n.voted = term
		}
		s.later(n, func() {
			n.guard.voted()
			if !granted {
				return
			}
			s.send(i, func() {
				c := s.nodes[i]
				if c.term != term || c.votes == nil {
					return
				}
				c.votes[j] = true
				if len(c.votes) > len(s.nodes)/2 && !c.leads {
					c.leads, c.seq = true, 0
					c.acks = make([]failover.Instant, len(s.nodes))
					for k := range c.acks {
						c.acks[k] = never
					}
				}
			})
		})
	})
}

// beat sends a heartbeat from i to j.
func (s *guardSim) beat(i, j int) {
	l := s.nodes[i]
	l.seq++
	term, m, sent := l.term, mark{seq: l.seq, lease: true}, l.clock(s.now)
	s.send(j, func() {
		n := s.nodes[j]
		look := n.guard.look()
		s.later(n, func() {
			if term < n.term { // raft looks at it
				return
			}
			s.raise(n, term)
			s.later(n, func() {
				if !n.guard.heartbeat(l.name, term, m, look, n.clock(s.now)) {
					return
				}
				s.send(i, func() {
					if l.leads && l.term == term {
						l.acks[j] = max(l.acks[j], sent)
					}
				})
			})
		})
	})
}

func (s *guardSim) extend(i int) {
	n := s.nodes[i]
	look, began, term := n.guard.look(), n.clock(s.now), n.term
	s.later(n, func() {
		if !n.leads || n.term != term { // VerifyLeader
			return
		}
		s.later(n, func() {
			if !n.guard.own(n.name, term, look, n.clock(s.now)) {
				return
			}
			at := append([]failover.Instant{}, n.acks...)
			at[i] = began
			sent := majority(at)
			if sent == never || n.term != term {
				return
			}
			if end := n.when(sent + s.lease - s.margn); end > s.now {
				n.until = max(n.until, end)
				s.held++
			}
		})
	})
}

func (s *guardSim) restart(i int) {
	n := s.nodes[i]
	n.boot++
	n.open, n.leads, n.votes = nil, false, nil
	n.guard = guard{length: s.lease + s.margn}
	n.deaf = n.when(n.clock(s.now) + s.lease + 2*s.margn)
}

func (s *guardSim) step(t *testing.T) {
	i := s.r.IntN(len(s.nodes))
	n := s.nodes[i]
	switch what := s.r.IntN(100); {
	case what < 40:
		if len(s.mail) == 0 {
			break
		}
		k := s.r.IntN(len(s.mail))
		m := s.mail[k]
		s.mail = append(s.mail[:k:k], s.mail[k+1:]...)
		if to := s.nodes[m.to]; s.r.IntN(20) > 0 && to.boot == m.boot && to.deaf <= s.now {
			m.do()
		}
	case what < 70:
		if len(n.open) > 0 && n.deaf <= s.now {
			k := s.r.IntN(len(n.open))
			do := n.open[k]
			n.open = append(n.open[:k:k], n.open[k+1:]...)
			do()
		}
	case what < 80:
		if n.leads && n.deaf <= s.now {
			for j := range s.nodes {
				if j != i {
					s.beat(i, j)
				}
			}
		}
	case what < 88:
		if n.leads && n.deaf <= s.now {
			s.extend(i)
		}
	case what < 90:
		if !n.leads && n.deaf <= s.now && n.guard.free(n.name, n.clock(s.now)) {
			s.campaign(i)
		}
	case what < 99:
		s.now += time.Duration(s.r.Int64N(int64(20 * time.Millisecond)))
	case s.r.IntN(3) == 0:
		s.restart(i)
	default:
		s.now += time.Duration(s.r.Int64N(int64(600 * time.Millisecond)))
	}
	owners := ""
	for _, n := range s.nodes {
		if n.until > s.now {
			owners += n.name
		}
	}
	if len(owners) > 1 {
		t.Fatalf("at %v all of %s have a lease", s.now, owners)
	}
}

// TestGuard shows that the guard alone keeps the leases of two leaders apart.
func TestGuard(t *testing.T) {
	first, schedules := rand.Uint64(), 1000
	if env := os.Getenv("ARBITER_SCHEDULES"); env != "" {
		schedules, _ = strconv.Atoi(env)
	}
	held := 0
	for i := range schedules {
		seed := first + uint64(i)
		r := rand.New(rand.NewPCG(seed, 1))
		s := &guardSim{r: r, lease: 400 * time.Millisecond, margn: 50 * time.Millisecond}
		for k := range 3 + 2*r.IntN(2) {
			n := &guardNode{name: fmt.Sprint(k), offset: time.Duration(r.Int64N(1e12)), slow: time.Duration(r.Int64N(6e7) - 3e7)}
			n.guard = guard{length: s.lease + s.margn}
			s.nodes = append(s.nodes, n)
		}
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			for range 2000 {
				s.step(t)
			}
		})
		if !ok {
			return
		}
		held += s.held
	}
	t.Logf("%d schedules from seed %d: leases were extended %d times", schedules, first, held)
	if held < schedules {
		t.Error("that shows little")
	}
}

func TestGuardRelease(t *testing.T) {
	g := guard{length: time.Second}
	if !g.heartbeat("a", 3, mark{seq: 5, lease: true}, g.look(), 0) {
		t.Fatal("no promise")
	}
	for _, tt := range []struct {
		what   string
		leader string
		term   uint64
		seq    uint64
		free   bool // for b
	}{
		{"an earlier one, late", "a", 3, 4, false},
		{"of an earlier term", "a", 2, 9, false},
		{"of another leader", "c", 4, 1, false},
		{"of the same", "a", 3, 6, true},
	} {
		h := g
		h.heartbeat(tt.leader, tt.term, mark{seq: tt.seq}, h.look(), time.Millisecond)
		if got := h.free("b", 2*time.Millisecond); got != tt.free {
			t.Errorf("%s: free %v, want %v", tt.what, got, tt.free)
		}
	}
	if g.free("b", time.Second-1) || !g.free("b", time.Second) || !g.free("a", 0) {
		t.Error("a promise is for its time, and not against who it was made to")
	}
}
