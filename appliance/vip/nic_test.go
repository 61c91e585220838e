package vip

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"masthead/appliance/failover"
)

// TestManyNICs has VIPs on an interface with a name like a VLAN's, on a bridge, and another NIC in the same network: Linux answers
// on each for all of its addresses.
func TestManyNICs(t *testing.T) {
	l := newLab(t, "a", "c")
	l.plug("a", "eth1", 0x11)
	l.ip("a", "link", "set", "eth1", "down")
	l.ip("a", "link", "set", "eth1", "name", "eth0.10")
	l.up("a", "eth0.10")
	l.plug("a", "port", 0x12)
	l.ip("a", "link", "add", "br-lan", "address", "02:00:00:00:00:13", "type", "bridge")
	l.ip("a", "link", "set", "port", "master", "br-lan")
	l.up("a", "br-lan")
	l.plug("a", "eth9", 0x14) // has no VIP, and would answer all the same
	addresses := []Address{
		{netip.MustParsePrefix("10.77.0.100/32"), "lan0"},
		{netip.MustParsePrefix("10.77.0.101/24"), "eth0.10"},
		{netip.MustParsePrefix("fd77::101/128"), "eth0.10"},
		{netip.MustParsePrefix("10.77.0.102/24"), "br-lan"},
		{netip.MustParsePrefix("fd77::102/64"), "br-lan"},
	}
	a, _ := l.start("a", headConfig{Addresses: addresses})
	a.do("prepare")
	watchers := map[string]*watcher{}
	for _, v := range addresses {
		watchers["ping "+v.Prefix.String()] = l.ping("c", v.Prefix.Addr())
		watchers["ask "+v.Prefix.String()] = l.arping("c", "lan0", v.Prefix.Addr())
	}
	own := l.ping("c", addr(l.addr4("a")))
	own.answering()
	for name, w := range watchers {
		w.silent(name, 200*time.Millisecond)
	}
	a.hold(1, 400*time.Millisecond, 50*time.Millisecond)
	a.do("announce")
	for _, w := range watchers {
		w.answering()
	}
	a.do("release")
	released := time.Now()
	time.Sleep(500 * time.Millisecond)
	for name, w := range watchers {
		if last := w.last().Sub(released); last > 400*time.Millisecond {
			t.Errorf("%s: answered %v after the last refresh", name, last)
		}
		w.silent(name, 100*time.Millisecond)
	}
	for i, mac := range []string{l.mac("a"), "02:00:00:00:00:11", "02:00:00:00:00:11", "02:00:00:00:00:13", "02:00:00:00:00:13"} {
		if w := watchers["ask "+addresses[i].Prefix.String()]; len(w.by) != 1 || w.by[mac] == 0 {
			t.Errorf("%v: answered by %v, not by %s alone", addresses[i].Prefix, w.by, mac)
		}
	}
	a.do("shut")
	if got := a.look().Events; len(got) > 0 {
		t.Errorf("events %q", got)
	}
}

// TestNICGone has the interface vanish under an open gate, and come back.
func TestNICGone(t *testing.T) {
	l := newLab(t, "a", "c")
	second := Address{netip.MustParsePrefix("10.77.0.101/32"), "eth1"}
	a, _ := l.start("a", headConfig{Addresses: append([]Address{second}, both...)})
	if got := a.try(request{Op: "prepare"}).Err; !strings.Contains(got, "10.77.0.101/32 on eth1") {
		t.Errorf("an interface that is missing: %q", got)
	}
	a.hold(1, 400*time.Millisecond, 50*time.Millisecond)
	a.do("announce")
	w := l.ping("c", vip4.Addr())
	w.answering() // the others are not kept away by it
	l.plug("a", "eth1", 0x11)
	l.ip("a", "addr", "add", "10.77.0.17/24", "dev", "eth1", "metric", "1") // so that there is a route without lan0
	second4 := l.ping("c", second.Prefix.Addr())
	t.Logf("an address on a new interface answered after %v", second4.answering().Round(time.Millisecond))
	rules := func() bool {
		out := l.exec("a", "nft", "list", "table", "netdev", tableName)
		return strings.Count(out, "hook ingress device \"lan0\"") == 1 && strings.Count(out, "hook egress device \"lan0\"") == 1
	}
	if !rules() {
		t.Fatalf("rules:\n%s", l.exec("a", "nft", "list", "ruleset"))
	}
	start := time.Now()
	for range 2 {
		begin := time.Now()
		l.ip("a", "link", "del", "lan0")
		await(t, "the interface to be missed", func() bool { return a.look().Uplink == failover.Down })
		second4.answering()
		l.plug("a", "lan0", 1)
		l.ip("a", "addr", "add", l.addr4("a")+"/24", "dev", "lan0")
		await(t, "the rules", rules)
		w.answering()
		t.Logf("gone and back: answered after %v", time.Since(begin).Round(time.Millisecond))
		await(t, "the carrier", func() bool { return a.look().Uplink == failover.Up })
	}
	t.Logf("the other interface: a gap of %v while routes change", second4.gap(start).Round(time.Millisecond))
	a.do("release")
	time.Sleep(500 * time.Millisecond)
	w.silent("the interface that came back", 200*time.Millisecond)
	await(t, "the addresses to go", func() bool { return !l.has("a", vip4) })
	l.ip("a", "link", "del", "lan0")
	l.plug("a", "lan0", 1)
	await(t, "the rules", rules)
	time.Sleep(2 * renewAfter)
	if l.has("a", vip4) {
		t.Error("an address came back with its interface after the lease had ended")
	}
	l.ip("a", "addr", "add", l.addr4("a")+"/24", "dev", "lan0")
	a.do("shut")
	a.do("prepare")
	w.silent("the interface that came back, prepared", 200*time.Millisecond)
	t.Logf("events: %q", a.look().Events)
}

