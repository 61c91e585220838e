package appliance

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	miekg "github.com/miekg/dns"
	"pgregory.net/rapid"

	"masthead/appliance/dhcp"
	"masthead/appliance/registry"
	"masthead/appliance/state"
	"masthead/node/agent"
	"masthead/node/wire"
)

var addrs = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// stateRecord is a record as the state tells of it.
func stateRecord(t testing.TB, kind state.Kind, name string, hlc uint64, v any) state.Record {
	t.Helper()
	version := state.Version{Epoch: 1, HLC: state.HLC(hlc), Head: "head1"}
	if v == nil {
		return state.Record{Key: state.Key{Kind: kind, Name: name}, Deleted: true, Version: version}
	}
	op, err := state.Put(kind, name, v)
	if err != nil {
		t.Fatal(err)
	}
	return state.Record{Key: op.Key, Value: op.Value, Version: version}
}

var bookTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func bookRecords(t testing.TB) []state.Record {
	lease := func(mac string, state dhcp.State, renewed, expires time.Duration) registry.Lease {
		return registry.Lease{MAC: mac, State: string(state), Renewed: bookTime.Add(renewed), Expires: bookTime.Add(expires)}
	}
	mac := func(n int) string { return fmt.Sprintf("52:54:00:00:00:%02x", n) }
	return []state.Record{
		stateRecord(t, state.KindHead, "head2", 1, wire.HeadRecord{Address: addr("10.77.0.2")}),
		stateRecord(t, state.KindHead, "head1", 1, wire.HeadRecord{Address: addr("10.77.0.1")}),
		stateRecord(t, state.KindHead, "head3", 1, wire.HeadRecord{Address: addr("10.77.0.3")}),
		stateRecord(t, state.KindHead, "head3", 2, nil),
		stateRecord(t, state.KindNode, "head1", 1, registry.Record{MAC: mac(1), Approved: true}),
		stateRecord(t, state.KindNode, "n10", 1, registry.Record{MAC: mac(10), Address: addr("10.77.0.10"), Approved: true}),
		stateRecord(t, state.KindNode, "n2", 1, registry.Record{MAC: mac(2), Approved: true}),
		stateRecord(t, state.KindNode, "n3", 1, registry.Record{MAC: mac(3), Address: addr("10.77.0.33")}), // not approved
		stateRecord(t, state.KindNode, "n4", 1, registry.Record{MAC: mac(4), Approved: true}),              // no lease any more
		stateRecord(t, state.KindNode, "n5", 1, registry.Record{MAC: mac(5), Approved: true}),              // gave it back
		stateRecord(t, state.KindNode, "n6", 1, registry.Record{MAC: mac(6), Approved: true}),              // two
		stateRecord(t, state.KindLease, "10.77.0.130", 1, lease(mac(1), dhcp.Bound, 0, time.Hour)),
		stateRecord(t, state.KindLease, "10.77.0.131", 1, lease(mac(10), dhcp.Bound, 0, time.Hour)), // the reserved one counts
		stateRecord(t, state.KindLease, "10.77.0.132", 1, lease(mac(2), dhcp.Bound, 0, time.Hour)),
		stateRecord(t, state.KindLease, "10.77.0.134", 1, lease(mac(4), dhcp.Bound, -time.Hour, -time.Second)),
		stateRecord(t, state.KindLease, "10.77.0.135", 1, lease(mac(5), dhcp.Released, 0, time.Hour)),
		stateRecord(t, state.KindLease, "10.77.0.136", 1, lease(mac(6), dhcp.Bound, -time.Minute, time.Hour)),
		stateRecord(t, state.KindLease, "10.88.0.6", 1, lease(mac(6), dhcp.Bound, 0, time.Hour)),
		stateRecord(t, state.KindLease, "10.77.0.137", 1, lease("", dhcp.Quarantined, 0, time.Hour)),
		stateRecord(t, state.KindSetting, registry.SettingForwarders, 1, "192.0.2.53, 192.0.2.54,x"),
		stateRecord(t, state.KindSetting, "auto-approve", 1, true),
	}
}

