package vip

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"masthead/appliance/failover"
)

// Address is one virtual address and the interface that has it: a NIC, a VLAN, a bridge, a bond.
type Address struct {
	Prefix netip.Prefix `yaml:"address" json:"address"`
	NIC    string       `yaml:"nic" json:"nic"`
}

// Config is what a head has to know about the virtual addresses.
type Config struct {
	Addresses []Address
	Peers     []netip.Addr // the other heads' own addresses: probes ask for them too
	// PeerMACs are the hardware addresses of the other heads, to tell them from a third machine. Nil: none is known. It must
	// not block.
	PeerMACs func() []net.HardwareAddr
	Gateway  netip.Addr // to be reached if the uplink is to count as up; the zero value asks for the carrier only
	// Gate is the longest time for which the gate is opened at once. 0: that of failover.Normal.
	Gate time.Duration
	Now  func() failover.Instant
	Log  *slog.Logger
	// Event is told what a person should know. Nil: only the log is. It must not block.
	Event func(text string, bad bool)
	// Renamed is told that an interface of an address is called otherwise now; until it is made anew for that, the address
	// stays there, and the gate's rules go by the old name. Nil: nobody is. It must not block.
	Renamed func()
}

const maxNIC = 15 // IFNAMSIZ less its zero byte

// checked is c with its defaults, or all that is wrong with it.
func (c Config) checked() (Config, error) {
	var errs []error
	seen := map[netip.Addr]bool{}
	for i, a := range c.Addresses {
		addr := a.Prefix.Addr()
		bad := func(why string) {
			errs = append(errs, fmt.Errorf("virtual address %d (%v on %q): %s", i+1, a.Prefix, a.NIC, why))
		}
		switch {
		case !a.Prefix.IsValid():
			bad("no address with a prefix length")
			continue
		case addr.Is4In6() || addr.Zone() != "" || addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			bad("not the address of a machine")
		case addr.Is6() && addr.IsLinkLocalUnicast():
			bad("a link-local address cannot move: other machines know it by their own interface")
		case seen[addr]:
			bad("is there twice")
		}
		if a.NIC == "" || len(a.NIC) > maxNIC {
			bad("no name of an interface")
		}
		seen[addr] = true
	}
	for _, p := range c.Peers {
		if seen[p] {
			errs = append(errs, fmt.Errorf("address %v of a peer: is a virtual address too", p))
		}
	}
	if c.Gate == 0 {
		c.Gate = failover.Normal().Gate
	}
	if c.Gate < 4*tick || c.Gate > time.Second {
		errs = append(errs, fmt.Errorf("time for which the gate is opened, %v: not between %v and 1s", c.Gate, 4*tick))
	}
	if c.Now == nil {
		errs = append(errs, errors.New("no clock"))
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Renamed == nil {
		c.Renamed = func() {}
	}
	if c.PeerMACs == nil {
		c.PeerMACs = func() []net.HardwareAddr { return nil }
	}
	return c, errors.Join(errs...)
}
