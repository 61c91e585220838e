package arbiter

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"masthead/appliance/failover"
)

// three starts heads a, b and c, of which a was the owner with another arbiter.
func three(t *testing.T, epoch failover.Epoch) *raftLab {
	t.Helper()
	l := newRaftLab(t, "a", "b", "c")
	c := l.config("a", l.list)
	if err := Bootstrap(c, Ownership{Epoch: epoch, Owner: "a"}); err != nil {
		t.Fatal(err)
	}
	l.run(c)
	l.start("b", l.list)
	l.start("c", l.list)
	l.until("three voters", 10*time.Second, func() bool {
		return l.heads["a"].Votes() == "3 of 3: a, b, c"
	})
	return l
}

func TestRaftTakeover(t *testing.T) {
	l := three(t, 7*failover.MaxHeads)
	a := l.heads["a"]
	a.own()
	l.until("a owns", 2*time.Second, l.holds("a"))
	if got := a.Authority(); got.Held != 8*failover.MaxHeads || !got.Vouches || got.Quorum != failover.Up {
		t.Errorf("first owner: %+v", got)
	}
	l.until("b knows", time.Second, func() bool {
		got := l.heads["b"].Authority()
		return got.Owner == "a" && got.Known == 8*failover.MaxHeads && got.Solo.Equal(time.Unix(5, 0))
	})
	since := l.now()
	l.until("it is committed that a is alone", time.Second, func() bool { return a.SoloKnown() > since })
	if got := l.heads["b"].SoloKnown(); got != 0 {
		t.Errorf("alone, and no owner: %v", got)
	}
	l.heads["b"].own() // it waits
	l.part(true, "a")
	cut := l.now()
	took := l.until("b owns", 10*time.Second, l.holds("b"))
	if got := l.heads["b"].Authority(); got.Held != 9*failover.MaxHeads+1 {
		t.Errorf("second owner: %+v", got)
	}
	if got := a.SoloKnown(); got > cut {
		t.Errorf("cut off at %v, and the majority acknowledged at %v", cut, got)
	}
	l.part(false, "a")
	l.until("a follows", 2*time.Second, func() bool { return a.Authority().Owner == "b" })
	if got := a.Authority(); got.Held != 0 || got.Known != 9*failover.MaxHeads+1 {
		t.Errorf("the old owner, back: %+v", got)
	}

	// The fastest of a few is judged: that the machine is busy is no fault of raft's.
	for from, to := "b", "a"; took > raftTarget; from, to = to, from {
		if t.Logf("cut off to new owner: %v", took); l.now()-cut > time.Minute {
			t.Fatalf("no new owner within %v in a minute of trying", raftTarget)
		}
		l.heads[to].own() // it waits
		l.part(true, from)
		took = l.until(to+" owns", 10*time.Second, l.holds(to))
		l.part(false, from)
		l.until(from+" follows", 10*time.Second, func() bool { return l.heads[from].Authority().Owner == to })
	}
	t.Logf("cut off to new owner: %v", took)
}

// raftTarget is how long the cluster may be without an owner after the old one was cut off.
const raftTarget = 1200 * time.Millisecond

// TestRaftStopped stops the owner's daemon in order, and by surprise.
func TestRaftStopped(t *testing.T) {
	l := three(t, 16)
	l.heads["a"].own()
	l.until("a owns", 2*time.Second, l.holds("a"))

	// A planned switch: a gives back, b wants. No lease or promise ends by time: nothing waits for that.
	a := l.heads["a"]
	l.clock.stop()
	a.want()
	l.heads["b"].own()
	took := l.until("b owns", 10*time.Second, l.holds("b"))
	t.Logf("given back to taken: %v", took)
	l.clock.resume()

	// The owner's daemon ends without a word, and one that only follows restarts at the same time: it must not help another
	// to the lease before the old one is over. The watcher sees that.
	b := l.heads["b"]
	l.heads["a"].own()
	l.part(true, "b")
	l.heads["c"].stop()
	l.start("c", l.list)
	took = l.until("a owns again", 5*time.Second, l.holds("a"))
	t.Logf("owner gone, and one restarts: %v", took)
	b.want()
	l.part(false, "b")
	l.until("b follows", 2*time.Second, func() bool { return b.Authority().Owner == "a" })

	// A restart of the owner's daemon: it has no lease from its own memory, and asks for a new epoch.
	epoch := l.heads["a"].Authority().Held
	l.heads["a"].end()
	l.start("a", l.list)
	l.heads["a"].own()
	l.until("a owns after its restart", 5*time.Second, l.holds("a"))
	if got := l.heads["a"].Authority().Held; got <= epoch {
		t.Errorf("epoch %v after %v", got, epoch)
	}
}

