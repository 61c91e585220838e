package appliance

import (
	"net/netip"
	"testing"
	"time"

	"masthead/appliance/dhcp"
	"masthead/appliance/registry"
	"masthead/appliance/state"
)

// Of two nodes that were given one address in two parts of a cluster, DHCP gives it to the one that keeps it.
func TestReservationOfADuplicate(t *testing.T) {
	db, err := state.Open(state.Config{Dir: t.TempDir(), Head: "head1"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ip := netip.MustParseAddr("10.9.0.77")
	first, second := dhcp.MAC{2, 0, 0, 0, 0, 1}, dhcp.MAC{2, 0, 0, 0, 0, 2}
	for name, mac := range map[string]dhcp.MAC{"n01": first, "n02": second} {
		op, err := state.Put(state.KindNode, name, registry.Record{MAC: mac.String(), Address: ip, Approved: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Apply(t.Context(), state.Origin{Who: "test"}, op); err != nil {
			t.Fatal(err)
		}
	}
	reg, err := registry.New(registry.Config{Store: db, Head: "head1"})
	if err != nil {
		t.Fatal(err)
	}
	l := leases{reg: reg}
	if r, ok := l.Reservation(first); !ok || r.IP != ip || r.Hostname != "n01" {
		t.Errorf("who keeps it: %+v %t", r, ok)
	}
	if r, ok := l.Reservation(second); !ok || r.IP.IsValid() || r.Hostname != "n02" {
		t.Errorf("the other: %+v %t", r, ok)
	}
	now := time.Now()
	lease := dhcp.Lease{IP: ip, MAC: second, State: dhcp.Bound, Renewed: now, Expires: now.Add(time.Hour)}
	if err := l.Commit(t.Context(), lease); err != dhcp.ErrTaken {
		t.Errorf("the other's lease of it: %v", err)
	}
	lease.MAC = first
	if err := l.Commit(t.Context(), lease); err != nil {
		t.Errorf("its own: %v", err)
	}
}

// A virtual address in the middle of the pool is given to no machine.
func TestVirtualAddressNotLeased(t *testing.T) {
	db, err := state.Open(state.Config{Dir: t.TempDir(), Head: "head1"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	reg, err := registry.New(registry.Config{Store: db, Head: "head1"})
	if err != nil {
		t.Fatal(err)
	}
	vip := netip.MustParseAddr("10.77.0.200")
	l := leases{reg: reg, taken: func(a netip.Addr) (string, bool) { return "the owner", a == vip }}
	if _, taken := l.ReservedBy(vip); !taken {
		t.Error("the virtual address is anybody's")
	}
	if _, taken := l.ReservedBy(vip.Next()); taken {
		t.Error("the address after it is nobody's to give")
	}
}
