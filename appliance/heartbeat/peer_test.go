package heartbeat

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"masthead/appliance/failover"
)

// exchange is two heads without a network: a is the one that listens, b the one whose runs and recordings are played.
type exchange struct {
	a   *peer // a's record of b
	now failover.Instant
	tag uint32
}

func newExchange() *exchange { return &exchange{a: &peer{id: 1}} }

// send is a sending a frame to b; the tag is what b can echo.
func (e *exchange) send() uint32 {
	e.now += time.Millisecond
	e.tag++
	e.a.sent.add(e.tag, e.now)
	return e.tag
}

func (e *exchange) accept(f frame) verdict {
	e.now += time.Millisecond
	return e.a.accept(f, 1, e.now)
}

func from(boot, start uint64, seq uint32, echo uint32) frame {
	return frame{From: 1, Start: start, Seq: seq, Echo: echo, Said: failover.Said{BootID: boot, Epoch: failover.Epoch(boot), Released: failover.Epoch(boot), For: -1}}
}

func TestRuns(t *testing.T) {
	stale := func(t *testing.T, name string, v verdict, want bool) {
		t.Helper()
		if v.stale != want {
			t.Errorf("%s: stale %t, want %t", name, v.stale, want)
		}
	}
	t.Run("rights only of a run that echoes", func(t *testing.T) {
		e := newExchange()
		tag := e.send()
		stale(t, "first", e.accept(from(9, 100, 1, 0)), false)
		if got := e.a.believed(); got.Released != 0 || got.BootID != 9 {
			t.Errorf("believed without an echo: %+v", got)
		}
		v := e.accept(from(9, 100, 2, tag))
		if got := e.a.believed(); got.Released != 9 || !v.changed {
			t.Errorf("not believed with an echo: %+v", got)
		}
	})
	t.Run("recording of the same run", func(t *testing.T) {
		e := newExchange()
		f := from(9, 100, 5, e.send())
		stale(t, "first", e.accept(f), false)
		stale(t, "again", e.accept(f), true)
		stale(t, "earlier", e.accept(from(9, 100, 4, e.send())), true)
		other := from(9, 100, 1, 0)
		other.Link = 3
		stale(t, "another link counts for itself", e.accept(other), false)
	})
	t.Run("recording of an old run, whose clock was ahead", func(t *testing.T) {
		e := newExchange()
		old := e.send()
		e.accept(from(9, 900, 1, old))
		e.accept(from(9, 900, 2, e.send()))
		stale(t, "new boot, clock set back, no echo yet", e.accept(from(10, 100, 1, 0)), true)
		stale(t, "new boot, echo of before", e.accept(from(10, 100, 2, old)), true)
		stale(t, "new boot, echo", e.accept(from(10, 100, 3, e.send())), false)
		stale(t, "recording with the echo of its time", e.accept(from(9, 900, 3, old)), false)
		// Its start is later, so it seems alive, but gives no right, and the first true echo puts it right.
		if got := e.a.believed(); got.Released != 0 {
			t.Errorf("a recording is believed: %+v", got)
		}
		stale(t, "the true run", e.accept(from(10, 100, 4, e.send())), false)
		if got := e.a.believed(); got.BootID != 10 || got.Released != 10 {
			t.Errorf("believed %+v", got)
		}
	})
	t.Run("recording of an old run", func(t *testing.T) {
		e := newExchange()
		old := e.send()
		e.accept(from(9, 100, 1, old))
		stale(t, "new boot", e.accept(from(10, 101, 1, 0)), false)
		stale(t, "recording", e.accept(from(9, 100, 2, old)), true)
		stale(t, "new boot goes on", e.accept(from(10, 101, 2, e.send())), false)
		stale(t, "recording", e.accept(from(9, 100, 3, old)), true)
	})
	t.Run("daemon starts again within one boot", func(t *testing.T) {
		e := newExchange()
		e.accept(from(9, 100, 500, e.send()))
		stale(t, "restarted", e.accept(from(9, 105, 1, 0)), false)
	})
	t.Run("an echo grows old", func(t *testing.T) {
		e := newExchange()
		tag := e.send()
		e.now += echoAge + time.Second
		e.accept(from(9, 100, 1, tag))
		if got := e.a.believed(); got.Released != 0 {
			t.Errorf("believed %+v", got)
		}
	})
}

// TestRecordings: whatever is recorded of proven earlier runs, and in whatever order it is played, what they said is
// never believed again.
func TestRecordings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := newExchange()
		var recorded []frame
		for boot := uint64(1); boot <= 4; boot++ {
			start := rapid.Uint64Range(0, 50).Draw(t, "start") // clocks jump
			for seq := uint32(1); seq <= 5; seq++ {
				f := from(boot, start, seq, e.send())
				v := e.accept(f)
				if v.stale {
					t.Fatalf("boot %d, frame %d is refused", boot, seq)
				}
				for range rapid.IntRange(0, 4).Draw(t, "played") {
					if len(recorded) == 0 {
						break
					}
					e.accept(recorded[rapid.IntRange(0, len(recorded)-1).Draw(t, "which")])
					if got := e.a.believed(); got.Released != 0 && got.BootID != boot {
						t.Fatalf("in boot %d the word of boot %d is believed", boot, got.BootID)
					}
				}
				recorded = append(recorded, f)
			}
		}
	})
}

