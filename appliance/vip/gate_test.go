package vip

import (
	"fmt"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

func TestGate(t *testing.T) {
	l := newLab(t, "a", "c")
	a, _ := l.start("a", headConfig{Addresses: both})
	own4, own6 := l.ping("c", addr(l.addr4("a"))), l.ping("c", addr(l.addr6("a")))
	own4.answering()
	own6.answering()
	begin := time.Now()
	watchers := map[string]*watcher{
		"ICMP": l.ping("c", vip4.Addr()), "ICMPv6": l.ping("c", vip6.Addr()),
		"ARP": l.arping("c", "lan0", vip4.Addr()), "ND": l.arping("c", "lan0", vip6.Addr()),
	}
	a.ask(request{Op: "listen", Address: ":7777"})
	silent := func(when string) {
		t.Helper()
		from := time.Now()
		for _, vip := range []string{vip4.Addr().String(), vip6.Addr().String()} {
			if err := l.dial("c", vip, 200*time.Millisecond); err == nil {
				t.Errorf("%s: TCP to %s is answered", when, vip)
			}
		}
		for name, w := range watchers {
			if asked, answered := w.since(from); answered > 0 || asked < 10 {
				t.Errorf("%s: %d of %d answered by %s", when, answered, asked, name)
			}
		}
	}
	silent("no address")
	a.do("prepare")
	if !l.has("a", vip4) || !l.has("a", vip6) {
		t.Fatalf("the addresses are not there:\n%s", l.ip("a", "addr"))
	}
	silent("prepared")
	time.Sleep(1500 * time.Millisecond) // the addresses would be gone
	silent("kept prepared")
	if !l.has("a", vip4) || !l.has("a", vip6) {
		t.Fatalf("the prepared addresses are gone:\n%s", l.ip("a", "addr"))
	}
	for _, vip := range []string{vip4.Addr().String(), vip6.Addr().String()} {
		if err := l.dial("a", vip, time.Second); err != nil {
			t.Errorf("the head itself, behind the shut gate: %v", err)
		}
	}
	for name, to := range map[string]string{"IPv4": l.addr4("c"), "IPv6": l.addr6("c")} {
		if out := l.exec("a", "ping", "-c", "1", "-W", "1", to); out == "" {
			t.Errorf("%s of the head itself behind the shut gate", name)
		}
	}

	a.hold(17, 400*time.Millisecond, 100*time.Millisecond)
	for name, w := range watchers {
		t.Logf("%s answered %v after the gate opened", name, w.answering().Round(time.Millisecond))
	}
	for _, vip := range []string{vip4.Addr().String(), vip6.Addr().String()} {
		if err := l.dial("c", vip, time.Second); err != nil {
			t.Errorf("open: %v", err)
		}
	}
	a.do("release")
	a.do("shut")
	if l.has("a", vip4) || l.has("a", vip6) {
		t.Errorf("addresses are left:\n%s", l.ip("a", "addr"))
	}
	silent("shut")
	for name, w := range map[string]*watcher{"IPv4": own4, "IPv6": own6} {
		w.end()
		if asked, answered := w.since(begin); asked != answered {
			t.Errorf("the head's own %s address: %d of %d answered", name, answered, asked)
		}
	}
	t.Logf("events: %q", a.look().Events)
}

// dial tries a TCP connection.
func (l *lab) dial(from, to string, timeout time.Duration) (err error) {
	l.t.Helper()
	l.in(from, func() error {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", net.JoinHostPort(to, "7777"), timeout); err == nil {
			c.Close()
		}
		return nil
	})
	return err
}

// TestNoReplyLost has the gate renewed under the eyes of a client. The head's own addresses, which no gate is before, are
// asked for as often: what a busy machine loses it loses of these too, and then nothing is known of the gate. A gate that lets
// nothing pass while it is renewed, be it for a tenth of a millisecond, loses some in each of these rounds.
func TestNoReplyLost(t *testing.T) {
	for _, every := range []time.Duration{50 * time.Millisecond, 100 * time.Millisecond} {
		t.Run(fmt.Sprint(every), func(t *testing.T) {
			bad := 0
			for range 8 {
				lost, control, seen := renewed(t, every)
				t.Logf("lost of %v, without a gate of %v; slowest renewal %v, %d too late", lost, control, seen.Slowest, seen.Late)
				switch {
				case seen.Late > 0 || seen.Slowest > 350*time.Millisecond:
					// The head got no processor, and its gate may have shut as it should.
				case some(control, func(n int) bool { return n > 0 }) || some(lost, func(n int) bool { return n < -5 }):
					// So much more was answered than asked that what was lost would not be seen.
				case !some(lost, func(n int) bool { return n > 0 }):
					return
				default:
					if bad++; bad == 2 {
						t.Fatal("questions were lost, twice")
					}
				}
			}
			t.Skip("the machine is too busy: the head could not renew its gate in time, or the client lost answers without a gate")
		})
	}
}

