package vip

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"masthead/appliance/failover"
)

// Run announces, probes, renews and watches until ctx ends; then it leaves gate and addresses as they are.
func (v *VIP) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return watch(ctx, unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES, gateMatters, func() { wake(v.recheck) })
	})
	g.Go(func() error {
		return watch(ctx, unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, func(netlink.Message) bool { return true },
			func() { wake(v.relink); wake(v.recheck) })
	})
	g.Go(func() error { v.guard(ctx); return nil })
	g.Go(func() error { v.renewing(ctx); return nil })
	g.Go(func() error { return v.listening(ctx) })
	g.Go(func() error { v.speaking(ctx); return nil })
	err := g.Wait()
	v.gate.close()
	return err
}

// guard makes the gate again when somebody has removed it, or when an interface has come back without it.
func (v *VIP) guard(ctx context.Context) {
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.recheck:
		}
		was, err := v.gate.repair()
		if err != nil {
			if err.Error() != told {
				told = err.Error()
				v.event(told, true)
			}
			select { // whoever removes it may be at it still
			case <-ctx.Done():
			case <-time.After(time.Second):
				wake(v.recheck)
			}
			continue
		}
		told = ""
		v.tellMissing(was)
	}
}

func (v *VIP) tellMissing(was string) {
	if was != "" {
		v.event(was, was == missingRules)
	}
}

// renewing renews the addresses' lifetime. It has a goroutine of its own: the kernel's lock for that (rtnl) may be taken for
// long by others, and the gate must not wait for it.
func (v *VIP) renewing(ctx context.Context) {
	told := ""
	for {
		var again <-chan time.Time
		if v.kept() == prepared {
			again = time.After(renewAfter)
		}
		select {
		case <-ctx.Done():
			return
		case <-v.keep:
		case <-again:
		}
		switch tried, err := v.addrs.renew(v.renewDue); {
		case !tried:
		case err == nil:
			told = ""
		case err.Error() != told:
			told = err.Error()
			v.event(strings.ReplaceAll(told, "\n", "; "), true)
		}
	}
}

// renewDue reports whether the addresses, renewed then, are to be renewed. Where they hang on Open, each renewal takes
// another Open.
func (v *VIP) renewDue(renewed failover.Instant) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.c.Now()
	old := renewed < 0 || now-renewed >= renewAfter
	return old && (v.mode == prepared || v.mode == leased && v.refreshed > renewed && v.until > now)
}

// speaking sends what is due.
func (v *VIP) speaking(ctx context.Context) {
	for {
		now := v.c.Now()
		due := v.announceDue(now)
		for _, a := range v.c.Addresses {
			if due[a.Prefix.Addr()] {
				v.announce(a)
			}
		}
		if v.probeDue(now) {
			v.ask()
		}
		if v.c.Gateway.IsValid() && v.gatewayDue(now) {
			v.askGateway()
		}
		select {
		case <-ctx.Done():
			return
		case <-v.step:
		case <-time.After(v.pause()):
		}
	}
}

// announceDue are the VIPs to announce: all that are open, or those to defend.
func (v *VIP) announceDue(now failover.Instant) map[netip.Addr]bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	all, some := v.announcer.due(now, v.until > now), v.conflict.due(now)
	due := map[netip.Addr]bool{}
	for _, a := range v.answer {
		if v.answers(a, now) && (all || some[a]) {
			due[a] = true
		}
	}
	return due
}

func (v *VIP) probeDue(now failover.Instant) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.prober.due(now)
}

func (v *VIP) gatewayDue(now failover.Instant) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.gateway.due(now)
}

// pause is until something may be due, if nobody wakes.
func (v *VIP) pause() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.c.Now()
	p := min(v.announcer.next(now), v.conflict.next(now))
	if v.prober.on {
		p = min(p, v.prober.began+probeEvery-now)
	}
	if v.c.Gateway.IsValid() {
		p = min(p, v.gateway.next()-now)
	}
	return max(p, time.Millisecond)
}

// heard takes a neighbour's word that it has an address.
func (v *VIP) heard(_ *port, c claim) {
	mac := c.hardware()
	now := v.c.Now()
	v.mu.Lock()
	if v.own[c.mac] {
		v.mu.Unlock()
		return
	}
	v.prober.hear(c)
	if c.addr == v.c.Gateway {
		v.gateway.hear(now)
	}
	ours := v.answers(c.addr, now)
	v.mu.Unlock()
	if !ours {
		return
	}
	peer := v.isPeer(mac)
	v.mu.Lock()
	news := v.conflict.hear(now, c.addr, mac, peer)
	v.mu.Unlock()
	wake(v.step)
	if news {
		v.event("machine "+mac.String()+" claims virtual address "+c.addr.String()+", which this head owns: announcing it again", true)
	}
}

// ownMACs are the hardware addresses of this machine: what we hear from one of them is no neighbour.
func ownMACs(nics []net.Interface) map[[6]byte]bool {
	own := map[[6]byte]bool{}
	for _, n := range nics {
		if len(n.HardwareAddr) == 6 {
			own[[6]byte(n.HardwareAddr)] = true
		}
	}
	return own
}
