package failover

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A planned switch is an exchange of words: released, claimed, agreed, owned.
func TestPlannedSwitch(t *testing.T) {
	for _, kind := range []AuthorityKind{Pair, Panel, Raft} {
		n := 2
		if kind == Raft {
			n = 3
		}
		t.Run(kind.String(), func(t *testing.T) {
			l := warm(t, kind, n)
			h1, h2 := l.heads[0], l.heads[1]
			old := h1.Record.Epoch
			h1.Operator.Switch = "head2"
			began, done := l.now, ""
			var said []string
			var under Epoch
			say := func(b *box) {
				s := b.last.Say
				w := b.Self.Name + " " + s.Phase.String()
				if s.For >= 0 && s.Released == old {
					w += ", released for head2"
				}
				if s.Yields > old {
					w += ", yields"
				}
				if !slices.Contains(said, w) {
					said = append(said, w)
				}
			}
			for l.now-began < 2*time.Second {
				l.run(step)
				say(h1)
				say(h2)
				if h1.last.Done.Switch != "" {
					done, under = h1.last.Done.Switch, h1.last.Done.Epoch
				}
				if l.owner() == "head2" && h1.last.Say.Yields == h2.Record.Epoch {
					break
				}
			}
			l.run(time.Second)
			if l.owner() != "head2" || h1.phase() != Standby || h1.Operator.Switch != "" {
				t.Fatalf("%s", l)
			}
			if gap := h2.activeAt - h1.shutAt; gap > 250*time.Millisecond {
				t.Errorf("nobody answered for %v", gap)
			} else {
				t.Logf("gap %v, %q", gap, said)
			}
			if !strings.Contains(done, "head2 owns the cluster under epoch "+h2.Record.Epoch.String()) {
				t.Errorf("done: %q", done)
			}
			if under != h2.Record.Epoch {
				t.Errorf("done under epoch %v, want %v", under, h2.Record.Epoch)
			}
			words := []string{"head1 release", "head1 standby, released for head2", "head2 promote", "head2 active"}
			if kind != Pair { // there the word of the other head is all that it takes
				words = append(words, "head2 claim")
			}
			for _, w := range words {
				if !slices.Contains(said, w) {
					t.Errorf("nobody said %q: %q", w, said)
				}
			}
			if i, j := slices.Index(said, "head1 standby, released for head2"), slices.Index(said, "head2 promote"); i > j {
				t.Errorf("head2 acts before head1 has released: %q", said)
			}
		})
	}
}

func TestSwitchRefused(t *testing.T) {
	for _, test := range []struct {
		name, to, want string
		set            func(l *lab)
	}{
		{"to itself", "head1", "this head owns the cluster already", nil},
		{"to nobody", "head9", "refused: there is no head head9", nil},
		{"to a dead head", "head2", "refused: nothing is heard of head2", func(l *lab) { l.heads[1].powerOff() }},
		{"to any, and all are dead", "*", "refused: no head can take over (nothing is heard of head2)", func(l *lab) { l.heads[1].powerOff() }},
		{"to an ill head", "head2", "refused: head2 is not healthy", func(l *lab) { l.heads[1].Self.Unhealthy = "mysql is down" }},
		{"to a head without an uplink", "head2", "refused: the uplink of head2 is down", func(l *lab) { l.heads[1].Uplink = Down }},
		{"to a head that resyncs", "head2", "refused: the data of head2 is syncing", func(l *lab) { l.heads[0].Data, l.heads[1].Data = DataUpToDate, DataSyncing }},
		{"to a head that is ending", "head2", "refused: the daemon of head2 is ending", func(l *lab) { l.heads[1].Self.Stopping = true }},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := warm(t, Panel, 2)
			if test.set != nil {
				test.set(l)
			}
			l.run(time.Second)
			h1 := l.heads[0]
			h1.Operator.Switch = test.to
			l.run(step)
			if diff := cmp.Diff(test.want, h1.last.Done.Switch); diff != "" || l.owner() != "head1" {
				t.Errorf("%s %s", diff, l)
			}
		})
	}
	l := warm(t, Panel, 2)
	h2 := l.heads[1]
	h2.Operator.Switch = "head2"
	l.run(step)
	if got := h2.last.Done.Switch; got != "refused: head1 owns the cluster" {
		t.Errorf("of a standby: %q", got)
	}
}

// Who is to take over and cannot: the old owner takes it back, and says that it came to nothing.
func TestSwitchToWhoDies(t *testing.T) {
	l := warm(t, Panel, 2)
	h1, h2 := l.heads[0], l.heads[1]
	h1.Operator.Switch = "*"
	l.run(2 * step)
	h2.powerOff()
	done := ""
	for range 500 {
		l.run(step)
		if h1.last.Done.Switch != "" {
			done = h1.last.Done.Switch
		}
	}
	if l.owner() != "head1" || done != "failed: head2 did not take over within 2s" || !mailed(h1, "head2 did not take over within 2s") {
		t.Errorf("%q %s", done, l)
	}
}

// What makes an owner hand over by itself.
func TestHandsOver(t *testing.T) {
	for _, test := range []struct {
		name string
		set  func(b *box)
		why  string
	}{
		{"a monitor asks for it", func(b *box) { b.Self.Unhealthy = "mysql is down" }, "mysql is down"},
		{"its services have failed", func(b *box) { b.View.Services, b.noStart = ServicesFailed, true }, "services have failed"},
		{"its daemon is ending", func(b *box) { b.Self.Stopping = true }, "its daemon is ending"},
		{"its uplink is down", func(b *box) { b.Uplink = Down }, "its uplink is down, that of head2 is up"},
	} {
		for _, kind := range []AuthorityKind{Pair, Panel} {
			l := warm(t, kind, 2)
			h1, h2 := l.heads[0], l.heads[1]
			test.set(h1)
			l.until("head2", Active, 2*time.Second)
			l.run(time.Second)
			if l.owner() != "head2" || h1.Services != ServicesStopped || count(h1.events, "in favour of head2: "+test.why) != 1 || !mailed(h2, "owns the cluster under epoch "+h2.Record.Epoch.String()) {
				t.Errorf("%s, %v: %s\n%+v", test.name, kind, l, h1.events)
			}
		}
	}
}

// Nobody can take over: an ill owner is better than none.
func TestStaysForWantOfAnHeir(t *testing.T) {
	l := warm(t, Panel, 2)
	l.heads[1].powerOff()
	l.run(time.Second)
	h1 := l.heads[0]
	h1.Self.Unhealthy = "mysql is down"
	l.run(3 * time.Second)
	if l.owner() != "head1" || !slices.Contains(h1.last.Why.Against, "should hand over: mysql is down") {
		t.Errorf("%s", l)
	}
}

// A service that cannot be stopped would run on two heads: the machine is reset.
func TestStopFails(t *testing.T) {
	l := warm(t, Panel, 2)
	h1 := l.heads[0]
	h1.noStop = true
	h1.Operator.Switch = "head2"
	l.until("head2", Active, 5*time.Second)
	if !h1.off || h1.last.Reset != "a service could not be stopped" || !mailed(h1, "this machine is reset") {
		t.Errorf("%q %s", h1.last.Reset, l)
	}
}
