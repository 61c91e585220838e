package dhcp

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"pgregory.net/rapid"
)

// TestAllocation lets a few machines, more than the pool has room for, do anything in any order to two heads with one
// store. No address is ever held by two, none is given out that must not be, and heads agree.
func TestAllocation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, err := func() (Config, error) {
			c := lan
			c.Pool = Range{ip("10.9.0.100"), ip("10.9.0.104")}
			c.Exclude = []netip.Addr{ip("10.9.0.102")}
			return c.Complete()
		}()
		if err != nil {
			t.Fatal(err)
		}
		db := newMemory()
		now := noon
		macs := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) MAC {
			return MAC{2, byte(rapid.IntRange(0, 255).Draw(t, "b"))}
		}), 7, 7, rapid.ID).Draw(t, "machines")
		if rapid.Bool().Draw(t, "reserve") {
			db.reservations[macs[0]] = Reservation{IP: ip("10.9.0.101")}
			db.reservations[macs[1]] = Reservation{IP: ip("10.9.0.50")}
		}
		heads := []*offers{newOffers(), newOffers()}
		acked := map[netip.Addr]Lease{}

		// send is Server.handle without a wire.
		send := func(head int, mac MAC, mods ...mod) Decision {
			req := &dhcpv4.DHCPv4{OpCode: dhcpv4.OpcodeBootRequest, HWType: 1, ClientHWAddr: mac[:], Options: dhcpv4.Options{}}
			for _, m := range mods {
				m(req)
			}
			v := view{db, db, heads[head], now}
			d := c.Answer(req, fromClient, v, now)
			if d2 := c.Answer(req, fromClient, v, now); short(d) != short(d2) {
				t.Fatalf("the same question got %s, then %s", short(d), short(d2))
			}
			if d.Lease == nil {
				return d
			}
			l := *d.Lease
			if l.State == Offered {
				heads[head].hold(l, now)
				return d
			}
			if db.Commit(context.Background(), l) != nil {
				return Decision{}
			}
			heads[head].drop(l.IP)
			return d
		}
		check := func(mac MAC, d Decision) {
			if d.Reply == nil || d.Reply.MessageType() == dhcpv4.MessageTypeNak {
				return
			}
			got := addrOf(d.Reply.YourIPAddr)
			owner, reserved := db.ReservedBy(got)
			switch {
			case got == ip("10.9.0.1") || got == ip("10.9.0.102"):
				t.Fatalf("gave out %v", got)
			case reserved && owner != mac:
				t.Fatalf("gave %v, reserved for %v, to %v", got, owner, mac)
			case !reserved && !c.Pool.contains(got):
				t.Fatalf("gave out %v", got)
			}
			if d.Outcome.Kind != KindAck {
				return
			}
			if old, ok := acked[got]; ok && old.MAC != mac && old.Live(now) {
				t.Fatalf("%v belongs to %v and to %v", got, old.MAC, mac)
			}
			for a, l := range acked {
				if l.MAC == mac {
					delete(acked, a)
				}
			}
			acked[got] = *d.Lease
		}
		t.Repeat(map[string]func(*rapid.T){
			"boot": func(t *rapid.T) {
				m, head := rapid.SampledFrom(macs).Draw(t, "mac"), rapid.IntRange(0, 1).Draw(t, "head")
				d := send(head, m, kind(dhcpv4.MessageTypeDiscover))
				check(m, d)
				if d.Reply == nil {
					return
				}
				got := addrOf(d.Reply.YourIPAddr)
				check(m, send(rapid.IntRange(0, 1).Draw(t, "other"), m, kind(dhcpv4.MessageTypeRequest), wants(got.String()), serverID("10.9.0.1")))
			},
			"ask": func(t *rapid.T) {
				m, head := rapid.SampledFrom(macs).Draw(t, "mac"), rapid.IntRange(0, 1).Draw(t, "head")
				check(m, send(head, m, kind(dhcpv4.MessageTypeDiscover)))
			},
			"want": func(t *rapid.T) {
				m, n := rapid.SampledFrom(macs).Draw(t, "mac"), rapid.IntRange(99, 106).Draw(t, "address")
				check(m, send(rapid.IntRange(0, 1).Draw(t, "head"), m, kind(dhcpv4.MessageTypeRequest), wants(fmt.Sprintf("10.9.0.%d", n))))
			},
			"leave": func(t *rapid.T) {
				m := rapid.SampledFrom(macs).Draw(t, "mac")
				k := rapid.SampledFrom([]dhcpv4.MessageType{dhcpv4.MessageTypeRelease, dhcpv4.MessageTypeDecline}).Draw(t, "how")
				l, ok := db.LeaseByMAC(m)
				if !ok {
					return
				}
				d := send(0, m, kind(k), ciaddr(l.IP.String()), wants(l.IP.String()))
				if d.Lease != nil {
					delete(acked, l.IP)
				}
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 8*3600).Draw(t, "seconds")) * time.Second)
			},
		})
	})
}

// TestPoolIsSpread guards the property that makes addresses stick without records: most machines get the place that
// their MAC hashes to, even those with MACs in a row.
func TestPoolIsSpread(t *testing.T) {
	c := complete(t, lan)
	s, _ := c.subnetOf(c.Address.Addr())
	alone := newMemory()
	db := newMemory()
	same := 0
	const machines = 25 // a quarter of the pool
	for i := range machines {
		m := MAC{0x52, 0x54, 0, 0, 0, byte(i)}
		want, err := c.free(m, s, alone, noon)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.free(m, s, db, noon)
		if err != nil {
			t.Fatal(err)
		}
		db.leases[got] = bound(m, got.String())
		if got == want {
			same++
		}
	}
	if same < machines*3/4 {
		t.Errorf("only %d of %d machines got the place of their MAC", same, machines)
	}
	if len(db.leases) != machines {
		t.Errorf("%d machines share %d addresses", machines, len(db.leases))
	}
}
