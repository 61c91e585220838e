package arbiter

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/failover"
	"masthead/node/witness"
)

var labKey = []byte("0123456789abcdef0123456789abcdef")

// panelLab is two heads and some workers on loopback.
type panelLab struct {
	t      *testing.T
	zero   time.Time
	votes  map[string]*labVote
	panels []*Panel
	roster Roster
	mu     sync.Mutex
	lost   map[string]bool // from/to
}

// labVote is a vote that can be stopped and started again at its address.
type labVote struct {
	*witness.Server
	stop func()
}

func newPanelLab(t *testing.T, workers int) *panelLab {
	t.Helper()
	l := &panelLab{t: t, zero: time.Now(), votes: map[string]*labVote{}, lost: map[string]bool{}, roster: Roster{Version: 1}}
	t.Cleanup(func() {
		for _, v := range l.votes {
			v.stop()
		}
	})
	for i := range workers {
		name := fmt.Sprintf("n%02d", i+1)
		l.vote(name, netip.MustParseAddrPort("127.0.0.1:0"), nil)
		l.roster.Voters = append(l.roster.Voters, Voter{Name: name, Head: Witness, Addr: l.votes[name].Addr()})
	}
	var hears [2]atomic.Pointer[Panel]
	for i := range 2 {
		name := fmt.Sprintf("head%d", i)
		l.vote(name, netip.MustParseAddrPort("127.0.0.1:0"), func(a witness.Ask) {
			if p := hears[i].Load(); p != nil {
				p.Heard(a)
			}
		})
		l.roster.Voters = append(l.roster.Voters, Voter{Name: name, Head: i, Addr: l.votes[name].Addr()})
	}
	for i := range 2 {
		name := fmt.Sprintf("head%d", i)
		p, err := NewPanel(PanelConfig{
			Self: i, Cluster: "lab", Key: labKey, Timing: failover.Normal(), Roster: l.roster, Own: l.votes[name], Dir: t.TempDir(), Now: l.now,
			Lost: func(voter string) bool {
				l.mu.Lock()
				defer l.mu.Unlock()
				return l.lost[name+"/"+voter]
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		hears[i].Store(p)
		l.panels = append(l.panels, p)
	}
	for _, p := range l.panels {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	return l
}

func (l *panelLab) now() failover.Instant { return time.Since(l.zero) }

// vote starts one.
func (l *panelLab) vote(name string, at netip.AddrPort, heard func(witness.Ask)) {
	l.t.Helper()
	timing := failover.Normal()
	s, err := witness.New(witness.Config{Listen: at, Cluster: "lab", Key: labKey, Longest: timing.TTL, Margin: timing.Margin, Now: l.now, Heard: heard})
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	l.votes[name] = &labVote{Server: s, stop: sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Error(err)
		}
	})}
	go func() { done <- s.Run(ctx) }()
}

func (l *panelLab) lose(lost bool, head int, voters ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range voters {
		l.lost[fmt.Sprintf("head%d/%s", head, v)] = lost
	}
}

func (l *panelLab) until(what string, within time.Duration, ok func() bool) time.Duration {
	l.t.Helper()
	start := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if ok() {
			break
		}
		if time.Since(start) > within {
			l.t.Fatalf("%v and not %s: %+v; %+v", within, what, l.panels[0].Authority(), l.panels[1].Authority())
		}
	}
	return time.Since(start)
}

func (l *panelLab) held(head int, e failover.Epoch) func() bool {
	return func() bool { return l.panels[head].Authority().Held == e }
}

func (l *panelLab) quorate() {
	l.t.Helper()
	l.until("quorate", 5*time.Second, func() bool {
		return l.panels[0].Authority().Quorum == failover.Up && l.panels[1].Authority().Quorum == failover.Up &&
			strings.HasPrefix(l.panels[0].Votes(), "3 of 3")
	})
}