// TestNICRenamed renames the interface while it is up, as udev does: nothing is amiss, and whoever knows the names is told.
func TestNICRenamed(t *testing.T) {
	l := newLab(t, "a", "c")
	a, _ := l.start("a", headConfig{Addresses: both})
	a.hold(1, 400*time.Millisecond, 50*time.Millisecond)
	a.do("announce")
	l.ping("c", vip4.Addr()).answering()
	await(t, "the carrier", func() bool { return a.look().Uplink == failover.Up })
	l.ip("a", "link", "set", "lan0", "name", "enp0s2")
	await(t, "the new name to be told", func() bool { return a.look().Renamed })
	for range 30 {
		if got := a.look().Uplink; got != failover.Up {
			t.Fatalf("the uplink is %v", got)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !l.has("a", vip4) {
		t.Error("the address is gone")
	}
	if got := a.look().Events; len(got) > 0 {
		t.Errorf("events %q", got)
	}
}

// TestUplink takes the cable and the gateway away.
func TestUplink(t *testing.T) {
	for name, gateway := range map[string]netip.Addr{"IPv4": addr("10.77.0.2"), "IPv6": addr("fd77::2"), "link-local": addr("fe80::ff:fe00:2")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, "a", "c")
			a, _ := l.start("a", headConfig{Addresses: both, Gateway: gateway})
			up := func() bool { return a.look().Uplink == failover.Up }
			await(t, "the gateway", up)
			begin := time.Now()
			l.ip("c", "link", "set", "lan0", "down") // the switch's end loses its carrier, not the head's
			for a.look().Uplink == failover.Up {
				time.Sleep(10 * time.Millisecond)
			}
			t.Logf("down %v after the gateway was cut off", time.Since(begin).Round(time.Millisecond))
			if took := time.Since(begin); took < 500*time.Millisecond || took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			l.ip("c", "link", "set", "lan0", "up")
			if gateway.Is6() && !gateway.IsLinkLocalUnicast() {
				l.ip("c", "addr", "replace", l.addr6("c")+"/64", "dev", "lan0", "nodad")
			}
			await(t, "the gateway again", up)
			l.ip("switch", "link", "set", "p1", "down")
			took := await(t, "no carrier", func() bool { return a.look().Uplink == failover.Down })
			t.Logf("down %v after the cable was pulled", took.Round(time.Millisecond))
			if took > 500*time.Millisecond {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestOwnTraffic has the head itself talk while it holds the addresses: it never uses them as its source.
func TestOwnTraffic(t *testing.T) {
	l := newLab(t, "a", "c")
	a, _ := l.start("a", headConfig{Addresses: append([]Address{{netip.MustParsePrefix("fd77::2ff/128"), "lan0"}}, both...)})
	a.do("prepare")
	for target, want := range map[string]string{l.addr4("c"): l.addr4("a"), l.addr6("c"): l.addr6("a")} {
		if out := l.ip("a", "route", "get", target); !strings.Contains(out, "src "+want+" ") {
			t.Errorf("to %s: %s", target, out)
		}
	}
	before := l.ip("a", "-6", "route", "show", "dev", "lan0") + l.ip("a", "route", "show", "dev", "lan0")
	a.do("shut")
	time.Sleep(1500 * time.Millisecond)
	after := l.ip("a", "-6", "route", "show", "dev", "lan0") + l.ip("a", "route", "show", "dev", "lan0")
	if before != after || !strings.Contains(after, "fd77::/64") || strings.Contains(after, "expires") {
		t.Errorf("routes with the addresses:\n%safter them:\n%s", before, after)
	}
	// Without an address of its own in the VIP's network, the VIP brings the route.
	l.ip("a", "addr", "flush", "dev", "lan0", "scope", "global")
	a.hold(1, 400*time.Millisecond, 50*time.Millisecond)
	l.ping("c", vip4.Addr()).answering()
	l.ping("c", vip6.Addr()).answering()
}
