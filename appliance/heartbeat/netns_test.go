package heartbeat

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"masthead/appliance/failover"
	"masthead/vmtest/prerequisite"
)

// twoHeads is two network namespaces with two cables between them, lan0 and lan1.
type twoHeads struct{ a, b string }

func newTwoHeads(t testing.TB) twoHeads {
	t.Helper()
	prerequisite.Root(t)
	prerequisite.Programs(t, "ip", "nft")
	id := fmt.Sprintf("hb%x", time.Now().UnixNano()&0xffffffffff)
	w := twoHeads{id + "a", id + "b"}
	for _, ns := range []string{w.a, w.b} {
		out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput()
		prerequisite.Have(t, err == nil, "network namespaces ("+strings.TrimSpace(string(out))+")")
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	}
	for i := range 2 {
		w.plug(t, i)
	}
	return w
}

// plug makes cable i, with addresses 10.9.I.1 and 10.9.I.2.
func (w twoHeads) plug(t testing.TB, i int) {
	t.Helper()
	lan := fmt.Sprint("lan", i)
	command(t, "ip", "-n", w.a, "link", "add", lan, "type", "veth", "peer", "name", lan, "netns", w.b)
	for side, ns := range []string{w.a, w.b} {
		command(t, "ip", "-n", ns, "addr", "add", fmt.Sprintf("10.9.%d.%d/24", i, side+1), "dev", lan)
		command(t, "ip", "-n", ns, "link", "set", lan, "up")
	}
}

func command(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// cut drops what comes in on a card; cut(…, false) lets it in again.
func cut(t testing.TB, ns, lan string, on bool) {
	t.Helper()
	if !on {
		command(t, "ip", "netns", "exec", ns, "nft", "delete", "table", "netdev", "cut"+lan)
		return
	}
	command(t, "ip", "netns", "exec", ns, "nft", fmt.Sprintf(
		"add table netdev cut%s; add chain netdev cut%s in { type filter hook ingress device %s priority 0; policy drop; }", lan, lan, lan))
}

func headConfig(self int) nodeConfig {
	peer := 1 - self
	c := nodeConfig{Self: self}
	for i := range 2 {
		at := func(id int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(i), byte(id + 1)}), 0)
		}
		c.NICs = append(c.NICs, NIC{Peer: peer, Name: fmt.Sprint("lan", i), Local: at(self), Remote: at(peer)})
	}
	return c
}

func TestNetwork(t *testing.T) {
	w := newTwoHeads(t)
	a, b := startNode(t, w.a, headConfig(0)), startNode(t, w.b, headConfig(1))
	a.say(saying(10, 1))
	b.say(saying(11, 2))
	both := func() bool {
		la, lb := a.links(), b.links()
		for i := range 2 {
			if !la.heard(i) || !lb.heard(i) || la.Links[i].HeardUs != failover.Up || lb.Links[i].HeardUs != failover.Up {
				return false
			}
		}
		return true
	}
	await(t, "both to hear on both", both)
	if got := a.said(1); got != saying(11, 2) {
		t.Errorf("b said %+v", got)
	}
	if l := a.links().Links[0]; l.Carrier != failover.Up || l.Name != "lan0" || l.Kind != failover.LinkNIC {
		t.Errorf("%+v", l)
	}

	t.Run("one direction", func(t *testing.T) {
		cut(t, w.a, "lan0", true) // a hears nothing on lan0; b does
		await(t, "a to be deaf on lan0, and b to be told", func() bool {
			la, lb := a.links(), b.links()
			return !la.heard(0) && la.heard(1) && lb.heard(0) && lb.Links[0].HeardUs == failover.Down && lb.Links[1].HeardUs == failover.Up &&
				la.Links[0].HeardUs == failover.Up
		})
		cut(t, w.a, "lan0", false)
		await(t, "both to hear on both again", both)
		if l := a.links().Links[0]; l.Missed == 0 {
			t.Errorf("nothing was missed: %+v", l)
		}
	})

	t.Run("link down and up", func(t *testing.T) {
		command(t, "ip", "-n", w.b, "link", "set", "lan1", "down")
		await(t, "silence and no carrier", func() bool {
			la, lb := a.links(), b.links()
			return !la.heard(1) && la.Links[1].Carrier == failover.Down && lb.Links[1].Carrier == failover.Down && la.heard(0)
		})
		command(t, "ip", "-n", w.b, "link", "set", "lan1", "up")
		await(t, "both to hear on both again", both)
	})

	t.Run("interface taken away and back", func(t *testing.T) {
		command(t, "ip", "-n", w.a, "link", "del", "lan1")
		await(t, "the trouble", func() bool { return strings.Contains(a.links().Links[1].Trouble, "lan1") })
		w.plug(t, 1)
		await(t, "both to hear on both again", both)
	})

	t.Run("address comes late", func(t *testing.T) {
		command(t, "ip", "-n", w.b, "addr", "del", "10.9.0.2/24", "dev", "lan0")
		await(t, "b to be deaf on lan0", func() bool { return !b.links().heard(0) })
		command(t, "ip", "-n", w.b, "addr", "add", "10.9.0.2/24", "dev", "lan0")
		await(t, "both to hear on both again", both)
	})

	t.Run("killed and started again", func(t *testing.T) {
		if err := b.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		await(t, "silence", func() bool { l := a.links(); return !l.heard(0) && !l.heard(1) })
		b = startNode(t, w.b, headConfig(1))
		s := saying(12, 3)
		s.Released = 3
		b.say(s)
		await(t, "the new boot, believed", func() bool { return a.said(1) == s })
		await(t, "both to hear on both again", both)
	})
}

