package heartbeat

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"masthead/appliance/failover"
)

// start runs a head until the test ends.
func start(t testing.TB, c Config) *Heartbeat {
	t.Helper()
	h, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h
}

// local gives addresses on the loopback with ports that are free.
func local(t testing.TB, n int) (out []netip.AddrPort) {
	t.Helper()
	for range n {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		out = append(out, c.LocalAddr().(*net.UDPAddr).AddrPort())
	}
	return out
}

// TestThreeHeads: the peers of one socket are told apart, and each is told what it is heard on.
func TestThreeHeads(t *testing.T) {
	at := local(t, 3)
	var heads []*Heartbeat
	for i := range 3 {
		c := Config{Cluster: "c1", Self: i, Key: testKey}
		for j := range 3 {
			if j != i {
				c.NICs = append(c.NICs, NIC{Peer: j, Local: at[i], Remote: at[j]})
			}
		}
		h := start(t, c)
		h.Say(saying(uint64(10+i), failover.Epoch(i)))
		heads = append(heads, h)
	}
	for i, h := range heads {
		await(t, "all to hear all", func() bool {
			for _, l := range h.Links() {
				if l.Heard < 0 || l.HeardUs != failover.Up || h.Said(l.Peer).Epoch != failover.Epoch(l.Peer) {
					return false
				}
			}
			return true
		})
		for _, l := range h.Links() {
			if l.Forged+l.Garbled > 0 {
				t.Errorf("head %d: %+v", i, l)
			}
		}
	}
}

// TestSayAtOnce: with an interval of an hour only what is new is sent, and both ends see it at once.
func TestSayAtOnce(t *testing.T) {
	at := local(t, 2)
	config := func(self int) Config {
		return Config{Cluster: "c1", Self: self, Key: testKey, Interval: time.Hour, NICs: []NIC{{Peer: 1 - self, Local: at[self], Remote: at[1-self]}}}
	}
	a, b := start(t, config(0)), start(t, config(1))
	await(t, "sockets", func() bool { return open(a) && open(b) })
	for epoch := failover.Epoch(1); epoch <= 5; epoch++ {
		a.Say(saying(9, epoch))
		a.Say(saying(9, epoch)) // the same is nothing new
		await(t, "what was said", func() bool {
			select {
			case <-b.Changed():
			default:
			}
			return b.Said(0).Epoch == epoch
		})
	}
	if sent := a.Links()[0].Sent; sent > 6 {
		t.Errorf("%d frames for 5 changes", sent)
	}
	select {
	case <-b.Changed():
		t.Error("a change without one")
	default:
	}
}

// open reports whether the links of h can be sent on.
func open(h *Heartbeat) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.links {
		if l.transmit == nil {
			return false
		}
	}
	return true
}

func TestForgedAndGarbled(t *testing.T) {
	at := local(t, 3)
	a := start(t, Config{Cluster: "c1", Self: 0, Key: testKey, NICs: []NIC{{Peer: 1, Local: at[0], Remote: at[1]}}})
	await(t, "the socket", func() bool { return open(a) })
	peer, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	stranger, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at[2]))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	send := func(c *net.UDPConn, b []byte) {
		if _, err := c.WriteToUDPAddrPort(b, at[0]); err != nil {
			t.Fatal(err)
		}
	}
	f := frame{From: 1, To: 0, Start: 5, Seq: 1, Said: saying(7, 3)}
	forged, _ := newSeal("c1", []byte("another key, too")).encode(f)
	other, _ := newSeal("c2", testKey).encode(f)
	good, _ := newSeal("c1", testKey).encode(f)
	send(stranger, forged[:])
	send(peer, forged[:])
	send(peer, other[:])
	send(peer, good[:20])
	send(peer, append(good[:], good[:]...))
	await(t, "the counts", func() bool { l := a.Links()[0]; return l.Forged == 3 && l.Garbled == 2 })
	if got := a.Said(1); got.BootID != 0 || a.Links()[0].Heard >= 0 {
		t.Errorf("believed %+v", got)
	}
	send(peer, good[:])
	send(peer, good[:])
	await(t, "the counts", func() bool { l := a.Links()[0]; return l.Good == 1 && l.Stale == 1 })
	if got := a.Said(1); got != saying(7, 3) {
		t.Errorf("said %+v", got)
	}
}

// TestNothingBeforeSay: a head that does not know yet who it is says nothing.
func TestNothingBeforeSay(t *testing.T) {
	at := local(t, 2)
	peer, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	a := start(t, Config{Cluster: "c1", Self: 0, Key: testKey, NICs: []NIC{{Peer: 1, Local: at[0], Remote: at[1]}}})
	await(t, "the socket", func() bool { return open(a) })
	a.Say(failover.Said{Epoch: 4})
	if err := peer.SetReadDeadline(time.Now().Add(3 * DefaultInterval)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, _, err := peer.ReadFromUDPAddrPort(b); err == nil {
		t.Errorf("it sent %x", b[:n])
	}
}
