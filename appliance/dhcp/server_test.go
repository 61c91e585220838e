package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// bench is a server without a wire; what it does is written down in order.
type bench struct {
	*Server
	db   *memory
	mu   sync.Mutex
	log  []string
	wire map[netip.Addr]MAC // who would answer a probe
}

func newBench(t testing.TB, change ...func(*Config)) *bench {
	t.Helper()
	b := &bench{db: newMemory(), wire: map[netip.Addr]MAC{}}
	s, err := New(complete(t, lan, change...), b.db, store{b})
	if err != nil {
		t.Fatal(err)
	}
	s.Event = func(e Event) { b.note("event %s %v", e.Kind, e.IP) }
	s.Now = func() time.Time { return noon }
	b.Server = s
	return b
}

func (b *bench) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, fmt.Sprintf(format, args...))
}

// store is the bench's memory, written down.
type store struct{ b *bench }

func (s store) LeaseByMAC(m MAC) (Lease, bool)       { return s.b.db.LeaseByMAC(m) }
func (s store) LeaseByIP(a netip.Addr) (Lease, bool) { return s.b.db.LeaseByIP(a) }
func (s store) Commit(ctx context.Context, l Lease) error {
	if _, ok := ctx.Deadline(); !ok {
		return errors.New("no deadline")
	}
	err := s.b.db.Commit(ctx, l)
	s.b.note("commit %s %v: %v", l.State, l.IP, err)
	return err
}

func (b *bench) probe(_ context.Context, a netip.Addr) (MAC, bool, error) {
	b.note("probe %v", a)
	m, ok := b.wire[a]
	return m, ok, nil
}

func (b *bench) take(p []byte) []string {
	b.handle(context.Background(), p, fromClient, b.probe, func(to Destination, p []byte) error {
		r, err := dhcpv4.FromBytes(p)
		if err != nil {
			return err
		}
		b.note("send %s %v", r.MessageType(), r.YourIPAddr)
		return nil
	})
	log := b.log
	b.log = nil
	return log
}

