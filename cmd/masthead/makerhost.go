package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hostName is what a machine or a node can be called.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$`)

// checkHost says what HOST of master-maker has to be, if it is not that.
func checkHost(host string) error {
	wrong := fmt.Errorf("HOST %q: want a name, an address, or a MAC address such as 52:54:00:12:34:56", host)
	if hw, err := net.ParseMAC(host); err == nil && len(hw) == 6 {
		return nil
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return nil
	}
	name := host
	if strings.Contains(host, ":") { // an SSH server on another port
		h, port, err := net.SplitHostPort(host)
		if err != nil {
			return wrong
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return wrong
		}
		name = h
	}
	if _, err := netip.ParseAddr(name); err != nil && !hostName.MatchString(name) {
		return wrong
	}
	return nil
}

// ownAddresses are those of this machine.
func ownAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var own []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, p.Addr().WithZone(""))
		}
	}
	return own, nil
}

// lookupTime is for the name of a machine: one that is not found by then is not reached either.
const lookupTime = 5 * time.Second

// isOwn reports whether a host, by its name or address, is this machine.
func isOwn(ctx context.Context, host string, own []netip.Addr, lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	var addrs []netip.Addr
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		addrs = append(addrs, a)
	} else {
		ctx, cancel := context.WithTimeout(ctx, lookupTime)
		defer cancel()
		addrs, _ = lookup(ctx, "ip", host) // whoever logs in says what is wrong with it
	}
	return slices.ContainsFunc(addrs, func(a netip.Addr) bool {
		a = a.Unmap().WithZone("")
		return a.IsLoopback() || a.IsUnspecified() || slices.Contains(own, a)
	})
}
