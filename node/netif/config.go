package netif

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"masthead/images"
)

// How long Up waits for what.
const (
	// DefaultAppear lets slow drivers load their firmware. Server NICs are known to take 20 s.
	DefaultAppear = 30 * time.Second
	// DefaultCarrier lets a 10GBASE-T link negotiate, which takes up to 10 s, with room for a switch that restarts it.
	DefaultCarrier = 20 * time.Second
	// DefaultTimeout outlasts the 30 s for which a switch with spanning tree and no edge port drops all frames of a
	// new link (IEEE 802.1D, twice the forward delay).
	DefaultTimeout = 60 * time.Second
	// DefaultProbe is how long a head in mode auto listens for a DHCP server. dnsmasq pings an address for 3 s
	// before it offers it.
	DefaultProbe = 4 * time.Second
)

// Config says which NIC and which address.
type Config struct {
	NIC     string        // a name or a MAC; empty: the first NIC with a carrier, or the first with a lease
	Mode    images.IPMode // empty: dhcp
	Address netip.Prefix  // mode static, and what auto falls back to
	Gateway netip.Addr    // goes with Address; may be invalid: none
	DNS     netip.Addr    // goes with Address; may be invalid: none

	Appear  time.Duration // from the start, for the NIC to be there; 0: DefaultAppear
	Carrier time.Duration // from its appearance, for the link to come up; 0: DefaultCarrier
	Timeout time.Duration // from the first carrier, for a lease in mode dhcp; 0: DefaultTimeout
	Probe   time.Duration // from the first carrier, for an offer in mode auto; 0: DefaultProbe

	Log *slog.Logger // progress; nil: none
}

// FromBoot takes the network's part of the kernel command line.
func FromBoot(b images.Boot) Config {
	return Config{NIC: b.NIC, Mode: b.IP, Address: b.Address, Gateway: b.Gateway, DNS: b.DNS}
}

func (c Config) withDefaults() (Config, error) {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	set(&c.Appear, DefaultAppear)
	set(&c.Carrier, DefaultCarrier)
	set(&c.Timeout, DefaultTimeout)
	set(&c.Probe, DefaultProbe)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch c.Mode {
	case "":
		c.Mode = images.IPDHCP
	case images.IPDHCP, images.IPNone:
	case images.IPStatic, images.IPAuto:
		a := c.Address
		if !a.IsValid() {
			return c, fmt.Errorf("network: mode %s without an address", c.Mode)
		}
		if a.Addr().Is4() && a.Bits() < 31 && a.Addr() == a.Masked().Addr() {
			return c, fmt.Errorf("network: %s is the network itself, not an address in it", a)
		}
		if c.Gateway.IsValid() && c.Gateway.Is4() != a.Addr().Is4() {
			return c, fmt.Errorf("network: address %s and gateway %s are not of one family", a, c.Gateway)
		}
		if c.Gateway.IsValid() && c.Gateway == a.Addr() {
			return c, errors.New("network: the gateway is the machine's own address")
		}
	default:
		return c, fmt.Errorf("network: unknown mode %q", c.Mode)
	}
	return c, nil
}
