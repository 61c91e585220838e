package vip

import (
	"net/netip"

	"masthead/appliance/failover"
)

// announce tells the neighbours of one address. A gate that is shut drops it.
func (v *VIP) announce(a Address) {
	p := v.port(a.NIC)
	if p == nil {
		return
	}
	for _, d := range announcements(a.Prefix.Addr(), p.nic.HardwareAddr) {
		if err := p.send(d); err != nil {
			v.c.Log.Debug("announcement was not sent", "address", a.Prefix, "interface", a.NIC, "err", err)
		}
	}
}

// ask sends one round of probes.
func (v *VIP) ask() {
	blind := false
	for _, a := range v.c.Addresses {
		if !v.sendTo(a.NIC, a.Prefix.Addr(), netip.Addr{}) {
			blind = true
		}
	}
	for _, peer := range v.c.Peers {
		sent := false
		for _, nic := range v.nicsFor(peer) {
			sent = v.sendTo(nic, peer, netip.Addr{}) || sent
		}
		blind = blind || !sent
	}
	now := v.c.Now()
	v.mu.Lock()
	v.prober.asked(now, blind)
	v.mu.Unlock()
}

func (v *VIP) askGateway() {
	for _, nic := range v.nicsFor(v.c.Gateway) {
		var from netip.Addr
		if p := v.port(nic); p != nil {
			from = source(p.nic, v.c.Gateway, v.vips)
		}
		v.sendTo(nic, v.c.Gateway, from)
	}
}

// sendTo asks for target and reports whether the question is on the wire.
func (v *VIP) sendTo(nic string, target, from netip.Addr) bool {
	p := v.port(nic)
	if p == nil {
		return false
	}
	v.mu.Lock()
	carrier := v.carriers[nic]
	v.mu.Unlock()
	err := p.send(question(target, from, p.nic.HardwareAddr))
	return err == nil && carrier == failover.Up
}

func (v *VIP) port(nic string) *port {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ports[nic]
}

// nicsFor are the interfaces in whose network an address is, else all that have a VIP.
func (v *VIP) nicsFor(target netip.Addr) []string {
	v.mu.Lock()
	var all []*port
	for _, p := range v.ports {
		all = append(all, p)
	}
	v.mu.Unlock()
	var near []string
	for _, p := range all {
		if source(p.nic, target, v.vips).IsValid() {
			near = append(near, p.nic.Name)
		}
	}
	if near == nil {
		return v.gate.nics
	}
	return near
}
