package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func leaseOf(ip, mac int) Lease {
	return Lease{IP: netip.AddrFrom4([4]byte{10, 0, byte(ip >> 8), byte(ip)}), MAC: fmt.Sprintf("52:54:00:00:00:%02x", mac), State: "bound"}
}

// one checks what must always hold: at most one lease for each address and each machine, and the two indexes agree
// with the state on disk.
func one(r *Registry) error {
	seen := map[string]netip.Addr{}
	for ip, e := range r.leases.byIP {
		if other, twice := seen[e.MAC]; twice && e.MAC != "" {
			return fmt.Errorf("%s has %s and %s", e.MAC, other, ip)
		}
		seen[e.MAC] = ip
		if e.MAC != "" && r.leases.byMAC[e.MAC] != ip {
			return fmt.Errorf("%s has %s, its index says %s", e.MAC, ip, r.leases.byMAC[e.MAC])
		}
	}
	if got := len(r.conf.Store.List("lease", "")); got != len(r.leases.byIP) {
		return fmt.Errorf("%d leases in the state, %d in memory", got, len(r.leases.byIP))
	}
	return nil
}

func TestLeaseProperty(t *testing.T) {
	db := openState(t, t.TempDir())
	r := newRegistry(t, db)
	rapid.Check(t, func(t *rapid.T) {
		for range rapid.IntRange(1, 10).Draw(t, "n") {
			l := leaseOf(rapid.IntRange(1, 6).Draw(t, "ip"), rapid.IntRange(1, 6).Draw(t, "mac"))
			if rapid.IntRange(0, 5).Draw(t, "quarantine") == 0 {
				l.MAC, l.State = "", "quarantined"
			}
			may := rapid.Bool().Draw(t, "may")
			before, held := r.LeaseByIP(l.IP)
			err := r.CommitLease(context.Background(), l, func(Lease) bool { return may })
			after, _ := r.LeaseByIP(l.IP)
			switch {
			case held && !may && (!errors.Is(err, ErrTaken) || after != before):
				t.Fatalf("a lease that is held: %v, now %+v", err, after)
			case (!held || may) && (err != nil || after != l):
				t.Fatalf("%+v: %v, now %+v", l, err, after)
			}
			if err := one(r); err != nil {
				t.Fatal(err)
			}
		}
	})
	again := newRegistry(t, db)
	for ip, e := range r.leases.byIP {
		if got, ok := again.LeaseByIP(ip); !ok || got != e.Lease {
			t.Errorf("after a restart %+v, want %+v", got, e.Lease)
		}
	}
}

func TestLeasesConcurrently(t *testing.T) {
	r := newRegistry(t, openState(t, t.TempDir()))
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := range 30 {
				err := r.CommitLease(context.Background(), leaseOf((w*7+i*3)%20, w%8), func(Lease) bool { return i%2 == 0 })
				if err != nil && !errors.Is(err, ErrTaken) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := one(r); err != nil {
		t.Error(err)
	}
}
