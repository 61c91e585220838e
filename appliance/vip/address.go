package vip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"masthead/appliance/failover"
)

const (
	// lifetime is the shortest that the kernel knows: it counts in seconds, looks for old addresses that often, and up to
	// a quarter of a second late (ADDRCONF_TIMER_FUZZ in net/addrconf.h).
	lifetime = time.Second

	// renewAfter is how old a lifetime may get. Each renewal is an event for all who watch the addresses of a machine, so
	// they do not come with each refresh of the gate.
	renewAfter = 250 * time.Millisecond
)

// addresses are the VIPs as addresses of interfaces. They are never written to any file, and without renewal they go.
type addresses struct {
	list []Address
	nics *nics
	now  func() failover.Instant

	mu      sync.Mutex // held while the kernel works: other users of its configuration (rtnl) may keep that waiting
	renewed failover.Instant
}

// renew adds the addresses, or begins their lifetimes anew, if that is still wanted once nobody else is at it; renewed is when
// it was done last, negative if they are not there. All are tried; the error names those that failed.
func (a *addresses) renew(wanted func(renewed failover.Instant) bool) (tried bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !wanted(a.renewed) {
		return false, nil
	}
	a.renewed = a.now()
	var errs []error
	for _, addr := range a.list {
		if err := a.replace(addr); err != nil {
			errs = append(errs, fmt.Errorf("virtual address %v on %s: %w", addr.Prefix, addr.NIC, err))
		}
	}
	return true, errors.Join(errs...)
}

// lost has the next renewal add the addresses, however short ago the last one was: an interface is a new one.
func (a *addresses) lost() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.renewed = -1
}

func (a *addresses) replace(addr Address) error {
	link, _, err := a.nics.find(addr.NIC)
	if err != nil {
		return err
	}
	kernel := &netlink.Addr{IPNet: ipNet(addr.Prefix), ValidLft: int(lifetime / time.Second)}
	// Deprecated from the start: this machine does not choose it as the source of its own connections. They would break when
	// the address moves, and be dropped while the gate is shut.
	kernel.PreferedLft = 0
	if addr.Prefix.Addr().Is6() {
		// Duplicate address detection takes a second, and would find the last owner's.
		kernel.Flags |= unix.IFA_F_NODAD
	}
	routed, err := routed(link, addr.Prefix)
	if err != nil {
		return err
	}
	if routed {
		kernel.Flags |= unix.IFA_F_NOPREFIXROUTE
	}
	return netlink.AddrReplace(link, kernel)
}

// routed reports whether the machine has another address in the network on that interface, and so a route: ours would get
// the lifetime of the VIP. Without such an address the clients are reached by the VIP's own route.
func routed(link netlink.Link, p netip.Prefix) (bool, error) {
	if p.IsSingleIP() {
		return true, nil
	}
	family := netlink.FAMILY_V4
	if p.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	list, err := netlink.AddrList(link, family)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return false, err
	}
	for _, a := range list {
		other, _ := netip.AddrFromSlice(a.IP)
		bits, _ := a.Mask.Size()
		if other = other.Unmap(); other != p.Addr() && bits == p.Bits() && p.Contains(other) {
			return true, nil
		}
	}
	return false, nil
}

// remove takes the addresses away.
func (a *addresses) remove() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.renewed = -1
	var vips []netip.Addr
	for _, addr := range a.list {
		vips = append(vips, addr.Prefix.Addr())
	}
	_, err := removeAll(vips)
	return err
}

// removeAll takes addresses away from whatever interface has them, and returns those that would have stayed for ever:
// somebody else added them.
func removeAll(vips []netip.Addr) (permanent []string, err error) {
	want := map[netip.Addr]bool{}
	for _, v := range vips {
		want[v] = true
	}
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("read the addresses of this machine: %w", err)
	}
	var errs []error
	for _, a := range list {
		addr, _ := netip.AddrFromSlice(a.IP)
		if !want[addr.Unmap()] {
			continue
		}
		if a.Flags&unix.IFA_F_PERMANENT != 0 {
			permanent = append(permanent, a.IPNet.String())
		}
		err := netlink.AddrDel(nil, &netlink.Addr{IPNet: a.IPNet, LinkIndex: a.LinkIndex, Peer: a.Peer})
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) { // gone by itself, with its interface
			errs = append(errs, fmt.Errorf("remove virtual address %v: %w", a.IPNet, err))
		}
	}
	return permanent, errors.Join(errs...)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
