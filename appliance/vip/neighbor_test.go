package vip

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"

	"masthead/appliance/failover"
)

// trySend sends a datagram of a machine by a socket that is no head's.
func (l *lab) trySend(machine string, d datagram) (err error) {
	l.t.Helper()
	l.in(machine, func() error {
		ifi, failed := net.InterfaceByName("lan0")
		if failed != nil {
			return failed
		}
		c, failed := packet.Listen(ifi, packet.Datagram, int(d.proto), nil)
		if failed != nil {
			return failed
		}
		defer c.Close()
		_, err = c.WriteTo(d.payload, &packet.Addr{HardwareAddr: d.to})
		return nil
	})
	return err
}

func (l *lab) tell(machine string, list ...datagram) {
	l.t.Helper()
	for _, d := range list {
		if err := l.trySend(machine, d); err != nil {
			l.t.Fatal(err)
		}
	}
}

// TestConflict has another machine claim the addresses of the owner.
func TestConflict(t *testing.T) {
	l := newLab(t, "a", "c", "d")
	mac := func(s string) net.HardwareAddr { m, _ := net.ParseMAC(s); return m }
	a, _ := l.start("a", headConfig{Addresses: both, PeerMACs: []string{l.mac("d")}})
	a.do("prepare")
	third, peer := mac(l.mac("c")), mac(l.mac("d"))
	claims := append(announcements(vip4.Addr(), third), announcements(vip6.Addr(), third)...)
	l.tell("c", claims...)
	if got := a.look().Conflict; got != "" {
		t.Errorf("a conflict while the gate is shut: %s", got)
	}
	a.hold(1, 400*time.Millisecond, 50*time.Millisecond)
	for _, n := range []string{"c", "d"} {
		for _, vip := range []netip.Addr{vip4.Addr(), vip6.Addr()} {
			l.exec(n, "ping", "-c", "1", "-W", "2", vip.String())
		}
	}
	corrected := func(by string) {
		t.Helper()
		for _, vip := range []netip.Addr{vip4.Addr(), vip6.Addr()} {
			await(t, "the neighbour to be told again", func() bool { return l.neighbor(by, vip) == l.mac("a") })
		}
	}
	// A peer's claim is answered, and is no third machine's.
	own := append(announcements(vip4.Addr(), peer), announcements(vip6.Addr(), peer)...)
	l.tell("d", own...)
	corrected("c")
	if got := a.look(); got.Conflict != "" || len(got.Events) > 0 {
		t.Errorf("a peer's claim: %+v", got)
	}
	time.Sleep(2 * defendEvery)
	for _, d := range claims {
		l.tell("c", d)
		await(t, "a conflict", func() bool { return a.look().Conflict == l.mac("c") })
		corrected("d")
		time.Sleep(2 * defendEvery)
	}
	if got := a.look().Events; len(got) != 1 || !strings.Contains(got[0], l.mac("c")) {
		t.Errorf("events %q", got)
	}
	a.do("release")
	a.do("shut")
	if got := a.look().Conflict; got != "" {
		t.Errorf("a conflict of a shut gate: %s", got)
	}
}

// TestProbe looks for a peer, an owner and a third machine.
func TestProbe(t *testing.T) {
	l := newLab(t, "a", "b", "c")
	b, _ := l.start("b", headConfig{Addresses: both, Peers: []netip.Addr{addr(l.addr4("a")), addr(l.addr6("a"))}, PeerMACs: []string{l.mac("a")}})
	a, _ := l.start("a", headConfig{Addresses: both, PeerMACs: []string{l.mac("b")}})
	a.do("prepare")
	a.hold(1, 400*time.Millisecond, 100*time.Millisecond)
	probe := func(on bool) { b.ask(request{Op: "probe", On: on}) }
	probe(true)
	await(t, "the owner and its own address", func() bool { return b.look().Probe == failover.Probe{VIP: true, Peer: true} })
	if got := b.look(); got.Holder != l.mac("a") || !got.Peer {
		t.Errorf("holder %s, peer %v", got.Holder, got.Peer)
	}
	a.do("release")
	a.do("shut")
	await(t, "the peer alone", func() bool { return b.look().Probe == failover.Probe{Peer: true} })
	l.ip("a", "link", "set", "lan0", "down")
	took := await(t, "three rounds", func() bool { return b.look().Probe.Rounds >= 3 })
	t.Logf("three silent rounds %v after the peer was cut off", took.Round(time.Millisecond))
	if took < 250*time.Millisecond || took > 700*time.Millisecond {
		t.Errorf("took %v", took)
	}
	if p := b.look().Probe; p.VIP || p.Peer {
		t.Errorf("%+v", p)
	}
	for _, p := range []netip.Prefix{vip4, vip6} { // a third machine has one of them
		args := []string{"addr", "add", p.String(), "dev", "lan0"}
		if p.Addr().Is6() {
			args = append(args, "nodad")
		}
		l.ip("c", args...)
		await(t, "the third machine", func() bool { return b.look().Probe == failover.Probe{VIP: true} })
		if got := b.look(); got.Holder != l.mac("c") || got.Peer {
			t.Errorf("holder %s, peer %v", got.Holder, got.Peer)
		}
		l.ip("c", "addr", "del", p.String(), "dev", "lan0")
		await(t, "three rounds", func() bool { return b.look().Probe.Rounds >= 3 })
	}
	// Without a carrier nobody can answer: that proves nothing.
	l.ip("switch", "link", "set", "p2", "down")
	await(t, "no carrier", func() bool { return b.look().Uplink == failover.Down })
	rounds := b.look().Probe.Rounds
	time.Sleep(5 * probeEvery)
	if got := b.look().Probe.Rounds; got > rounds+1 {
		t.Errorf("%d rounds counted without a carrier", got-rounds)
	}
	probe(false)
	if got := b.look().Probe; got != (failover.Probe{}) {
		t.Errorf("after the end: %+v", got)
	}
}
