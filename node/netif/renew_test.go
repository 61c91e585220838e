package netif

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// patience is how long a Renewer of a test waits for servers.
type patience struct {
	tries    int
	discover time.Duration
}

var (
	answered = patience{maxRequests, time.Minute} // the server may be slow
	silence  = patience{1, 3 * time.Second}       // nobody is there
)

// keeping runs a Renewer on r as if its lease were that much older, with so much patience for answers. next gives its
// events.
func keeping(t *testing.T, r Result, older time.Duration, p patience) (next func() Event) {
	t.Helper()
	lease := *r.Lease
	lease.Acquired -= older
	r.Lease = &lease
	events := make(chan Event, 16)
	k, err := NewRenewer(r, func(e Event) { events <- e }, nil)
	if err != nil {
		t.Fatal(err)
	}
	k.tries, k.patience = p.tries, p.discover
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	return func() Event {
		t.Helper()
		select {
		case e := <-events:
			return e
		case <-time.After(2 * time.Minute):
			t.Fatal("no event")
			panic("unreachable")
		}
	}
}

// leased is a machine with a lease of two minutes, dnsmasq's least: T1 60 s, T2 105 s.
func leased(t *testing.T) (n *network, log func() string, stop func(), r Result) {
	t.Helper()
	n = newNetwork(t)
	n.plug("cl0", mac0, "sw0", "10.77.0.1/24")
	log, stop = n.dnsmasq("--interface=sw0", "--dhcp-range=10.77.0.11,10.77.0.11,255.255.255.0,2m")
	r, err := Up(deadline(t), Config{})
	if err != nil {
		t.Fatal(err)
	}
	return n, log, stop, r
}

func TestRenewAndRebind(t *testing.T) {
	for name, older := range map[string]time.Duration{"renew": 61 * time.Second, "rebind": 106 * time.Second,
		"after the end": 121 * time.Second} {
		t.Run(name, func(t *testing.T) {
			if elsewhere(t) {
				return
			}
			_, log, _, r := leased(t)
			before := log()
			next := keeping(t, r, older, answered)
			e := next()
			if e.Kind == Expired && name == "after the end" {
				e = next()
			}
			if e.Kind != Renewed || e.Result.Prefix != r.Prefix || e.Result.Lease.Acquired < r.Lease.Acquired {
				t.Fatalf("got %v, %+v", e, e.Result)
			}
			// A renewal is a REQUEST alone; only a lease that is over begins with DISCOVER.
			l := strings.TrimPrefix(log(), before)
			if got, want := strings.Contains(l, "DHCPDISCOVER("), name == "after the end"; got != want {
				t.Errorf("DISCOVER sent: %v, want %v:\n%s", got, want, l)
			}
			if !strings.Contains(l, "DHCPREQUEST(") {
				t.Errorf("no REQUEST:\n%s", l)
			}
			if d := cmp.Diff([]string{"10.77.0.11/24"}, addresses(t, "cl0")); d != "" {
				t.Errorf("addresses -want +got:\n%s", d)
			}
		})
	}
}

// Nobody answers, first before the lease ends and then after: the address stays.
func TestSilentServer(t *testing.T) {
	if elsewhere(t) {
		return
	}
	_, _, stop, r := leased(t)
	stop()
	next := keeping(t, r, 104*time.Second, silence)
	if e := next(); e.Kind != Silent || e.Err == nil {
		t.Fatalf("got %v", e)
	}
	next = keeping(t, r, 121*time.Second, silence)
	if e := next(); e.Kind != Expired {
		t.Fatalf("got %v", e)
	}
	e := next()
	if e.Kind != Silent || !strings.Contains(e.String(), "DISCOVER sent, no answer") {
		t.Fatalf("got %v", e)
	}
	if d := cmp.Diff([]string{"10.77.0.11/24"}, addresses(t, "cl0")); d != "" {
		t.Errorf("addresses -want +got:\n%s", d)
	}
}

// A server with other ideas says NAK and then gives another address: the machine has both, for its root hangs on the
// old one.
func TestOtherAddress(t *testing.T) {
	if elsewhere(t) {
		return
	}
	n, _, stop, r := leased(t)
	stop()
	n.dnsmasq("--interface=sw0", "--dhcp-range=10.77.0.77,10.77.0.77,255.255.255.0,2m")
	next := keeping(t, r, 61*time.Second, answered)
	if e := next(); e.Kind != NAK || !strings.Contains(e.String(), "NAK from 10.77.0.1") {
		t.Fatalf("got %v", e)
	}
	if e := next(); e.Kind != Moved || e.Result.Prefix != netip.MustParsePrefix("10.77.0.77/24") {
		t.Fatalf("got %v", e)
	}
	if d := cmp.Diff([]string{"10.77.0.11/24", "10.77.0.77/24"}, addresses(t, "cl0")); d != "" {
		t.Errorf("addresses -want +got:\n%s", d)
	}
}

// Somebody removed the address, or the root's own DHCP client sits on the port.
func TestRenewPutsAddressBack(t *testing.T) {
	if elsewhere(t) {
		return
	}
	_, _, _, r := leased(t)
	unset(t, "cl0", r.Prefix)
	if e := keeping(t, r, 61*time.Second, answered)(); e.Kind != Renewed {
		t.Fatalf("got %v", e)
	}
	if d := cmp.Diff([]string{"10.77.0.11/24"}, addresses(t, "cl0")); d != "" {
		t.Errorf("addresses -want +got:\n%s", d)
	}
}

func TestNewRenewer(t *testing.T) {
	if _, err := NewRenewer(Result{Prefix: netip.MustParsePrefix("10.0.0.1/8")}, nil, nil); err == nil {
		t.Error("took an address that is not leased")
	}
}