func TestPanel(t *testing.T) {
	l := newPanelLab(t, 3)
	a, b := l.panels[0], l.panels[1]
	if got := a.Authority(); got.Quorum != failover.Unknown || got.Held != 0 {
		t.Errorf("at once: %+v", got)
	}
	l.quorate()
	if got, want := a.Votes(), "3 of 3: head0, head1; n01, n02, n03 of n01, n02, n03 as witnesses"; got != want {
		t.Errorf("votes %q, want %q", got, want)
	}
	if a.Authority().Vouches {
		t.Error("nobody ever owned, and somebody remembers it")
	}

	// Both at once: one of them, and the other is told why not.
	a.Want(16, time.Unix(5, 0), "data")
	b.Want(17, time.Time{}, "data")
	l.until("one owns", 2*time.Second, func() bool { return l.held(0, 16)() || l.held(1, 17)() })
	first, second, e := 0, 1, failover.Epoch(33)
	if l.held(1, 17)() {
		first, second, e = 1, 0, 32
	}
	won, lost := l.panels[first], l.panels[second]
	l.until("the other gives up", time.Second, func() bool { return lost.Authority().Refused != "" })
	lost.Want(0, time.Time{}, "")

	// It is renewed for as long as it is wanted.
	until := won.Authority().Until
	l.until("renewed", time.Second, func() bool { return won.Authority().Until > until+200*time.Millisecond })
	l.until("remembered", time.Second, func() bool {
		got := lost.Authority()
		return got.Vouches && got.Owner == fmt.Sprintf("head%d", first) && got.Known == won.Authority().Held
	})

	// Given back, the other has it at once.
	lost.Want(e, time.Time{}, "data")
	l.until("told who has it", time.Second, func() bool {
		return strings.Contains(lost.Authority().Refused, fmt.Sprintf("head%d has the lease for another", first))
	})
	won.Want(0, time.Time{}, "")
	if got := won.Authority(); got.Held != 0 {
		t.Errorf("given back: %+v", got)
	}
	took := l.until("the other owns", time.Second, l.held(second, e))
	t.Logf("given back to taken: %v", took)
	if took > 200*time.Millisecond {
		t.Errorf("given back to taken: %v", took)
	}
}

func TestPanelVotersLost(t *testing.T) {
	l := newPanelLab(t, 3)
	a, b := l.panels[0], l.panels[1]
	l.quorate()
	a.Want(16, time.Time{}, "")
	l.until("a owns", 2*time.Second, l.held(0, 16))

	// Any one vote can be missing: a witness is none, two are one, and the other head is one.
	l.votes["n01"].stop()
	l.votes["n02"].stop()
	l.until("the witnesses are seen to be gone", 2*time.Second, func() bool { return strings.HasPrefix(a.Votes(), "2 of 3: head0, head1; n03 of") })
	until := a.Authority().Until
	l.until("renewed by the heads", time.Second, func() bool { return a.Authority().Until > until+300*time.Millisecond })

	// A witness that starts again abstains, then votes.
	addr := l.votes["n01"].Addr()
	l.vote("n01", addr, nil)
	l.until("it abstains", time.Second, func() bool {
		return l.votes["n01"].Ask(witness.Ask{Cluster: witness.Hash("lab"), Kind: witness.Query}).Reason == witness.Abstains
	})
	l.until("two witnesses", 3*time.Second, func() bool { return strings.HasPrefix(a.Votes(), "3 of 3: head0, head1; n01, n03 of") })

	// Cut off from everybody, a's lease ends, and b has it after that, by the same clock.
	l.lose(true, 0, "n01", "n03", "head1")
	l.lose(true, 1, "head0")
	cut := l.now()
	b.Want(33, time.Time{}, "")
	last := a.Authority().Until
	l.until("b owns", 2*time.Second, func() bool {
		got := b.Authority()
		last = max(last, a.Authority().Until)
		return got.Held == 33
	})
	if now := l.now(); now < last {
		t.Errorf("b owned %v before the end of a's lease", last-now)
	}
	t.Logf("cut off to new owner: %v, %v after the end of the old lease", l.now()-cut, l.now()-last)
	if got := a.Authority(); got.Held != 0 || got.Quorum == failover.Up && got.Refused == "" {
		t.Errorf("cut off: %+v", got)
	}
	l.lose(false, 0, "n01", "n03", "head1")
	l.until("a sees the higher epoch", time.Second, func() bool { got := a.Authority(); return got.Known == 33 && got.Held == 0 && got.Owner == "head1" })
	if got := a.Authority().Refused; !strings.Contains(got, "epoch 2.1 is known, 1.0 is not above it") {
		t.Errorf("why not: %q", got)
	}
}