func TestEffects(t *testing.T) {
	discover := captured(t, "udhcpc-discover")
	request := captured(t, "udhcpc-request") // for 10.9.0.180
	stranger := MAC{2, 7, 7, 7, 7, 7}
	for _, tt := range []struct {
		name    string
		prepare func(*bench)
		packet  []byte
		want    []string
	}{
		{"probes before the first offer", nil, discover, []string{"event discover invalid IP", "probe 10.9.0.180", "send OFFER 10.9.0.180", "event offer 10.9.0.180"}},
		{"stores before the acknowledgement", nil, request, []string{"event request 10.9.0.180", "commit bound 10.9.0.180: <nil>", "send ACK 10.9.0.180", "event ack 10.9.0.180"}},
		{"no acknowledgement without the store", func(b *bench) { b.db.fail = errors.New("disk full") }, request, []string{"event request 10.9.0.180", "commit bound 10.9.0.180: disk full", "event failed 10.9.0.180"}},
		{"offers even if the store is down", func(b *bench) { b.db.fail = errors.New("disk full") }, discover, []string{"event discover invalid IP", "probe 10.9.0.180", "send OFFER 10.9.0.180", "event offer 10.9.0.180"}},
		{"another has it", func(b *bench) { b.wire[ip("10.9.0.180")] = stranger }, discover, []string{
			"event discover invalid IP", "probe 10.9.0.180", "event conflict 10.9.0.180", "commit quarantined 10.9.0.180: <nil>",
			"probe 10.9.0.181", "send OFFER 10.9.0.181", "event offer 10.9.0.181",
		}},
		{"the client itself still has it", func(b *bench) { b.wire[ip("10.9.0.180")] = alice }, discover, []string{"event discover invalid IP", "probe 10.9.0.180", "send OFFER 10.9.0.180", "event offer 10.9.0.180"}},
		{"others have all", func(b *bench) {
			for n := range 100 {
				b.wire[netip.AddrFrom4([4]byte{10, 9, 0, byte(100 + n)})] = stranger
			}
		}, discover, []string{
			"event discover invalid IP",
			"probe 10.9.0.180", "event conflict 10.9.0.180", "commit quarantined 10.9.0.180: <nil>",
			"probe 10.9.0.181", "event conflict 10.9.0.181", "commit quarantined 10.9.0.181: <nil>",
			"probe 10.9.0.182", "event conflict 10.9.0.182", "commit quarantined 10.9.0.182: <nil>",
			"probe 10.9.0.183", "event conflict 10.9.0.183", "commit quarantined 10.9.0.183: <nil>",
			"event failed invalid IP",
		}},
		{"another head was faster", func(b *bench) {
			b.Server.store = &late{store: store{b}, lease: Lease{IP: ip("10.9.0.180"), MAC: bob, State: Bound, Renewed: noon, Expires: noon.Add(time.Hour)}}
		}, request, []string{"event request 10.9.0.180", "commit bound 10.9.0.180: address is held by another machine", "send NAK 0.0.0.0", "event nak 10.9.0.180"}},
		{"malformed", nil, discover[:200], []string{"event ignored invalid IP"}},
		{"empty", nil, nil, []string{"event ignored invalid IP"}},
		{"busy with this client", func(b *bench) { b.busy[alice] = true }, discover, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			if tt.prepare != nil {
				tt.prepare(b)
			}
			if diff := cmp.Diff(tt.want, b.take(tt.packet)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// late is a store in which another head's lease appears just before the first commit.
type late struct {
	store
	lease Lease
	once  sync.Once
}

func (s *late) Commit(ctx context.Context, l Lease) error {
	s.once.Do(func() {
		s.b.mu.Lock()
		defer s.b.mu.Unlock()
		s.b.db.leases[s.lease.IP] = s.lease
	})
	return s.store.Commit(ctx, l)
}

// TestRestart: a new server on the same store, and another head, know what was acknowledged.
func TestRestart(t *testing.T) {
	b := newBench(t)
	b.take(captured(t, "udhcpc-request"))
	again, err := New(b.config, b.db, store{b})
	if err != nil {
		t.Fatal(err)
	}
	again.Event, again.Now = b.Event, b.Now
	b.Server = again
	want := []string{"event discover invalid IP", "send OFFER 10.9.0.180", "event offer 10.9.0.180"}
	if diff := cmp.Diff(want, b.take(captured(t, "dhclient-discover"))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestConcurrentClients lets two machines with the same place in the pool ask while the other's probe is under way.
func TestConcurrentClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Config) { c.Pool = Range{ip("10.9.0.100"), ip("10.9.0.101")} })
		slow := func(ctx context.Context, a netip.Addr) (MAC, bool, error) {
			time.Sleep(probeTime)
			return MAC{}, false, nil
		}
		var mu sync.Mutex
		var got []string
		var clients sync.WaitGroup
		for i := range 3 {
			req := decoded(t, "udhcpc-discover", func(p *dhcpv4.DHCPv4) { p.ClientHWAddr[5] = byte(i) })
			clients.Go(func() {
				b.handle(t.Context(), req.ToBytes(), fromClient, slow, func(_ Destination, p []byte) error {
					mu.Lock()
					defer mu.Unlock()
					got = append(got, addrOf(p[16:20]).String())
					return nil
				})
			})
		}
		clients.Wait()
		slices.Sort(got)
		if diff := cmp.Diff([]string{"10.9.0.100", "10.9.0.101"}, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if !slices.Contains(b.log, "event exhausted invalid IP") {
			t.Errorf("the third was not told of: %q", b.log)
		}
	})
}

func TestOffersAreBounded(t *testing.T) {
	o := newOffers()
	for i := range 3 * maxOffers {
		a := fromUint32(10<<24 + uint32(i))
		o.hold(Lease{IP: a, MAC: MAC{2, 0, byte(i >> 16), byte(i >> 8), byte(i)}, Expires: noon.Add(time.Duration(i+1) * time.Second)}, noon)
	}
	if len(o.byIP) != maxOffers || len(o.byMAC) != maxOffers {
		t.Errorf("%d addresses, %d machines, want %d", len(o.byIP), len(o.byMAC), maxOffers)
	}
	if _, ok := o.byIP[fromUint32(10<<24+3*maxOffers-1)]; !ok {
		t.Error("the newest offer was dropped")
	}
	if _, ok := o.byIP[fromUint32(10<<24)]; ok {
		t.Error("the oldest offer was kept")
	}
}

// TestOfferHidesOldLease: an address that was offered to one machine is not free for the next, though its record in the
// store is another's expired one; and a machine is offered one address at a time.
func TestOfferHidesOldLease(t *testing.T) {
	o, db := newOffers(), newMemory()
	db.leases[ip("10.9.0.100")] = expired(MAC{2, 9}, "10.9.0.100")
	v := view{db, db, o, noon}
	o.hold(Lease{IP: ip("10.9.0.101"), MAC: alice, Expires: noon.Add(time.Minute)}, noon)
	o.hold(Lease{IP: ip("10.9.0.100"), MAC: alice, Expires: noon.Add(time.Minute)}, noon)
	if l, _ := v.LeaseByIP(ip("10.9.0.100")); l.MAC != alice {
		t.Errorf("the address is %v's", l.MAC)
	}
	if freeFor(ip("10.9.0.100"), bob, v, noon) {
		t.Error("the offered address is free for another")
	}
	if l, ok := v.LeaseByIP(ip("10.9.0.101")); ok {
		t.Errorf("the first offer is still held: %+v", l)
	}
	if l, _ := v.LeaseByMAC(alice); l.IP != ip("10.9.0.100") {
		t.Errorf("the machine holds %v", l.IP)
	}
	v.now = noon.Add(time.Hour)
	if !freeFor(ip("10.9.0.100"), bob, v, v.now) {
		t.Error("the offer never ends")
	}
}

func TestMayReplace(t *testing.T) {
	now := func(l Lease) Lease { l.Renewed = noon; return l }
	for _, tt := range []struct {
		name     string
		new, old Lease
		want     bool
	}{
		{"own", now(bound(alice, "10.9.0.150")), bound(alice, "10.9.0.150"), true},
		{"another's", now(bound(alice, "10.9.0.150")), bound(bob, "10.9.0.150"), false},
		{"another's, expired", now(bound(alice, "10.9.0.150")), expired(bob, "10.9.0.150"), true},
		{"declined by its holder", Lease{State: Quarantined, Renewed: noon, Cause: bob}, bound(bob, "10.9.0.150"), true},
		{"declined by another", Lease{State: Quarantined, Renewed: noon, Cause: alice}, bound(bob, "10.9.0.150"), false},
		{"quarantined", now(bound(alice, "10.9.0.150")), Lease{State: Quarantined, Expires: noon.Add(1)}, false},
	} {
		if got := tt.new.MayReplace(tt.old); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
}