// TestDirectory shows who has a name, and that the order in which a head is told of it makes no difference.
func TestDirectory(t *testing.T) {
	records := bookRecords(t)
	want := []wire.Host{
		{Name: "head1", Address: addr("10.77.0.1")}, {Name: "head2", Address: addr("10.77.0.2")},
		{Name: "n2", Address: addr("10.77.0.132")}, {Name: "n6", Address: addr("10.88.0.6")}, {Name: "n10", Address: addr("10.77.0.10")},
	}
	rapid.Check(t, func(rt *rapid.T) {
		d := newDirectory()
		for _, rec := range append(rapid.Permutation(records).Draw(rt, "order"), rapid.SliceOf(rapid.SampledFrom(records)).Draw(rt, "again")...) {
			if err := d.take(rec); err != nil {
				rt.Fatal(err)
			}
			if rapid.Bool().Draw(rt, "look") {
				d.at(bookTime)
			}
		}
		b := d.at(bookTime)
		if diff := cmp.Diff(want, b.hosts, addrs); diff != "" {
			rt.Fatalf("-want +got:\n%s", diff)
		}
		if diff := cmp.Diff([]string{"head1", "head2"}, b.Heads()); diff != "" {
			rt.Fatalf("heads: -want +got:\n%s", diff)
		}
		for _, h := range want {
			if name, ok := b.Host(h.Address); !ok || name != h.Name {
				rt.Fatalf("%v is %q", h.Address, name)
			}
			if got := b.Addresses(h.Name); len(got) != 1 || got[0] != h.Address {
				rt.Fatalf("%s has %v", h.Name, got)
			}
		}
		if len(b.forwarders) != 2 {
			rt.Fatalf("forwarders %v", b.forwarders)
		}
		if later := d.at(bookTime.Add(2 * time.Hour)); len(later.hosts) != 3 {
			rt.Fatalf("when all leases are over: %v", later.hosts)
		}
	})
}

func TestServers(t *testing.T) {
	heads := []wire.Host{{Name: "a", Address: addr("10.0.0.1")}, {Name: "b", Address: addr("fd00::2")}, {Name: "c", Address: addr("10.0.0.3")}, {Name: "d", Address: addr("10.0.0.4")}}
	for _, tt := range []struct {
		self string
		want []netip.Addr
	}{
		{"10.0.0.3", []netip.Addr{addr("10.0.0.3"), addr("10.0.0.1"), addr("fd00::2")}},
		{"10.0.0.9", []netip.Addr{addr("10.0.0.9"), addr("10.0.0.1"), addr("fd00::2")}},
	} {
		if diff := cmp.Diff(tt.want, servers(addr(tt.self), heads), addrs); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.self, diff)
		}
	}
	if got := servers(netip.Addr{}, nil); len(got) != 0 {
		t.Errorf("nobody: %v", got)
	}
}

func TestForwardersOf(t *testing.T) {
	isHead := func(a netip.Addr) bool { return a == addr("10.77.0.1") || a == addr("10.77.0.2") }
	text := "# of the lease\nsearch cluster\nnameserver 10.77.0.2\nnameserver 192.0.2.1\n nameserver fe80::1%eth0 \nnameserver\nnameserver x\noptions edns0\nnameserver 192.0.2.1\n"
	own := resolvers(text)
	for _, tt := range []struct {
		name    string
		setting []netip.Addr
		want    []netip.Addr
	}{
		{"its own", nil, []netip.Addr{addr("192.0.2.1"), addr("fe80::1%eth0")}},
		{"as set", []netip.Addr{addr("192.0.2.9"), addr("10.77.0.1"), addr("::ffff:192.0.2.9")}, []netip.Addr{addr("192.0.2.9")}},
	} {
		if diff := cmp.Diff(tt.want, forwardersOf(tt.setting, own, isHead), addrs); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.name, diff)
		}
	}
}

