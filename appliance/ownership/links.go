package ownership

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"masthead/appliance/configuration"
	"masthead/appliance/heartbeat"
)

// ownNet is one address of this machine.
type ownNet struct {
	nic    string
	index  int
	prefix netip.Prefix
}

// ownNets are the addresses of this machine.
func ownNets() ([]ownNet, error) {
	nics, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list the network cards: %w", err)
	}
	var all []ownNet
	for _, nic := range nics {
		if nic.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := nic.Addrs()
		if err != nil {
			continue // it has just gone
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				all = append(all, ownNet{nic.Name, nic.Index, p})
			}
		}
	}
	return all, nil
}

// addresses are where a head can be reached by heartbeats.
func (c Config) addresses(head string) []netip.Addr {
	var all []netip.Addr
	if a := c.Heads[head].Address; a.IsValid() {
		all = append(all, a)
	}
	for _, a := range c.document.Heads[head].Heartbeats {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// nics are the ways of heartbeats over networks: one for each address of a peer, from the card in whose network it is. An
// address that is in no network of ours yet is reached by the kernel's routes.
func (c Config) nics(own []ownNet, port uint16) []heartbeat.NIC {
	mine := c.addresses(c.Self)
	var all []heartbeat.NIC
	for _, peer := range c.peers() {
		for _, remote := range c.addresses(peer) {
			n := heartbeat.NIC{Peer: c.Heads[peer].Number, Name: "", Remote: netip.AddrPortFrom(remote, port)}
			for _, o := range own {
				if o.prefix.Contains(remote) && slices.Contains(mine, o.prefix.Addr()) {
					n.Name, n.Index, n.Local = o.nic, o.index, netip.AddrPortFrom(o.prefix.Addr(), port)
				}
			}
			if !n.Local.IsValid() {
				unspecified := netip.IPv4Unspecified()
				if remote.Is6() {
					unspecified = netip.IPv6Unspecified()
				}
				n.Local = netip.AddrPortFrom(unspecified, port)
			}
			all = append(all, n)
		}
	}
	return all
}

// cables are the serial links of this head.
func (c Config) cables() []heartbeat.Serial {
	var all []heartbeat.Serial
	for _, s := range c.document.Heads[c.Self].Serial {
		peer := s.Peer
		if others := c.peers(); peer == "" && len(others) == 1 {
			peer = others[0]
		}
		head, ok := c.Heads[peer]
		if !ok {
			continue // the head at the other end has not joined yet
		}
		all = append(all, heartbeat.Serial{Device: s.Device, Baud: s.Baud, Peer: head.Number})
	}
	return all
}

// vipNIC finds the card for a virtual address: the named one, or the one in whose network it is.
func vipNIC(v configuration.VIP, own []ownNet) (string, error) {
	if v.NIC != "" {
		return v.NIC, nil
	}
	for _, o := range own {
		if o.prefix.Contains(v.Address.Addr()) && o.prefix.Addr() != v.Address.Addr() {
			return o.nic, nil
		}
	}
	return "", fmt.Errorf("virtual address %s: no network card of this head is in its network", v.Address.Addr())
}
