package vip

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"masthead/appliance/failover"
)

// relinkEvery is how often interfaces are looked at though the kernel has told of no change: of addresses that come and
// go, which decide where peers and the gateway are asked for, it is not asked to tell.
const relinkEvery = 5 * time.Second

// listening keeps a port open on each interface with a VIP, and on those in the networks of the peers and the gateway.
func (v *VIP) listening(ctx context.Context) error {
	var running sync.WaitGroup
	cancels := map[*port]context.CancelFunc{}
	end := func(p *port) { cancels[p](); delete(cancels, p) }
	defer func() {
		for p := range cancels {
			end(p)
		}
		running.Wait()
		v.mu.Lock()
		clear(v.ports)
		clear(v.carriers)
		v.mu.Unlock()
	}()
	for {
		nics, err := net.Interfaces()
		if err != nil {
			return fmt.Errorf("read the interfaces of this machine: %w", err)
		}
		v.look(nics)
		wanted := v.wanted(nics)
		for p := range cancels {
			if !slices.ContainsFunc(wanted, p.is) {
				v.mu.Lock()
				delete(v.ports, p.nic.Name)
				v.mu.Unlock()
				end(p)
			}
		}
		for _, nic := range wanted {
			if v.port(nic.Name) != nil {
				continue
			}
			p, err := openPort(nic)
			if err != nil { // gone again, perhaps
				v.c.Log.Warn("not listening for neighbours", "interface", nic.Name, "err", err)
				continue
			}
			portCtx, cancel := context.WithCancel(ctx)
			cancels[p] = cancel
			running.Go(func() {
				defer p.close()
				if err := p.run(portCtx, v.heard); err != nil {
					v.c.Log.Warn("not listening for neighbours", "interface", nic.Name, "err", err)
				}
				v.mu.Lock()
				if v.ports[nic.Name] == p {
					delete(v.ports, nic.Name)
				}
				v.mu.Unlock()
			})
			v.mu.Lock()
			v.ports[nic.Name] = p
			v.mu.Unlock()
			if slices.Contains(v.gate.nics, nic.Name) {
				v.addrs.lost()
				wake(v.keep)
				v.again()
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-v.relink:
		case <-time.After(relinkEvery):
		}
	}
}

// is reports whether an interface is the one that the port was opened on, and still has its hardware address.
func (p *port) is(nic net.Interface) bool {
	return nic.Name == p.nic.Name && nic.Index == p.nic.Index && bytes.Equal(nic.HardwareAddr, p.nic.HardwareAddr)
}

// wanted are the interfaces to listen on.
func (v *VIP) wanted(nics []net.Interface) []net.Interface {
	near := append([]netip.Addr{}, v.c.Peers...)
	if v.c.Gateway.IsValid() {
		near = append(near, v.c.Gateway)
	}
	var out []net.Interface
	for _, nic := range nics {
		if len(nic.HardwareAddr) != 6 {
			continue // lo, tun, InfiniBand: no ARP over Ethernet there
		}
		if slices.Contains(v.gate.nics, nic.Name) ||
			slices.ContainsFunc(near, func(a netip.Addr) bool { return source(nic, a, v.vips).IsValid() }) {
			out = append(out, nic)
		}
	}
	return out
}

// look reads carriers and hardware addresses.
func (v *VIP) look(nics []net.Interface) {
	carriers := map[string]failover.Reading{}
	for _, nic := range nics {
		link, err := netlink.LinkByIndex(nic.Index)
		if err == nil {
			carriers[nic.Name] = carrierOf(link.Attrs())
		}
	}
	renamed := false
	for _, nic := range v.gate.nics {
		switch link, other, err := v.nics.find(nic); {
		case err != nil:
			carriers[nic] = failover.Down // there is no such interface
		case other:
			carriers[nic], renamed = carrierOf(link.Attrs()), true
		}
	}
	if renamed {
		v.c.Renamed()
	}
	v.mu.Lock()
	was := v.carriers
	v.carriers, v.own = carriers, ownMACs(nics)
	v.mu.Unlock()
	for _, nic := range v.gate.nics {
		if was[nic] == carriers[nic] {
			continue
		}
		if carriers[nic] == failover.Down {
			v.event(fmt.Sprintf("interface %s has no carrier", nic), true)
		} else if was[nic] == failover.Down {
			v.event(fmt.Sprintf("interface %s has a carrier again", nic), false)
			v.again()
		}
	}
}

// again begins the announcements anew: the neighbours may be others now, or the switch's port.
func (v *VIP) again() {
	v.mu.Lock()
	v.announcer.again()
	v.mu.Unlock()
	wake(v.step)
}