// TestHeadsHostsFile shows that a head's own lines stay when ours change.
func TestHeadsHostsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(file, []byte("127.0.0.1 localhost\n192.0.2.7 printer"), 0o640); err != nil {
		t.Fatal(err)
	}
	write := func(all ...wire.Host) bool {
		changed, err := agent.WriteHosts(file, agent.HostsBlock("head1", netip.Addr{}, all))
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	head, n1, n2 := wire.Host{Name: "head1", Address: addr("10.77.0.1")}, wire.Host{Name: "n1", Address: addr("10.77.0.11")}, wire.Host{Name: "n2", Address: addr("10.77.0.12")}
	if !write(head, n1) || !write(head, n2) || write(head, n2) {
		t.Error("want changes twice, then none")
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(got); !strings.HasPrefix(s, "127.0.0.1 localhost\n192.0.2.7 printer\n") || !strings.Contains(s, "\n10.77.0.12\tn2\n") || strings.Contains(s, "n1\n") || strings.Contains(s, "head1") {
		t.Errorf("got:\n%s", s)
	}
	if st, err := os.Stat(file); err != nil || st.Mode() != 0o640 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

// TestNames runs the book and the name service of a head on loopback, and changes the state under them.
func TestNames(t *testing.T) {
	h, client := newHead(t, func(c *Config) {
		c.Name, c.Interface, c.Address = "head1", "lo", netip.MustParsePrefix("10.77.0.1/24")
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 2)
	go func() { done <- h.runNames(ctx) }()
	conf := h.dnsConfig()
	if want := netip.MustParseAddrPort("10.77.0.1:53"); conf.Listen[0] != want {
		t.Errorf("listens on %v, want %v", conf.Listen, want)
	}
	conf.Listen[0] = netip.MustParseAddrPort("127.77.1.1:15353")
	go func() { done <- serveDNSAt(ctx, conf) }()
	ask := func(name string) string {
		c := miekg.Client{Timeout: 200 * time.Millisecond}
		m, _, err := c.Exchange(new(miekg.Msg).SetQuestion(name, miekg.TypeA), conf.Listen[0].String())
		if err != nil {
			return err.Error()
		}
		text := miekg.RcodeToString[m.Rcode]
		for _, rr := range m.Answer {
			text += " " + rr.(*miekg.A).A.String()
		}
		return text
	}
	until := func(name, want string) {
		t.Helper()
		got := ""
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if got = ask(name); got == want {
				return
			}
		}
		t.Fatalf("%s: %s, want %s", name, got, want)
	}
	until("head1.cluster.", "NOERROR 10.77.0.1")
	until("n01.cluster.", "NXDOMAIN")
	name, mac, address, approved := "n01", "52:54:00:00:00:01", "10.77.0.9", true
	if _, err := client.AddNode(t.Context(), wire.NodeChange{Name: &name, MAC: &mac, Address: &address, Approved: &approved}); err != nil {
		t.Fatal(err)
	}
	until("N01.Cluster.", "NOERROR 10.77.0.9")
	var spec wire.Spec
	h.addNames(&spec)
	if want := []wire.Host{{Name: "head1", Address: addr("10.77.0.1")}, {Name: "n01", Address: addr("10.77.0.9")}}; !slices.Equal(want, spec.Hosts) {
		t.Errorf("hosts %v, want %v", spec.Hosts, want)
	}
	if want := []netip.Addr{addr("10.77.0.1")}; !slices.Equal(want, spec.DNS) {
		t.Errorf("DNS %v, want %v", spec.DNS, want)
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil && err != context.Canceled {
			t.Error(err)
		}
	}
}

// BenchmarkBook writes the book of 5,000 nodes after one lease has changed.
func BenchmarkBook(b *testing.B) {
	d := newDirectory()
	lease := func(i int, hlc uint64) state.Record {
		ip := netip.AddrFrom4([4]byte{10, 77, byte(i >> 8), byte(i)})
		return stateRecord(b, state.KindLease, ip.String(), hlc, registry.Lease{MAC: fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&255),
			State: string(dhcp.Bound), Renewed: bookTime, Expires: bookTime.Add(time.Hour)})
	}
	for i := range 5000 {
		name := fmt.Sprintf("n%04d", i)
		for _, rec := range []state.Record{lease(i, 1), stateRecord(b, state.KindNode, name, 1, registry.Record{MAC: fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&255), Approved: true})} {
			if err := d.take(rec); err != nil {
				b.Fatal(err)
			}
		}
	}
	again := uint64(2)
	for b.Loop() {
		if err := d.take(lease(17, again)); err != nil {
			b.Fatal(err)
		}
		again++
		if n := len(d.at(bookTime).hosts); n != 5000 {
			b.Fatal(n)
		}
	}
}
