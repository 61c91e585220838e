package service

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ip is an additional address. Config.Addresses adds it, since that is where the gate is; what the kernel has is asked for
// here.
type ip struct {
	world
	IP
}

// links is what the kernel says of network interfaces.
type links interface {
	// within gives the interface that has an address of the network of p.
	within(p netip.Prefix) (string, error)
	// has gives the interface that has the address itself; empty: none.
	has(a netip.Addr) (string, error)
	carrier(nic string) (bool, error)
}

func (i ip) start(ctx context.Context) error {
	if i.addresses == nil {
		return &failure{error: errors.New("this head keeps no addresses for services"), clean: true, hard: true}
	}
	nic, err := i.nic()
	if err != nil {
		return &failure{error: err, clean: true}
	}
	if err := i.link(nic); err != nil {
		return &failure{error: err, clean: true}
	}
	return i.addresses.Add(ctx, i.Address, nic)
}

func (i ip) stop(ctx context.Context) error {
	if i.addresses == nil {
		return nil
	}
	nic, err := i.links.has(i.Address.Addr())
	if err != nil {
		return err
	}
	if nic == "" {
		nic, _ = i.nic() // it is nowhere; whoever keeps it is to know all the same
	}
	return i.addresses.Remove(ctx, i.Address, nic)
}

func (i ip) check(context.Context) (verdict, error) {
	nic, err := i.links.has(i.Address.Addr())
	if err != nil {
		return bad, err
	}
	if nic == "" {
		return down, errors.New("no interface has the address")
	}
	if i.NIC != "" && nic != i.NIC {
		return bad, fmt.Errorf("%s has the address", nic)
	}
	if err := i.link(nic); err != nil {
		return bad, err
	}
	return up, nil
}

func (i ip) nic() (string, error) {
	if i.NIC != "" {
		return i.NIC, nil
	}
	return i.links.within(i.Address)
}

// link is the watch of the link, where it is wished.
func (i ip) link(nic string) error {
	if !i.MonitorLink {
		return nil
	}
	ok, err := i.links.carrier(nic)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%s has no carrier", nic)
	}
	return nil
}

// kernelLinks asks the kernel by netlink.
type kernelLinks struct{ *netlink.Handle }

func (k kernelLinks) within(p netip.Prefix) (string, error) {
	return k.find("no interface has an address of "+p.Masked().String()+": name one with `nic`", func(a netip.Prefix) bool {
		return a.Addr() != p.Addr() && a.Masked() == p.Masked()
	})
}

func (k kernelLinks) has(addr netip.Addr) (string, error) {
	return k.find("", func(a netip.Prefix) bool { return a.Addr() == addr })
}

// find gives the interface of the first address that matches. none is the error where there is none; empty: that is no error.
func (k kernelLinks) find(none string, match func(netip.Prefix) bool) (string, error) {
	list, err := k.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return "", fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range list {
		addr, ok := netip.AddrFromSlice(a.IP)
		ones, _ := a.Mask.Size()
		if !ok || !match(netip.PrefixFrom(addr.Unmap(), ones)) {
			continue
		}
		link, err := k.LinkByIndex(a.LinkIndex)
		if err != nil {
			return "", fmt.Errorf("interface of %v: %w", a.IP, err)
		}
		return link.Attrs().Name, nil
	}
	if none != "" {
		return "", errors.New(none)
	}
	return "", nil
}

func (k kernelLinks) carrier(nic string) (bool, error) {
	link, err := k.LinkByName(nic)
	if err != nil {
		return false, fmt.Errorf("interface %s: %w", nic, err)
	}
	// Both are set only while the cable has a partner (kernel Documentation/networking/operstates.rst).
	const both = unix.IFF_UP | unix.IFF_LOWER_UP
	return link.Attrs().RawFlags&both == both, nil
}
