package vip

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestMove moves the addresses to and fro: by an orderly release, and after the owner was stopped. Neighbours are a
// client, a third head, and the other head itself: heads are clients while they are not the owner.
func TestMove(t *testing.T) {
	l := newLab(t, "a", "b", "c", "d")
	heads := map[string]*head{}
	for _, n := range []string{"a", "b"} {
		heads[n], _ = l.start(n, headConfig{Addresses: both, PeerMACs: []string{l.mac("a"), l.mac("b")}})
	}
	l.start("d", headConfig{Addresses: both}) // a third head, always a standby, whose gate is shut
	own, other := "a", "b"
	heads[own].do("prepare")
	heads[own].hold(16, 400*time.Millisecond, 50*time.Millisecond)
	heads[own].do("announce")
	watchers := map[string]*watcher{
		"ICMP": l.ping("c", vip4.Addr()), "ICMPv6": l.ping("c", vip6.Addr()),
		"ICMP (2)": l.ping("d", vip4.Addr()), "ICMPv6 (2)": l.ping("d", vip6.Addr()),
	}
	for i := range 4 {
		for _, w := range watchers {
			w.answering()
		}
		for _, vip := range []netip.Addr{vip4.Addr(), vip6.Addr()} { // the standby reaches the VIP through its shut gate
			l.exec(other, "ping", "-c", "1", "-W", "1", vip.String())
		}
		begin := time.Now()
		heads[other].do("prepare")
		if i%2 == 0 {
			heads[own].do("release")
			heads[own].do("shut")
		} else {
			heads[own].kill()
			heads[own], _ = l.start(own, headConfig{Addresses: both, PeerMACs: []string{l.mac("a"), l.mac("b")}})
			await(t, "the dead owner's gate to shut", func() bool { return !heads[own].look().Open })
			heads[own].do("shut")
		}
		released := time.Now()
		heads[other].hold(uint64(32+16*i), 400*time.Millisecond, 50*time.Millisecond)
		heads[other].do("announce")
		for _, n := range []string{"c", "d"} {
			for _, vip := range []netip.Addr{vip4.Addr(), vip6.Addr()} {
				await(t, fmt.Sprintf("%s to know that %s has %v", n, other, vip), func() bool { return l.neighbor(n, vip) == l.mac(other) })
			}
		}
		learned := time.Since(released)
		for _, vip := range []netip.Addr{vip4.Addr(), vip6.Addr()} {
			l.exec(own, "ping", "-c", "1", "-W", "1", vip.String())
			if got := l.neighbor(own, vip); got != l.mac(other) {
				t.Errorf("%s thinks that %v is at %q", own, vip, got)
			}
		}
		t.Logf("all neighbours hold the new MAC %v after the release", learned.Round(time.Millisecond))
		if learned > time.Second {
			t.Errorf("the neighbours took %v", learned)
		}
		for name, w := range watchers {
			w.answering()
			t.Logf("%s: gap of %v from the beginning of the move", name, w.gap(begin).Round(time.Millisecond))
			if i%2 == 0 && w.gap(begin) > 150*time.Millisecond {
				t.Errorf("%s: gap of %v in a planned move", name, w.gap(begin))
			}
		}
		own, other = other, own
	}
	for n, h := range heads {
		if seen := h.look(); seen.Conflict != "" || len(seen.Events) > 0 || seen.Late > 0 {
			t.Errorf("%s: %+v", n, seen)
		}
	}
}

// TestRestart kills the owner and starts it again while its gate is open, twice in one test.
func TestRestart(t *testing.T) {
	l := newLab(t, "a", "c")
	const lease = 900 * time.Millisecond // a busy machine takes long to start a process
	c := headConfig{Addresses: both, Gate: lease}
	a, left := l.start("a", c)
	if left.Open {
		t.Errorf("open before anything was done: %+v", left)
	}
	a.do("prepare")
	a.hold(113, lease, 50*time.Millisecond)
	watchers := l.both("c")
	for _, w := range watchers {
		w.answering()
	}
	begin := time.Now()
	before := map[string]int{}
	for name, w := range watchers {
		before[name] = w.lost()
	}
	for i := range 3 {
		a.kill()
		a, left = l.start("a", c)
		t.Logf("left after kill -9 and restart: %+v", left)
		if !left.Open || left.Epoch != uint64(113+16*i) || left.Left <= 0 || left.Left > lease {
			t.Errorf("got %+v", left)
		}
		a.hold(uint64(113+16*(i+1)), lease, 50*time.Millisecond)
		if a.look().Open {
			t.Error("what was left is told though the gate is ours now")
		}
		time.Sleep(300 * time.Millisecond)
	}
	for name, w := range watchers {
		w.end()
		asked, answered := w.since(begin)
		t.Logf("%s: %d of %d answered", name, answered, asked)
		// An answer of ARP or ND has no number: there are as many as questions, but for those that were under way.
		if unnumbered := name == "ARP" || name == "ND"; unnumbered && w.lost() > before[name]+1 || !unnumbered && w.gap(begin) > 0 {
			t.Errorf("%s: %d lost, a gap of %v", name, w.lost()-before[name], w.gap(begin))
		}
	}
	a.kill()
	await(t, "the gate to shut", func() bool {
		return !strings.Contains(l.exec("a", "nft", "list", "table", "inet", tableName), "expires")
	})
	a, left = l.start("a", c)
	if left.Open {
		t.Errorf("open after its time: %+v", left)
	}
	if l.has("a", vip4) || l.has("a", vip6) {
		t.Errorf("an address was left:\n%s", l.ip("a", "addr"))
	}
	a.do("shut")
}

// TestLeftovers has addresses that others have made, and a VIP that is none any more.
func TestLeftovers(t *testing.T) {
	l := newLab(t, "a", "c")
	l.ip("a", "addr", "add", vip4.String(), "dev", "lan0")
	l.ip("a", "addr", "add", "fd77::100/128", "dev", "lo")
	a, _ := l.start("a", headConfig{Addresses: both})
	if out := l.ip("a", "addr"); strings.Contains(out, "10.77.0.100") || strings.Contains(out, "fd77::100") {
		t.Errorf("leftovers:\n%s", out)
	}
	if got := a.look().Events; len(got) != 2 || !strings.Contains(got[0], "without a lifetime") {
		t.Errorf("events %q", got)
	}
	third := Address{netip.MustParsePrefix("10.77.0.101/32"), "lan0"}
	a.do("prepare")
	a.hold(1, 400*time.Millisecond, 50*time.Millisecond)
	kept := l.ping("c", vip4.Addr())
	kept.answering()
	a.kill()
	a, left := l.start("a", headConfig{Addresses: []Address{both[0], third}})
	if !left.Open || l.has("a", vip6) || !l.has("a", vip4) {
		t.Errorf("%+v\n%s", left, l.ip("a", "addr"))
	}
	begin := time.Now()
	a.hold(1, 400*time.Millisecond, 50*time.Millisecond)
	l.ping("c", third.Prefix.Addr()).answering()
	if gap := kept.gap(begin); gap > 30*time.Millisecond {
		t.Errorf("a gap of %v", gap)
	}
}