func some(lost map[string]int, is func(int) bool) bool {
	for _, n := range lost {
		if is(n) {
			return true
		}
	}
	return false
}

// renewed counts the questions of 5 s that were lost, while the gate is renewed that often, and those for addresses without a
// gate.
func renewed(t *testing.T, every time.Duration) (lost, control map[string]int, seen answer) {
	l := newLab(t, "a", "c")
	a, _ := l.start("a", headConfig{Addresses: both})
	a.do("prepare")
	a.hold(1, 400*time.Millisecond, every)
	// The kernel joins the group of a new IPv6 address a moment after it has added it, and hears no questions before.
	l.ping("c", vip6.Addr()).answering()
	watchers, own := l.both("c"), l.watch("c", addr(l.addr4("a")), addr(l.addr6("a")))
	for _, all := range []map[string]*watcher{watchers, own} {
		for _, w := range all {
			w.answering()
		}
	}
	from := time.Now()
	time.Sleep(5 * time.Second)
	count := func(watchers map[string]*watcher) map[string]int {
		lost := map[string]int{}
		for name, w := range watchers {
			w.end()
			asked, _ := w.since(from)
			lost[fmt.Sprintf("%d by %s", asked, name)] = w.lost() // below zero: the kernel has asked too
			if asked < 100 {
				t.Errorf("%s: only %d questions", name, asked)
			}
		}
		return lost
	}
	lost, control = count(watchers), count(own)
	return lost, control, a.look()
}

// TestSilentHead has the head talk from the addresses behind the shut gate: by the IP stack, and by raw sockets.
func TestSilentHead(t *testing.T) {
	l := newLab(t, "a", "c")
	a, _ := l.start("a", headConfig{Addresses: both})
	a.do("prepare")
	var conn *packet.Conn
	l.in("c", func() error {
		ifi, err := net.InterfaceByName("lan0")
		if err == nil {
			conn, err = packet.Listen(ifi, packet.Datagram, unix.ETH_P_ALL, nil)
		}
		return err
	})
	defer conn.Close()
	mac, _ := net.ParseMAC(l.mac("a"))
	speak := func() {
		for from, to := range map[string]string{vip4.Addr().String(): l.addr4("c"), vip6.Addr().String(): l.addr6("c")} {
			exec.Command("ip", "netns", "exec", l.ns("a"), "ping", "-c", "1", "-W", "0.2", "-I", from, to).Run()
		}
		advert := nd(typeAdvertise, vip6.Addr(), optionTarget, mac) // from another address of the head
		for _, d := range append(append(announcements(vip4.Addr(), mac), announcements(vip6.Addr(), mac)...),
			datagram{unix.ETH_P_IPV6, groupMAC(allNodes), ip6(addr(l.addr6("a")), allNodes, advert)}) {
			l.trySend("a", d)
		}
	}
	// claimed are the kinds of frames that came from a VIP or claimed one.
	claimed := func() map[string]bool {
		got := map[string]bool{}
		conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		b := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return got
			}
			if from.(*packet.Addr).HardwareAddr.String() != l.mac("a") {
				continue
			}
			switch {
			case n >= arpLen && b[0] == 0 && [4]byte(b[14:18]) == vip4.Addr().As4():
				got["ARP"] = true
			case n >= 20 && b[0]>>4 == 4 && [4]byte(b[12:16]) == vip4.Addr().As4():
				got["IPv4"] = true
			case n >= ip6Len && b[0]>>4 == 6 && [16]byte(b[8:24]) == vip6.Addr().As16():
				got["IPv6"] = true
			case n >= ip6Len+ndLen && b[0]>>4 == 6 && b[ip6Len] == typeAdvertise && [16]byte(b[48:64]) == vip6.Addr().As16():
				got["advertisement from another address"] = true
			}
		}
	}
	speak()
	if got := claimed(); len(got) > 0 {
		t.Errorf("behind the shut gate: %v", got)
	}
	a.hold(1, 400*time.Millisecond, 50*time.Millisecond)
	speak()
	want := map[string]bool{"ARP": true, "IPv4": true, "IPv6": true, "advertisement from another address": true}
	if diff := cmp.Diff(want, claimed()); diff != "" {
		t.Errorf("through the open gate (-want +got):\n%s", diff)
	}
}
