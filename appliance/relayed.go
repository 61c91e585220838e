package appliance

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"masthead/appliance/dhcp"
)

// ParseRelayed reads a network behind a relay agent: PREFIX[,FROM-TO][,ROUTER], as in
// 10.88.0.0/24,10.88.0.100-10.88.0.200,10.88.0.1. Without FROM-TO it has no pool: only machines with a reserved address
// get one there.
func ParseRelayed(s string) (dhcp.Subnet, error) {
	bad := func(part, want string) (dhcp.Subnet, error) {
		return dhcp.Subnet{}, fmt.Errorf("relayed network %q: %q: want %s", s, part, want)
	}
	var n dhcp.Subnet
	prefix, rest, more := strings.Cut(s, ",")
	var err error
	if n.Prefix, err = netip.ParsePrefix(prefix); err != nil {
		return bad(prefix, "a network such as 10.88.0.0/24")
	}
	if n.Prefix != n.Prefix.Masked() {
		return bad(prefix, "the network itself, "+n.Prefix.Masked().String())
	}
	if from, to, ok := strings.Cut(rest, "-"); ok {
		to, rest, more = strings.Cut(to, ",")
		if n.Pool.From, err = netip.ParseAddr(from); err == nil {
			n.Pool.To, err = netip.ParseAddr(to)
		}
		if err != nil {
			return bad(from+"-"+to, "the first and the last address of its pool")
		}
	}
	if more {
		if n.Router, err = netip.ParseAddr(rest); err != nil {
			return bad(rest, "FROM-TO, then the address of its router")
		}
	}
	return n, nil
}

// checkRelayed asks the DHCP server whether it takes the networks, at the start rather than when it is started by the
// supervisor, again and again.
func (c Config) checkRelayed() error {
	if len(c.Relayed) == 0 {
		return nil
	}
	if c.Interface == "" || !c.Address.IsValid() {
		return errors.New("relayed networks: this head has no interface to serve them on")
	}
	// Of the rest only the own network matters here.
	_, err := dhcp.Config{
		Interface: c.Interface, Mode: dhcp.ModeServer, Address: c.Address, Pool: c.Pool, Relayed: c.Relayed,
		HTTPBase: "http://" + c.Address.Addr().String(),
	}.Complete()
	return err
}

// subnets are the networks that nodes may have addresses in.
func (c Config) subnets() []netip.Prefix {
	all := []netip.Prefix{c.Address.Masked()}
	for _, n := range c.Relayed {
		all = append(all, n.Prefix)
	}
	return all
}
