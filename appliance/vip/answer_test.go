package vip

import (
	"net/netip"
	"testing"
	"time"
)

// TestAnswer has addresses of a service beside the cluster's: they answer while they are among those that may, and no longer;
// the cluster's are not touched by it. The timeout ends all of them.
func TestAnswer(t *testing.T) {
	l := newLab(t, "a", "c")
	service4, service6 := netip.MustParsePrefix("10.77.0.101/24"), netip.MustParsePrefix("fd77::101/64")
	all := append([]Address{{service4, "lan0"}, {service6, "lan0"}}, both...)
	a, _ := l.start("a", headConfig{Addresses: all})
	cluster := []netip.Addr{vip4.Addr(), vip6.Addr()}
	everything := append([]netip.Addr{service4.Addr(), service6.Addr()}, cluster...)
	// Another head had the service.
	l.ip("c", "neigh", "replace", service4.Addr().String(), "lladdr", "02:00:00:00:00:99", "dev", "lan0", "nud", "reachable")
	a.ask(request{Op: "answer", Answer: cluster})
	a.do("prepare")
	a.hold(17, 400*time.Millisecond, 20*time.Millisecond)
	a.do("announce")
	theirs := map[string]*watcher{
		"ICMP": l.ping("c", service4.Addr()), "ICMPv6": l.ping("c", service6.Addr()),
		"ARP": l.arping("c", "lan0", service4.Addr()), "ND": l.arping("c", "lan0", service6.Addr()),
	}
	ours := map[string]*watcher{
		"ICMP": l.ping("c", vip4.Addr()), "ICMPv6": l.ping("c", vip6.Addr()),
		"ARP": l.arping("c", "lan0", vip4.Addr()), "ND": l.arping("c", "lan0", vip6.Addr()),
	}
	for _, w := range ours {
		w.answering()
	}
	begin := time.Now()
	for name, w := range theirs {
		w.silent("stopped: "+name, 200*time.Millisecond)
	}
	if got := l.neighbor("c", service4.Addr()); got != "02:00:00:00:00:99" {
		t.Errorf("a service that is stopped was announced: %q", got)
	}

	a.ask(request{Op: "answer", Answer: everything})
	started := time.Now()
	for _, w := range theirs {
		w.answering()
	}
	await(t, "the neighbour to learn who has the service", func() bool { return l.neighbor("c", service4.Addr()) == l.mac("a") })
	took := time.Since(started)
	t.Logf("the service answered, and the neighbours knew, %v after its start", took.Round(time.Millisecond))
	if took > 3*time.Second { // the neighbour believes nothing new within a second of the last (locktime of arp(7))
		t.Errorf("the neighbours took %v", took)
	}

	a.ask(request{Op: "answer", Answer: cluster})
	stopped := time.Now()
	time.Sleep(450 * time.Millisecond) // on a busy machine the timeout ends it
	for name, w := range theirs {
		w.silent("stopped again: "+name, 200*time.Millisecond)
		late := w.last().Sub(stopped)
		t.Logf("%s of the service answered until %v after its end", name, late.Round(time.Millisecond))
		if late > 200*time.Millisecond && a.look().Slowest < 200*time.Millisecond {
			t.Errorf("%s of the service answered until %v after its end", name, late)
		}
	}
	for name, w := range ours {
		w.answering()
		if gap := w.gap(begin); gap > 200*time.Millisecond && a.look().Slowest < 350*time.Millisecond {
			t.Errorf("%s of the cluster: a gap of %v while a service came and went", name, gap)
		}
	}
}

// TestAnswerLeft kills the process: what was open stays so for its time, and the next process goes on with that alone.
func TestAnswerLeft(t *testing.T) {
	l := newLab(t, "a", "c")
	service4, service6 := netip.MustParsePrefix("10.77.0.101/24"), netip.MustParsePrefix("fd77::101/64")
	c := headConfig{Addresses: append([]Address{{service4, "lan0"}, {service6, "lan0"}}, both...), Gate: 900 * time.Millisecond}
	a, _ := l.start("a", c)
	theirs, ours := l.watch("c", service4.Addr(), service6.Addr()), l.both("c")
	for _, test := range []struct {
		name   string
		answer []netip.Addr
	}{
		{"started", []netip.Addr{service4.Addr(), service6.Addr(), vip4.Addr(), vip6.Addr()}},
		{"stopped", []netip.Addr{vip4.Addr(), vip6.Addr()}},
	} {
		for try := range 10 {
			a.ask(request{Op: "answer", Answer: test.answer})
			a.do("prepare")
			time.Sleep(100 * time.Millisecond) // the kernel joins the groups of new IPv6 addresses
			a.ask(request{Op: "open", Epoch: 17, For: time.Minute})
			opened := time.Now()
			a.kill()
			var left answer
			a, left = l.start("a", c)
			began := time.Now()
			time.Sleep(time.Until(opened.Add(1200 * time.Millisecond)))
			for name, w := range theirs {
				if _, answered := w.since(began); answered > 0 && test.name == "stopped" {
					t.Errorf("%s: %s: %d answers", test.name, name, answered)
				}
			}
			for _, all := range []map[string]*watcher{ours, theirs} {
				for name, w := range all {
					if late := w.last().Sub(opened); late > 950*time.Millisecond {
						t.Errorf("%s: %s answered %v after the last refresh", test.name, name, late)
					}
				}
			}
			a.do("shut")
			if left.Left < 300*time.Millisecond && try < 9 { // a busy machine: nothing was left to go on with
				continue
			}
			for name, w := range ours {
				if _, answered := w.since(began); answered == 0 {
					t.Errorf("%s: %s of the cluster was not answered by the next process", test.name, name)
				}
			}
			for name, w := range theirs {
				if _, answered := w.since(began); answered == 0 && test.name == "started" {
					t.Errorf("%s: %s was not answered by the next process", test.name, name)
				}
			}
			break
		}
	}
}
