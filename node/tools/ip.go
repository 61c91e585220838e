package tools

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ip is the part of iproute2's that a rescue needs, with its words and their order free after the verb.
func ip(c *call) error {
	if len(c.args) == 0 {
		return errUsage
	}
	object, verb, rest := c.args[0], "show", []string(nil)
	if len(c.args) > 1 {
		verb, rest = c.args[1], c.args[2:]
	}
	is := func(s, full string) bool { return s != "" && strings.HasPrefix(full, s) }
	family := netlink.FAMILY_ALL
	if c.has("4") {
		family = netlink.FAMILY_V4
	} else if c.has("6") {
		family = netlink.FAMILY_V6
	}
	show := is(verb, "show") || is(verb, "list")
	del := is(verb, "delete")
	switch {
	case is(object, "address") && show:
		return showLinks(c, words(rest)["dev"], family)
	case is(object, "address") && (is(verb, "add") || del):
		return changeAddress(rest, del)
	case is(object, "link") && show:
		return showLinks(c, words(rest)["dev"], -1)
	case is(object, "link") && is(verb, "set"):
		return setLink(rest)
	case is(object, "route") && show:
		return showRoutes(c, family)
	case is(object, "route") && (is(verb, "add") || is(verb, "replace") || del):
		return changeRoute(rest, verb)
	}
	return fmt.Errorf("ip %s %s is not known here: %w", object, verb, errUsage)
}

// words reads KEY VALUE pairs; a first word that is no key is the value of "".
func words(args []string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(args); i++ {
		switch a := args[i]; a {
		case "dev", "via", "src", "metric", "mtu", "address", "name":
			if i+1 < len(args) {
				i++
				m[a] = args[i]
			}
		case "up", "down", "onlink":
			m[a] = a
		default:
			m[""] = a
		}
	}
	if m["dev"] == "" {
		m["dev"] = m[""]
	}
	return m
}

func showLinks(c *call, dev string, family int) error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	found := false
	for _, l := range links {
		a := l.Attrs()
		if dev != "" && a.Name != dev {
			continue
		}
		found = true
		carrier := "no carrier"
		switch {
		case a.RawFlags&unix.IFF_UP == 0:
			carrier = "down"
		case a.RawFlags&unix.IFF_RUNNING != 0:
			carrier = "up"
		}
		c.printf("%d: %s: %s mtu %d %s %s\n", a.Index, a.Name, carrier, a.MTU, l.Type(), a.HardwareAddr)
		if family < 0 {
			continue
		}
		addrs, err := netlink.AddrList(l, family)
		if err != nil {
			return fmt.Errorf("addresses of %s: %w", a.Name, err)
		}
		for _, ad := range addrs {
			kind := "inet"
			if ad.IP.To4() == nil {
				kind = "inet6"
			}
			c.printf("    %s %s scope %s\n", kind, ad.IPNet, netlink.Scope(ad.Scope))
		}
	}
	if dev != "" && !found {
		return fmt.Errorf("no interface %s", dev)
	}
	return nil
}

func changeAddress(args []string, del bool) error {
	w := words(args)
	if w["dev"] == "" || w[""] == "" || w["dev"] == w[""] {
		return fmt.Errorf("want ADDRESS/PREFIX dev NAME: %w", errUsage)
	}
	a, err := netlink.ParseAddr(w[""])
	if err != nil {
		return fmt.Errorf("%q is no ADDRESS/PREFIX: %w", w[""], errUsage)
	}
	l, err := netlink.LinkByName(w["dev"])
	if err != nil {
		return fmt.Errorf("%s: %w", w["dev"], err)
	}
	if del {
		err = netlink.AddrDel(l, a)
	} else {
		err = netlink.AddrAdd(l, a)
	}
	if err != nil {
		return fmt.Errorf("%s on %s: %w", w[""], w["dev"], err)
	}
	return nil
}

