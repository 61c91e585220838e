package vip

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"masthead/appliance/failover"
)

const ms = time.Millisecond

// TestSchedule has the announcer asked each 10 ms, as if the machine were that slow.
func TestSchedule(t *testing.T) {
	var a announcer
	var got []time.Duration
	run := func(from, to time.Duration, open bool) {
		for now := from; now < to; now += 10 * ms {
			if a.due(now, open) {
				got = append(got, now)
			}
		}
	}
	run(0, time.Second, true) // not wanted
	a.want(true)
	run(time.Second, 2*time.Second, false)                  // shut
	run(2*time.Second, 2*time.Second+250*ms, true)          // 2.00, 2.05, 2.10, 2.20
	run(2*time.Second+250*ms, 10*time.Second, false)        // it shuts by itself
	a.again()                                               // it opens
	run(10*time.Second, 10*time.Second+3*time.Minute, true) // from the beginning
	s := time.Second
	want := []time.Duration{
		2 * s, 2*s + 50*ms, 2*s + 100*ms, 2*s + 200*ms,
		10 * s, 10*s + 50*ms, 10*s + 100*ms, 10*s + 200*ms, 10*s + 400*ms, 11 * s, 12 * s, 15 * s, 75 * s, 135 * s,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := a.next(140 * s); n != 55*s {
		t.Errorf("next in %v, want 55s", n)
	}
	// What was missed is not made up for.
	a.want(true)
	if !a.due(0, true) || !a.due(700*ms, true) || a.due(701*ms, true) || !a.due(s, true) {
		t.Error("a late announcer is wrong")
	}
	a.want(false)
	if a.due(2*s, true) {
		t.Error("announces though nobody wants it")
	}
}

func TestProber(t *testing.T) {
	vip, peer, other := addr("10.0.0.100"), addr("10.0.0.2"), addr("10.0.0.3")
	p := prober{vips: map[netip.Addr]bool{vip: true}, peers: map[netip.Addr]bool{peer: true}, began: -1}
	hear := func(a netip.Addr) { p.hear(claim{a, [6]byte{2, 0, 0, 0, 0, 9}}) }
	now := failover.Instant(0)
	round := func(blind bool, heard ...netip.Addr) failover.Probe {
		t.Helper()
		if !p.due(now) || !p.on {
			t.Fatalf("no round at %v", now)
		}
		p.asked(now, blind)
		if p.due(now + probeEvery - ms) {
			t.Fatal("a round ended too early")
		}
		for _, a := range heard {
			hear(a)
		}
		now += probeEvery
		return p.result
	}
	hear(vip)
	if p.due(0) || p.result != (failover.Probe{}) {
		t.Error("probes while it is off")
	}
	p.set(true)
	type results = []failover.Probe
	got := results{
		round(false), round(false), round(false, other), // each result is that of the rounds before, and of answers at once
		round(false, peer), round(false), round(false),
		round(true), round(false),
		round(false, vip), round(false),
	}
	want := results{
		{}, {Rounds: 1}, {Rounds: 2},
		{Peer: true}, {Peer: true}, {Rounds: 1},
		{Rounds: 2}, {Rounds: 2}, // the blind one does not count
		{VIP: true}, {VIP: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	p.set(true)
	if p.holder.String() != "02:00:00:00:00:09" {
		t.Errorf("holder %v", p.holder)
	}
	p.set(false)
	if p.result != (failover.Probe{}) || p.holder != nil || p.due(now+time.Hour) {
		t.Error("something is left after the end")
	}
}

func TestConflictTiming(t *testing.T) {
	var c conflict
	v1, v2 := addr("10.0.0.100"), addr("fd77::100")
	third, peer := net.HardwareAddr{2, 0, 0, 0, 0, 9}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	if c.told(0) != "" || c.due(0) != nil {
		t.Error("a conflict at the beginning")
	}
	if c.hear(0, v1, peer, true) || c.told(0) != "" {
		t.Error("a peer is told as a third machine")
	}
	if got := c.due(0); !got[v1] || len(got) != 1 {
		t.Errorf("defends %v", got)
	}
	if !c.hear(10*ms, v1, third, false) || c.hear(20*ms, v2, third, false) {
		t.Error("news are wrong")
	}
	if c.due(99*ms) != nil || c.next(99*ms) != ms {
		t.Error("defends too often")
	}
	if got := c.due(100 * ms); len(got) != 2 || c.due(time.Second) != nil {
		t.Errorf("defends %v", got)
	}
	if c.told(20*ms+conflictHolds) != third.String() || c.told(21*ms+conflictHolds) != "" {
		t.Error("a conflict is told too long or too short")
	}
}

func TestGateway(t *testing.T) {
	var g gateway
	now := failover.Instant(0)
	if g.silent(now) != 0 {
		t.Error("silent before it was asked")
	}
	// ask asks when it is time, lets it answer or not, and gives when the next question is due.
	ask := func(answers bool) failover.Reading {
		now = max(now, g.next())
		if !g.due(now) || g.due(now+gatewayAgain-ms) {
			t.Fatalf("at %v: not asked once", now)
		}
		was := g.state
		if answers {
			g.hear(now + ms)
		}
		return was
	}
	if got := ask(true); got != failover.Unknown {
		t.Errorf("before the first answer: %v", got)
	}
	from := now
	for n := range gatewayMisses {
		if got := ask(false); got != failover.Up {
			t.Fatalf("down after %d questions without an answer", n)
		}
	}
	if got := ask(false); got != failover.Up && got != failover.Down {
		t.Errorf("after all: %v", got)
	}
	if g.state != failover.Down || now-from > 1200*ms {
		t.Errorf("%v %v after the last answer", g.state, now-from)
	}
	if got := g.silent(now); got != now-from-ms {
		t.Errorf("silent for %v, want %v", got, now-from-ms)
	}
	ask(true)
	if g.state != failover.Up || g.misses != 0 || g.silent(now+ms) != 0 {
		t.Errorf("answers again: %v, %d misses", g.state, g.misses)
	}
}

func TestCarrier(t *testing.T) {
	const admin, lower = unix.IFF_UP, unix.IFF_UP | unix.IFF_LOWER_UP
	for _, tt := range []struct {
		flags uint32
		state netlink.LinkOperState
		want  failover.Reading
	}{
		{0, netlink.OperDown, failover.Down},
		{unix.IFF_LOWER_UP, netlink.OperUp, failover.Down},
		{lower, netlink.OperUp, failover.Up},
		{admin, netlink.OperDown, failover.Down},
		{admin, netlink.OperLowerLayerDown, failover.Down},
		{lower, netlink.OperDormant, failover.Down}, // 802.1X has not let it in
		{lower, netlink.OperUnknown, failover.Up},
		{admin, netlink.OperUnknown, failover.Down},
	} {
		if got := carrierOf(&netlink.LinkAttrs{RawFlags: tt.flags, OperState: tt.state}); got != tt.want {
			t.Errorf("flags %#x, %v: %v, want %v", tt.flags, tt.state, got, tt.want)
		}
	}
	u, up, down := failover.Unknown, failover.Up, failover.Down
	if worst(up, up) != up || worst(up, u) != u || worst(u, down) != down {
		t.Error("worst is wrong")
	}
}

func TestConfig(t *testing.T) {
	now := func() failover.Instant { return 0 }
	p := netip.MustParsePrefix
	_, err := Config{
		Addresses: []Address{
			{p("10.0.0.1/24"), "eth0"}, {p("10.0.0.1/32"), "eth1"}, {p("fe80::1/64"), "eth0"}, {p("224.0.0.1/32"), "eth0"},
			{p("10.0.0.2/24"), ""}, {p("10.0.0.3/24"), "a-name-that-is-too-long"}, {}, {p("::ffff:10.0.0.4/128"), "eth0"},
		},
		Peers: []netip.Addr{addr("10.0.0.2")}, Gate: 2 * time.Second,
	}.checked()
	for i, want := range []string{"2 (10.0.0.1/32", "3 (fe80::1/64", "4 (224.0.0.1/32", "5 (10.0.0.2/24", "6 (10.0.0.3/24", "7 (invalid", "8 (::ffff:10.0.0.4/128", "peer", "1s", "no clock"} {
		lines := strings.Split(err.Error(), "\n")
		if i >= len(lines) || !strings.Contains(lines[i], want) {
			t.Errorf("no %q in line %d of\n%v", want, i+1, err)
		}
	}
	c, err := Config{Addresses: both, Now: now}.checked()
	if err != nil || c.Gate != failover.Normal().Gate || c.Log == nil || c.PeerMACs() != nil {
		t.Errorf("%+v, %v", c, err)
	}
}
