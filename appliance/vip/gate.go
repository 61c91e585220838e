package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/google/nftables"

	"masthead/appliance/failover"
)

// tick is the kernel's tick where it is long (CONFIG_HZ=250): timeouts are no more precise than that.
const tick = 4 * time.Millisecond

// commentPrefix begins the comment of each open element; the epoch follows.
const commentPrefix = "epoch "

// gate is the rules in the kernel, and what this process knows about them. Each change is one transaction of nftables.
type gate struct {
	list []Address
	vips []netip.Addr
	nics []string
	most time.Duration // for which it is opened at once
	now  func() failover.Instant

	mu     sync.Mutex
	conn   *nftables.Conn // nil: to be dialled
	open   opened
	answer []netip.Addr // of vips: what it is open for; the others stay shut
}

// opened is for what the gate was opened, and until when. The zero value: shut.
type opened struct {
	epoch uint64
	until failover.Instant
}

var errLate = errors.New("its time has passed")

// refresh opens the gate for some VIPs or keeps it open for them, and shuts it for the others. wasShut is for how long the
// gate had been shut by its timeout though it should have been open, or zero; rebuilt reports that the rules were not there.
func (g *gate) refresh(epoch uint64, until failover.Instant, answer []netip.Addr) (wasShut time.Duration, rebuilt bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	began := g.now()
	left := min(until-began, g.most)
	if left < tick {
		return 0, false, errLate
	}
	was := g.open
	done := false
	if was.until > began {
		// Elements that expired meanwhile cannot be removed, and then the kernel does nothing of all this: a process that was
		// stopped right here does not open the gate again when it goes on.
		done = g.change(func(c *nftables.Conn) error { return g.replace(c, left, epoch, answer) }) == nil
	}
	if !done {
		began = g.now()
		if left = min(until-began, g.most); left < tick {
			g.open = opened{}
			return 0, false, errLate
		}
		err = g.change(func(c *nftables.Conn) error { return g.set(c, left, epoch, answer) })
		if err != nil {
			rebuilt = true
			err = g.install(opened{epoch, began + left}, answer)
		}
		if was.until > 0 {
			wasShut = max(0, began-was.until)
		}
	}
	if err != nil {
		g.open = opened{}
		return wasShut, rebuilt, fmt.Errorf("open the gate for epoch %d: %w", epoch, err)
	}
	g.open, g.answer = opened{epoch, began + left}, answer
	if late, err := g.shutIfLate(until); late {
		return wasShut, rebuilt, errors.Join(errLate, err)
	}
	return wasShut, rebuilt, nil
}

// shutIfLate shuts a gate again that was opened too late: this process was stopped after it had read the clock.
func (g *gate) shutIfLate(until failover.Instant) (bool, error) {
	if g.now() < until {
		return false, nil
	}
	return true, g.shutLocked()
}

// replace puts VIPs into the open sets in place of those that the gate is open for, all of which must still be there.
func (g *gate) replace(c *nftables.Conn, timeout time.Duration, epoch uint64, answer []netip.Addr) error {
	return g.openSets(func(s set, in *nftables.Set) error {
		// An element's timeout cannot be changed before Linux 6.12: it is replaced. Lookups see the old or the new one.
		if old := s.elements(g.answer, 0, ""); len(old) > 0 {
			if err := c.SetDeleteElements(in, old); err != nil {
				return err
			}
		}
		return s.fill(c, in, answer, timeout, epoch)
	})
}

// set puts VIPs into the open sets, whatever is there.
func (g *gate) set(c *nftables.Conn, timeout time.Duration, epoch uint64, answer []netip.Addr) error {
	return g.openSets(func(s set, in *nftables.Set) error {
		c.FlushSet(in)
		return s.fill(c, in, answer, timeout, epoch)
	})
}

func (s set) fill(c *nftables.Conn, in *nftables.Set, addrs []netip.Addr, timeout time.Duration, epoch uint64) error {
	list := s.elements(addrs, timeout, comment(epoch))
	if len(list) == 0 {
		return nil
	}
	return c.SetAddElements(in, list)
}

func comment(epoch uint64) string { return commentPrefix + strconv.FormatUint(epoch, 10) }

func (g *gate) openSets(do func(set, *nftables.Set) error) error {
	for _, t := range tables(nil, nil) {
		for _, s := range t.sets {
			if !s.open {
				continue
			}
			if err := do(s, s.in(&nftables.Table{Name: tableName, Family: t.family})); err != nil {
				return err
			}
		}
	}
	return nil
}

// shut shuts the gate at once. Where the rules are gone they are made anew.
func (g *gate) shut() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shutLocked()
}

func (g *gate) shutLocked() error {
	g.open = opened{}
	err := g.change(func(c *nftables.Conn) error {
		return g.openSets(func(_ set, in *nftables.Set) error { c.FlushSet(in); return nil })
	})
	if err != nil {
		err = g.install(opened{}, nil)
	}
	if err != nil {
		return fmt.Errorf("shut the gate: %w", err)
	}
	return nil
}

// change performs one transaction. After an error the connection is a new one: answers of the old one may still be under way.
func (g *gate) change(fill func(*nftables.Conn) error) error {
	if g.conn == nil {
		c, err := nftables.New(nftables.AsLasting())
		if err != nil {
			return fmt.Errorf("reach nftables: %w", err)
		}
		g.conn = c
	}
	err := fill(g.conn)
	if err == nil {
		err = g.conn.Flush()
	}
	if err != nil {
		g.conn.CloseLasting()
		g.conn = nil
	}
	return err
}

// state is what this process has open now.
func (g *gate) state() opened {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open.until <= g.now() {
		return opened{}
	}
	return g.open
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conn != nil {
		g.conn.CloseLasting()
		g.conn = nil
	}
}
