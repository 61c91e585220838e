package vip

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// TestSilence measures how long after its last word a head is silent, and when its addresses go.
func TestSilence(t *testing.T) {
	for _, timeout := range []time.Duration{200 * time.Millisecond, 300 * time.Millisecond, 400 * time.Millisecond} {
		t.Run(fmt.Sprintf("not refreshed for %v", timeout), func(t *testing.T) {
			l := newLab(t, "a", "c")
			a, _ := l.start("a", headConfig{Addresses: both, Gate: timeout})
			watchers := l.both("c")
			for range 3 {
				a.do("prepare")
				before := time.Now()
				a.ask(request{Op: "open", Epoch: 1, For: time.Minute})
				l.silence(t, "the refresh", before, watchers, timeout)
			}
		})
		t.Run(fmt.Sprintf("stopped, at %v", timeout), func(t *testing.T) {
			l := newLab(t, "a", "c")
			a, _ := l.start("a", headConfig{Addresses: both, Gate: timeout})
			a.do("prepare")
			a.hold(1, timeout, 50*time.Millisecond)
			watchers := l.both("c")
			for _, w := range watchers {
				w.answering()
			}
			before := time.Now()
			a.signal(syscall.SIGSTOP)
			l.silence(t, "SIGSTOP", before, watchers, timeout)
			a.signal(syscall.SIGCONT)
			for _, w := range watchers {
				w.answering() // its lease is its own
			}
			await(t, "the addresses", func() bool { return l.has("a", vip4) && l.has("a", vip6) })
		})
	}
}

func (l *lab) both(machine string) map[string]*watcher {
	return l.watch(machine, vip4.Addr(), vip6.Addr())
}

// watch asks for an IPv4 and an IPv6 address in all ways.
func (l *lab) watch(machine string, a4, a6 netip.Addr) map[string]*watcher {
	return map[string]*watcher{
		"ICMP": l.ping(machine, a4), "ICMPv6": l.ping(machine, a6),
		"ARP": l.arping(machine, "lan0", a4), "ND": l.arping(machine, "lan0", a6),
	}
}

// silence waits for the head to be silent and then for its addresses to go.
func (l *lab) silence(t *testing.T, what string, from time.Time, watchers map[string]*watcher, timeout time.Duration) {
	t.Helper()
	there, gone := map[string]time.Duration{}, map[string]time.Duration{} // when last, and when no more
	await(t, "the addresses to go", func() bool {
		for name, p := range map[string]netip.Prefix{"IPv4": vip4, "IPv6": vip6} {
			if _, ok := gone[name]; ok {
				continue
			}
			asked := time.Since(from) // of a busy machine the answer may come much later
			if l.has("a", p) {
				there[name] = asked
			} else {
				gone[name] = time.Since(from)
			}
		}
		return len(gone) == 2
	})
	for name, w := range watchers {
		silent := w.last().Sub(from)
		t.Logf("%-6s silent %v after %s", name, silent.Round(time.Millisecond), what)
		late := 20 * time.Millisecond
		if name == "ARP" || name == "ND" { // without numbers: an answer that is read late counts for a later question
			late = 100 * time.Millisecond
		} else if n := w.unanswered(from.Add(50*time.Millisecond), from.Add(timeout-100*time.Millisecond)); n > 0 {
			t.Errorf("%s: %d questions were not answered while the gate was open", name, n)
		}
		if silent > timeout+late {
			t.Errorf("%s: the last answer came %v after %s, the gate's timeout is %v", name, silent, what, timeout)
		}
	}
	for name, d := range gone {
		t.Logf("%s address gone %v after %s", name, d.Round(time.Millisecond), what)
		if d < lifetime-renewAfter-100*time.Millisecond || there[name] > lifetime+500*time.Millisecond {
			t.Errorf("%s address there after %v, gone after %v", name, there[name], d)
		}
	}
}