// TestLateInterface starts a head before its cards are there.
func TestLateInterface(t *testing.T) {
	w := newTwoHeads(t)
	command(t, "ip", "-n", w.a, "link", "del", "lan0")
	a, b := startNode(t, w.a, headConfig(0)), startNode(t, w.b, headConfig(1))
	a.say(saying(10, 1))
	b.say(saying(11, 2))
	await(t, "lan1", func() bool { return a.links().heard(1) })
	if l := a.links().Links[0]; l.Trouble == "" || l.Heard >= 0 {
		t.Errorf("%+v", l)
	}
	w.plug(t, 0)
	await(t, "lan0", func() bool { return a.links().heard(0) && b.links().heard(0) })
}

// TestIPv6 is link-local addresses of the one card.
func TestIPv6(t *testing.T) {
	w := newTwoHeads(t)
	for side, ns := range []string{w.a, w.b} {
		command(t, "ip", "-n", ns, "addr", "add", fmt.Sprintf("fe80::%d/64", side+1), "dev", "lan0", "nodad")
	}
	config := func(self int) nodeConfig {
		at := func(id int) netip.AddrPort {
			return netip.MustParseAddrPort(fmt.Sprintf("[fe80::%d%%lan0]:7000", id+1))
		}
		return nodeConfig{self, []NIC{{Peer: 1 - self, Name: "lan0", Local: at(self), Remote: at(1 - self)}}}
	}
	a, b := startNode(t, w.a, config(0)), startNode(t, w.b, config(1))
	a.say(saying(10, 1))
	b.say(saying(11, 2))
	await(t, "both to hear", func() bool { return a.links().heard(0) && b.links().heard(0) })
}

// TestRenamed: udev renames a card while it is up. Nothing is missed, and the link is called as the card is.
func TestRenamed(t *testing.T) {
	w := newTwoHeads(t)
	config := headConfig(0)
	out, err := exec.CommandContext(t.Context(), "ip", "netns", "exec", w.a, "cat", "/sys/class/net/lan0/ifindex").Output()
	if err != nil {
		t.Fatal(err)
	}
	if config.NICs[0].Index, err = strconv.Atoi(strings.TrimSpace(string(out))); err != nil {
		t.Fatal(err)
	}
	a, b := startNode(t, w.a, config), startNode(t, w.b, headConfig(1))
	a.say(saying(10, 1))
	b.say(saying(11, 2))
	await(t, "both to hear", func() bool { return a.links().heard(0) && b.links().heard(0) })
	missed := a.links().Links[0].Missed + b.links().Links[0].Missed
	command(t, "ip", "-n", w.a, "link", "set", "lan0", "name", "enp0s2")
	await(t, "the new name", func() bool { return a.links().Links[0].Name == "enp0s2" })
	sent := a.links().Links[0].Sent
	await(t, "some more heartbeats", func() bool { return a.links().Links[0].Sent > sent+20 })
	la, lb := a.links().Links[0], b.links().Links[0]
	if la.Missed+lb.Missed != missed || la.Trouble != "" || la.Carrier != failover.Up {
		t.Errorf("after the renaming %+v, there %+v; %d were missed before", la, lb, missed)
	}
}