// TestStopped: a head that was stopped reads what has waited for it. That the peer released meanwhile, and took back,
// must not be believed for a moment, though all of it is in order.
func TestStopped(t *testing.T) {
	var now failover.Instant
	h, err := New(Config{Cluster: "c1", Self: 0, Key: testKey, Serial: []Serial{{Device: "/dev/null", Peer: 1}}, Now: func() failover.Instant { return now }})
	if err != nil {
		t.Fatal(err)
	}
	l := h.links[0]
	h.opened(l, func([]byte) error { return nil })
	h.Say(saying(9, 1))
	turn := func() uint32 {
		now += DefaultInterval
		h.send(h.links)
		return h.peers[1].sent.ring[h.peers[1].sent.next-1].tag
	}
	receive := func(seq, echo uint32, released failover.Epoch) failover.Epoch {
		f := frame{From: 1, Start: 1, Seq: seq, Revision: uint16(seq), Echo: echo, Said: saying(5, 7)}
		f.Said.Released = released
		b, _ := h.seal.encode(f)
		h.received(l, b[:])
		return h.Said(1).Released
	}
	tag := turn()
	if got := receive(1, tag, 3); got != 3 {
		t.Fatalf("released %d, want 3", got)
	}
	last := turn()
	now += stoppedAfter*DefaultSerialInterval + 1
	if got := receive(2, last, 5); got != 0 {
		t.Errorf("released %d of a frame that has waited, want none", got)
	}
	if got := receive(3, last, 5); got != 0 {
		t.Errorf("released %d of a frame that has waited, want none", got)
	}
	if got := receive(4, turn(), 6); got != 6 {
		t.Errorf("released %d of a frame of the present, want 6", got)
	}
}

// TestOvertaken: a frame that was slow on its cable does not undo what a newer one said.
func TestOvertaken(t *testing.T) {
	e := newExchange()
	said := func(link int, seq uint32, rev uint16, epoch failover.Epoch) frame {
		return frame{Link: link, From: 1, Start: 1, Seq: seq, Revision: rev, Said: saying(5, epoch)}
	}
	e.accept(said(0, 1, 65535, 1))
	e.accept(said(0, 2, 0, 2)) // the revision goes round
	e.accept(said(1, 1, 65535, 1))
	if got := e.a.believed().Epoch; got != 2 {
		t.Errorf("epoch %d after an overtaken frame, want 2", got)
	}
	e.now += revisionAge + time.Second
	e.accept(said(1, 2, 40000, 3)) // parted for long: the revision says nothing
	if got := e.a.believed().Epoch; got != 3 {
		t.Errorf("epoch %d after a long silence, want 3", got)
	}
}

func TestCounters(t *testing.T) {
	const interval = 50 * time.Millisecond
	s := newSeal("c1", testKey)
	p := &peer{id: 1}
	l := newLink(p, failover.LinkNIC, "eth0", 0, interval)
	at := time.Second
	bytesOf := func(f frame) []byte { b, _ := s.encode(f); return b[:] }
	seq := func(n uint32) []byte {
		return bytesOf(frame{Link: 3, From: 1, To: 0, Start: 1, Seq: n, Hears: 1 << 3, Said: saying(5, 1)})
	}
	for _, step := range []struct {
		name  string
		after time.Duration
		b     []byte
		want  LinkState
	}{
		{"first", 0, seq(10), LinkState{Good: 1}},
		{"second", interval, seq(11), LinkState{Good: 2}},
		{"out of turn", time.Millisecond, seq(12), LinkState{Good: 3}},
		{"two lost", 3 * interval, seq(15), LinkState{Good: 4, Missed: 2}},
		{"not yet late", 3 * interval, seq(16), LinkState{Good: 5, Missed: 2}},
		{"late", 3*interval + time.Millisecond, seq(17), LinkState{Good: 6, Missed: 2, Late: 1}},
		{"twice", 0, seq(17), LinkState{Good: 6, Missed: 2, Late: 1, Stale: 1}},
		{"garbled", 0, []byte("garbage"), LinkState{Good: 6, Missed: 2, Late: 1, Stale: 1, Garbled: 1}},
		{"our own, from a mirror", 0, bytesOf(frame{From: 0, To: 1, Seq: 18, Said: saying(5, 1)}), LinkState{Good: 6, Missed: 2, Late: 1, Stale: 1, Garbled: 1, Forged: 1}},
		{"another head", 0, bytesOf(frame{From: 2, To: 0, Seq: 18, Said: saying(5, 1)}), LinkState{Good: 6, Missed: 2, Late: 1, Stale: 1, Garbled: 1, Forged: 2}},
	} {
		at += step.after
		l.receive(s, 0, step.b, at)
		got := l.state
		got.Link, got.Peer = failover.Link{}, 0
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
	}
	v := l.view()
	if want := "heard head 2 speaking to head 0"; v.Trouble != want || v.HeardUs != failover.Up {
		t.Errorf("trouble %q, heard us %v, want %q and up by the peer's number of the link", v.Trouble, v.HeardUs, want)
	}
}