// TestRaftSteppedDown has a leader step down, as it does when it hears nobody, before the end of its lease. Then another head
// asks for its vote: with it, that head would have a majority if it has promised nothing itself.
func TestRaftSteppedDown(t *testing.T) {
	l := three(t, 16)
	a := l.heads["a"]
	a.own()
	l.until("a owns", 2*time.Second, l.holds("a"))
	l.until("all is told", 2*time.Second, func() bool { return a.Ownership().Told == a.Authority().Held })
	l.clock.stop()
	if a.Authority().Held == 0 {
		t.Fatal("a has no lease")
	}
	l.part(true, "a", "b", "c")
	l.until("a leads no more", 5*time.Second, func() bool { return a.node.raft.State() != raft.Leader })
	a.extend(a.node)
	l.look()
	if a.Authority().Held == 0 || voted(a, "c") {
		t.Error("c has the vote of a, whose lease was to last")
	}
	l.clock.resume()
	l.until("the lease of a is over, and c has its vote", 5*time.Second, func() bool { return voted(a, "c") })
	if a.Authority().Held != 0 {
		t.Error("c has the vote of a, whose lease lasts")
	}
}

// TestRaftWishLate has the leader begin to hand over when it has a lease again: the wish that it knew of was older.
func TestRaftWishLate(t *testing.T) {
	l := three(t, 16)
	a := l.heads["a"]
	a.own()
	l.until("a owns", 2*time.Second, l.holds("a"))
	l.clock.stop()
	if a.Authority().Held == 0 {
		t.Fatal("a has no lease")
	}
	a.handOver(a.node, "b")
	l.look()
	if a.Authority().Held == 0 || voted(a, "b") {
		t.Error("b has the vote of a, whose lease was to last")
	}
}

// voted asks a head for its vote, as one does that the leader has made a candidate.
func voted(h *raftHead, candidate string) bool {
	addr := h.node.trans.EncodePeer(raft.ServerID(candidate), "192.0.2.1:1")
	answer := make(chan raft.RPCResponse, 1)
	h.node.trans.in(raft.RPC{RespChan: answer, Command: &raft.RequestVoteRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(candidate), Addr: addr}, LeadershipTransfer: true,
		Term: h.node.raft.CurrentTerm() + 1, LastLogIndex: h.node.raft.LastIndex(), LastLogTerm: h.node.raft.CurrentTerm(),
	}})
	r := <-answer
	v, ok := r.Response.(*raft.RequestVoteResponse)
	return ok && r.Error == nil && v.Granted
}

// TestRaftChaos parts, joins and restarts heads at random while all of them want to own. That no two have a lease is for the
// watcher to see.
func TestRaftChaos(t *testing.T) {
	l := three(t, 16)
	names := []string{"a", "b", "c"}
	for _, n := range names {
		l.heads[n].own()
	}
	seed := uint64(time.Now().UnixNano())
	if env := os.Getenv("MASTHEAD_SEED"); env != "" {
		seed, _ = strconv.ParseUint(env, 10, 64)
	}
	t.Logf("MASTHEAD_SEED=%d draws the faults again, not how the heads meet them", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	length := 8 * time.Second
	if env := os.Getenv("ARBITER_CHAOS"); env != "" {
		length, _ = time.ParseDuration(env)
	}
	// A busy machine elects slowly: it goes on until there was something to see.
	const wanted, rounds = 3, 8
	changes := 0
	for round := 0; round < rounds && changes < wanted; round++ {
		l.chaos(r, names, length)
		l.mu.Lock()
		changes = len(l.gaps)
		l.mu.Unlock()
		t.Logf("%d changes of owner after %v of faults", changes, time.Duration(round+1)*length)
	}
	l.until("somebody owns", time.Minute, func() bool { return l.holds("a")() || l.holds("b")() || l.holds("c")() })
	if changes < wanted {
		t.Errorf("%d changes of owner, at least %d expected: that shows nothing", changes, wanted)
	}
}

// chaos is random faults for so long; after it all heads hear one another.
func (l *raftLab) chaos(r *rand.Rand, names []string, length time.Duration) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(length)
	for next := time.Now(); time.Now().Before(end); <-tick.C {
		if time.Now().Before(next) {
			continue
		}
		n := names[r.IntN(len(names))]
		switch r.IntN(5) {
		case 0, 1:
			l.part(true, n)
		case 2, 3:
			for _, n := range names {
				l.part(false, n)
			}
		case 4:
			if r.IntN(2) == 0 {
				l.heads[n].end()
			} else {
				l.heads[n].crash()
			}
			l.start(n, l.list)
			l.heads[n].own()
		}
		next = time.Now().Add(time.Duration(r.Int64N(int64(900 * time.Millisecond))))
	}
	for _, n := range names {
		l.part(false, n)
	}
}

