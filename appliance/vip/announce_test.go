package vip

import (
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// TestAnnouncements counts what a neighbour gets, and when.
func TestAnnouncements(t *testing.T) {
	l := newLab(t, "a", "c")
	var conn *packet.Conn
	l.in("c", func() error {
		ifi, err := net.InterfaceByName("lan0")
		if err == nil {
			conn, err = packet.Listen(ifi, packet.Datagram, unix.ETH_P_ALL, nil)
		}
		return err
	})
	defer conn.Close()
	// heard collects what is announced until a time: when, as the bin of the schedule.
	heard := func(from time.Time, d time.Duration) map[string][]time.Duration {
		got := map[string][]time.Duration{}
		conn.SetReadDeadline(from.Add(d))
		b := make([]byte, 2048)
		for {
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				return got
			}
			name := ""
			switch {
			case n >= arpLen && b[0] == 0 && [4]byte(b[14:18]) == vip4.Addr().As4() && b[7] == arpRequest:
				name = "ARP request"
			case n >= arpLen && b[0] == 0 && [4]byte(b[14:18]) == vip4.Addr().As4():
				name = "ARP reply"
			case n >= ip6Len+ndLen && b[0]>>4 == 6 && b[ip6Len] == typeAdvertise && [16]byte(b[8:24]) == vip6.Addr().As16():
				name = "advertisement"
			default:
				continue
			}
			got[name] = append(got[name], time.Since(from))
		}
	}
	a, _ := l.start("a", headConfig{Addresses: both})
	a.do("prepare")
	a.do("announce")
	if got := heard(time.Now(), 300*time.Millisecond); len(got) > 0 {
		t.Errorf("announced behind a shut gate: %v", got)
	}
	for range 2 {
		busy := false
		begin := time.Now()
		a.hold(1, 400*time.Millisecond, 50*time.Millisecond)
		got := heard(begin, 2500*time.Millisecond)
		for name, times := range got {
			t.Logf("%s at %v", name, times)
			for i, at := range times {
				// One that is late on a busy machine takes the place of the next ones that are due.
				if late := at - announceAt(i); late > 40*time.Millisecond {
					t.Logf("%s %d came late", name, i)
					busy = true
				}
				if late := at - announceAt(i); !busy && late < 0 || busy && i == 0 && late > time.Second {
					t.Errorf("%s %d came at %v, due at %v", name, i, at, announceAt(i))
				}
			}
		}
		count := map[string]int{}
		for name, times := range got {
			count[name] = len(times)
		}
		if len(count) != 3 || count["ARP request"] < 3 {
			t.Errorf("announced %v", count)
		}
		if diff := cmp.Diff(map[string]int{"ARP request": 7, "ARP reply": 7, "advertisement": 7}, count); diff != "" && !busy {
			t.Errorf("(-want +got):\n%s", diff)
		}
		a.do("release")
		time.Sleep(500 * time.Millisecond) // it shuts by itself, and opens again
	}
	a.do("shut")
	a.do("prepare")
	a.hold(1, 400*time.Millisecond, 50*time.Millisecond)
	if got := heard(time.Now(), 300*time.Millisecond); len(got) > 0 {
		t.Errorf("announced though nobody has asked for it since the gate was shut: %v", got)
	}
}
