package vip

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"

	"masthead/appliance/failover"
)

// TestStall stops a process right between reading its clock and the kernel, for longer than its gate is open: what it then
// still sends must not open the gate.
func TestStall(t *testing.T) {
	l := newLab(t, "a")
	var stall func()
	zero := time.Now()
	g := &gate{vips: []netip.Addr{vip4.Addr(), vip6.Addr()}, nics: []string{"lan0"}, most: 400 * time.Millisecond}
	g.now = func() failover.Instant {
		now := time.Since(zero)
		if stall != nil {
			f := stall
			stall = nil
			f()
		}
		return now
	}
	l.in("a", func() error { // all on this thread: the connection is dialled here
		if err := g.adopt(opened{}, nil); err != nil {
			return err
		}
		open := func() bool {
			c, err := nftables.New()
			if err != nil {
				t.Fatal(err)
			}
			list, err := c.GetSetElements(sets6[1].in(&nftables.Table{Name: tableName, Family: nftables.TableFamilyNetdev}))
			if err != nil {
				t.Fatal(err)
			}
			return len(list) > 0
		}
		if _, _, err := g.refresh(1, time.Since(zero)+time.Second, g.vips); err != nil || !open() {
			t.Errorf("first opening: %v, open %v", err, open())
		}
		// A refresh that was stopped: its elements have expired.
		until := time.Since(zero) + 500*time.Millisecond
		stall = func() {
			time.Sleep(600 * time.Millisecond)
			stall = func() { // the next look at the clock is after the transaction
				if open() {
					t.Error("a refresh after its time has opened the gate")
				}
			}
		}
		if _, _, err := g.refresh(1, until, g.vips); !errors.Is(err, errLate) || open() {
			t.Errorf("a refresh after its time: %v, open %v", err, open())
		}
		// An opening that was stopped: it is undone at once.
		until = time.Since(zero) + 500*time.Millisecond
		stall = func() { stall = func() { time.Sleep(600 * time.Millisecond) } } // at the second look at the clock
		if _, _, err := g.refresh(1, until, g.vips); !errors.Is(err, errLate) || open() {
			t.Errorf("an opening after its time: %v, open %v", err, open())
		}
		if _, _, err := g.refresh(1, time.Since(zero), g.vips); !errors.Is(err, errLate) || open() {
			t.Errorf("no time: %v, open %v", err, open())
		}
		// Refreshed too late, but its lease goes on.
		if _, _, err := g.refresh(1, time.Since(zero)+time.Minute, g.vips); err != nil || !open() {
			t.Errorf("opening: %v, open %v", err, open())
		}
		time.Sleep(500 * time.Millisecond)
		if open() {
			t.Error("open after 500 ms")
		}
		g.most = 900 * time.Millisecond // to be looked at
		wasShut, rebuilt, err := g.refresh(2, time.Since(zero)+time.Minute, g.vips)
		if err != nil || rebuilt || wasShut < 50*time.Millisecond || wasShut > 5*time.Second || !open() {
			t.Errorf("late refresh: %v, %v, %v, open %v", wasShut, rebuilt, err, open())
		}
		o, answer, vips := g.left()
		if o.epoch != 2 || len(answer) != 2 || len(vips) != 2 {
			t.Errorf("left %+v %v %v", o, answer, vips)
		}
		if err := g.shut(); err != nil || open() {
			t.Errorf("shut: %v, open %v", err, open())
		}
		g.close()
		return nil
	})
}