// TestRaftHeads goes from two heads with another arbiter to three, and back to two.
func TestRaftHeads(t *testing.T) {
	l := newRaftLab(t, "a", "b", "c")
	two := RaftVoters{Version: 1, Heads: l.list.Heads[:2]}
	ca := l.config("a", two)
	if err := Bootstrap(ca, Ownership{Epoch: 5 * failover.MaxHeads, Owner: "a", DataUUID: "data"}); err != nil {
		t.Fatal(err)
	}
	if err := Bootstrap(ca, Ownership{}); err == nil {
		t.Error("a second time")
	}
	a, b := l.run(ca), l.start("b", two)
	a.own()
	l.until("two voters", 5*time.Second, func() bool { return a.Votes() == "2 of 2: a, b" })
	l.until("a owns", 2*time.Second, l.holds("a"))
	epoch := a.Authority().Held
	if epoch != 6*failover.MaxHeads {
		t.Errorf("epoch %v, want the one after that before raft", epoch)
	}
	never := func(what string) {
		t.Helper()
		if a.Authority().Held != epoch {
			t.Errorf("%s: the owner lost its lease: %+v", what, a.Authority())
		}
	}

	three := RaftVoters{Version: 2, Heads: l.list.Heads}
	if err := a.SetVoters(three); err != nil {
		t.Fatal(err)
	}
	// c is off: it gets no vote, and two still own.
	until := a.Authority().Until
	l.until("two go on", 2*time.Second, func() bool { return a.Authority().Until > until+500*time.Millisecond })
	never("c is off")
	if got := a.Votes(); got != "2 of 2: a, b" {
		t.Errorf("votes %q", got)
	}
	c := l.start("c", three)
	l.until("three voters", 5*time.Second, func() bool { return a.Votes() == "3 of 3: a, b, c" })
	never("three heads")
	// b has an older list, and must not take c out again when it leads.
	a.want()
	b.own()
	l.until("b owns", 2*time.Second, l.holds("b"))
	if err := b.SetVoters(RaftVoters{Version: 1, Heads: two.Heads}); err == nil {
		t.Error("a list that is not newer")
	}
	until = b.Authority().Until
	l.until("b goes on", 2*time.Second, func() bool { return b.Authority().Until > until+500*time.Millisecond })
	if got := b.Votes(); got != "3 of 3: a, b, c" {
		t.Errorf("votes %q", got)
	}

	back := RaftVoters{Version: 3, Heads: two.Heads}
	for _, h := range []*raftHead{a, b, c} {
		if err := h.SetVoters(back); err != nil {
			t.Fatal(err)
		}
	}
	l.until("two voters", 5*time.Second, func() bool { return b.Votes() == "2 of 2: a, b" })
	if got := b.Authority(); got.Held != 7*failover.MaxHeads+1 {
		t.Errorf("b: %+v", got)
	}
	// c was taken out; whatever it does, started again with what it had, it gets no vote and disturbs nobody.
	c.end()
	c = l.start("c", three)
	c.own()
	until = b.Authority().Until
	l.until("b goes on", 3*time.Second, func() bool { return b.Authority().Until > until+time.Second })
	if got := c.Authority(); got.Held != 0 || got.Refused == "" {
		t.Errorf("c: %+v", got)
	}
	c.end()
	if err := Forget(c.config.Dir); err != nil || HasState(c.config.Dir) {
		t.Errorf("forget: %v", err)
	}

	// And back to another arbiter.
	b.end()
	if got := b.Ownership(); got.Epoch != 7*failover.MaxHeads+1 || got.Owner != "b" || got.DataUUID != "data" {
		t.Errorf("what another arbiter begins with: %+v", got)
	}
}