func setLink(args []string) error {
	w := words(args)
	l, err := netlink.LinkByName(w["dev"])
	if err != nil {
		return fmt.Errorf("%q: %w", w["dev"], err)
	}
	steps := []struct {
		key string
		do  func(value string) error
	}{
		{"down", func(string) error { return netlink.LinkSetDown(l) }},
		{"name", func(v string) error { return netlink.LinkSetName(l, v) }},
		{"address", func(v string) error {
			mac, err := net.ParseMAC(v)
			if err != nil {
				return err
			}
			return netlink.LinkSetHardwareAddr(l, mac)
		}},
		{"mtu", func(v string) error {
			n, err := strconv.Atoi(v)
			if err != nil {
				return err
			}
			return netlink.LinkSetMTU(l, n)
		}},
		{"up", func(string) error { return netlink.LinkSetUp(l) }},
	}
	done := false
	for _, s := range steps {
		if w[s.key] == "" {
			continue
		}
		done = true
		if err := s.do(w[s.key]); err != nil {
			return fmt.Errorf("set %s %s: %w", w["dev"], s.key, err)
		}
	}
	if !done {
		return fmt.Errorf("want NAME up|down|mtu N|address MAC|name NEW: %w", errUsage)
	}
	return nil
}

func showRoutes(c *call, family int) error {
	if family == netlink.FAMILY_ALL {
		family = netlink.FAMILY_V4
	}
	routes, err := netlink.RouteList(nil, family)
	if err != nil {
		return err
	}
	for _, r := range routes {
		dst := "default"
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones > 0 {
				dst = r.Dst.String()
			}
		}
		if r.Gw != nil {
			dst += " via " + r.Gw.String()
		}
		if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
			dst += " dev " + l.Attrs().Name
		}
		if r.Src != nil {
			dst += " src " + r.Src.String()
		}
		if r.Priority > 0 {
			dst += " metric " + strconv.Itoa(r.Priority)
		}
		c.printf("%s\n", dst)
	}
	return nil
}

func changeRoute(args []string, verb string) error {
	r, err := parseRoute(args)
	if err != nil {
		return err
	}
	if name := words(args)["dev"]; name != "" && name != words(args)[""] {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.LinkIndex = l.Attrs().Index
	}
	do := map[byte]func(*netlink.Route) error{'a': netlink.RouteAdd, 'r': netlink.RouteReplace, 'd': netlink.RouteDel}[verb[0]]
	if err := do(r); err != nil {
		return fmt.Errorf("route %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// parseRoute reads all but the device.
func parseRoute(args []string) (*netlink.Route, error) {
	w := words(args)
	r := &netlink.Route{}
	if via := w["via"]; via != "" {
		if r.Gw = net.ParseIP(via); r.Gw == nil {
			return nil, fmt.Errorf("%q is no address: %w", via, errUsage)
		}
	}
	switch dst := w[""]; dst {
	case "":
		return nil, fmt.Errorf("want default|PREFIX [via ADDRESS] [dev NAME]: %w", errUsage)
	case "default":
		bits := 32
		if r.Gw != nil && r.Gw.To4() == nil {
			bits = 128
		}
		r.Dst = &net.IPNet{IP: make(net.IP, bits/8), Mask: net.CIDRMask(0, bits)}
	default:
		n, err := netlink.ParseIPNet(dst)
		if err != nil {
			return nil, fmt.Errorf("%q is no prefix: %w", dst, errUsage)
		}
		r.Dst = &net.IPNet{IP: n.IP.Mask(n.Mask), Mask: n.Mask}
	}
	if w["onlink"] != "" {
		r.Flags = int(netlink.FLAG_ONLINK)
	}
	if m := w["metric"]; m != "" {
		n, err := strconv.Atoi(m)
		if err != nil {
			return nil, fmt.Errorf("metric %q: %w", m, errUsage)
		}
		r.Priority = n
	}
	return r, nil
}