// TestPanelChange changes the witnesses while a head owns: it never loses the lease, and both lists count until both heads
// have the new one.
func TestPanelChange(t *testing.T) {
	l := newPanelLab(t, 6)
	old, next := l.roster, Roster{Version: 2}
	for _, v := range old.Voters {
		if v.Head != Witness || v.Name >= "n04" {
			next.Voters = append(next.Voters, v)
		}
	}
	a, b := l.panels[0], l.panels[1]
	l.quorate()
	a.Want(16, time.Time{}, "")
	l.until("a owns", 2*time.Second, l.held(0, 16))
	watch, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for watch.Err() == nil {
			<-tick.C
			if a.Authority().Held != 16 {
				t.Errorf("lost the lease: %+v", a.Authority())
				return
			}
		}
	})
	if err := a.SetVoters(next); err != nil {
		t.Fatal(err)
	}
	l.until("a needs both lists", 2*time.Second, func() bool {
		return strings.HasSuffix(a.Votes(), "the other head does not have this list of voters yet")
	})
	if err := a.SetVoters(next); err == nil {
		t.Error("the same list is taken again")
	}
	kept, err := a.keep.read()
	if err != nil || len(kept.Needed) != 2 {
		t.Errorf("on the disk: %+v, %v", kept, err)
	}
	if err := b.SetVoters(next); err != nil {
		t.Fatal(err)
	}
	want := "3 of 3: head0, head1; n04, n05, n06 of n04, n05, n06 as witnesses"
	l.until("both need the new one only", 3*time.Second, func() bool { return a.Votes() == want && b.Votes() == want })
	for _, n := range []string{"n01", "n02", "n03"} {
		l.votes[n].stop()
	}
	l.lose(true, 0, "head1")
	until := a.Authority().Until
	l.until("renewed by the new witnesses", time.Second, func() bool { return a.Authority().Until > until+300*time.Millisecond })
	stop()
	wg.Wait()
	for _, p := range l.panels {
		kept, err := p.keep.read()
		if err != nil || len(kept.Needed) != 1 || kept.newest() != 2 {
			t.Errorf("on the disk: %+v, %v", kept, err)
		}
	}
}

// TestPanelOfAnotherCluster has a head join another cluster: the lists that the first one made are nothing there, whatever
// their versions, and those of the same cluster count however often the head starts.
func TestPanelOfAnotherCluster(t *testing.T) {
	dir := t.TempDir()
	panel := func(cluster string, version uint32) *Panel {
		t.Helper()
		p, err := NewPanel(PanelConfig{
			Cluster: cluster, Key: labKey, Timing: failover.Normal(), Now: func() failover.Instant { return 0 }, Dir: dir, Own: &labVote{},
			Roster: Roster{Version: version, Voters: []Voter{
				{Name: "a-" + cluster, Head: 0}, {Name: "b-" + cluster, Head: 1, Addr: netip.MustParseAddrPort("127.0.0.1:1")},
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
	names := func(p *Panel) (list []string) {
		for _, r := range p.kept.Needed {
			list = append(list, r.Voters[0].Name)
		}
		return list
	}
	panel("first", 90)
	if p := panel("first", 50); p.kept.newest() != 90 {
		t.Errorf("the list of the same cluster was forgotten: %+v", p.kept)
	}
	p := panel("second", 3)
	if diff := cmp.Diff([]string{"a-second"}, names(p)); diff != "" || p.kept.newest() != 3 || p.kept.Coming != nil {
		t.Errorf("another cluster goes by %+v\n%s", p.kept, diff)
	}
	if p := panel("second", 2); p.kept.newest() != 3 {
		t.Errorf("the list of the second cluster was forgotten: %+v", p.kept)
	}
	if err := os.WriteFile(p.keep.path(), []byte(`{"cluster": "second", "needed": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.keep.read(); err == nil {
		t.Error("a file of this cluster that is damaged is taken for none")
	}
}

func TestPanelConfig(t *testing.T) {
	good := func() PanelConfig {
		return PanelConfig{
			Key: labKey, Timing: failover.Normal(), Now: func() failover.Instant { return 0 }, Dir: t.TempDir(), Own: &labVote{},
			Roster: Roster{Version: 1, Voters: []Voter{{Name: "a", Head: 0}, {Name: "b", Head: 1, Addr: netip.MustParseAddrPort("127.0.0.1:1")}}},
		}
	}
	for _, tt := range []struct {
		want   string
		change func(*PanelConfig)
	}{
		{"bytes, want 16", func(c *PanelConfig) { c.Key = nil }},
		{"no own vote", func(c *PanelConfig) { c.Own = nil }},
		{"leases of", func(c *PanelConfig) { c.Timing.TTL = c.Timing.Renew }},
		{"head 2 is not among", func(c *PanelConfig) { c.Self = 2 }},
		{"version 0", func(c *PanelConfig) { c.Roster.Version = 0 }},
		{"there twice", func(c *PanelConfig) { c.Roster.Voters = append(c.Roster.Voters, Voter{Name: "b", Head: Witness}) }},
		{"has its address", func(c *PanelConfig) {
			c.Roster.Voters = append(c.Roster.Voters, Voter{Name: "c", Head: Witness, Addr: netip.MustParseAddrPort("127.0.0.1:1")})
		}},
		{"3 heads", func(c *PanelConfig) { c.Roster.Voters = append(c.Roster.Voters, Voter{Name: "c", Head: 3}) }},
		{"no such file", func(c *PanelConfig) { c.Dir += "/missing" }},
	} {
		c := good()
		tt.change(&c)
		if _, err := NewPanel(c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
	if p, err := NewPanel(good()); err != nil {
		t.Error(err)
	} else {
		p.Close()
	}
}
