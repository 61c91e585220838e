package vip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// install replaces all rules by new ones, shut or open for some VIPs, in one transaction. Interfaces that are missing get
// none.
func (g *gate) install(open opened, answer []netip.Addr) error {
	nics := present(g.nics)
	return g.change(func(c *nftables.Conn) error {
		left := open.until - g.now()
		for _, t := range tables(g.list, nics) {
			in := &nftables.Table{Name: tableName, Family: t.family}
			c.AddTable(in) // or there is none to delete
			c.DelTable(in)
			c.AddTable(in)
			for _, s := range t.sets {
				var list []nftables.SetElement
				switch {
				case !s.open:
					list = s.elements(g.vips, 0, "")
				case left >= tick:
					list = s.elements(answer, left, comment(open.epoch))
				}
				if err := c.AddSet(s.in(in), list); err != nil {
					return err
				}
			}
			for _, ch := range t.chains {
				added := c.AddChain(&nftables.Chain{Name: ch.name, Table: in, Type: nftables.ChainTypeFilter, Hooknum: ch.hook, Priority: &ch.prio, Device: ch.device})
				for _, r := range ch.rules {
					c.AddRule(&nftables.Rule{Table: in, Chain: added, Exprs: r})
				}
			}
		}
		return nil
	})
}

// left is what the kernel has open and for which VIPs, and all VIPs of whoever installed it.
func (g *gate) left() (o opened, answer, vips []netip.Addr) {
	c, err := nftables.New()
	if err != nil {
		return opened{}, nil, nil
	}
	t := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	for _, s := range sets {
		now := g.now()
		list, err := c.GetSetElements(s.in(t))
		if err != nil {
			continue // there is none
		}
		for _, e := range list {
			addr, _ := netip.AddrFromSlice(e.Key)
			if !s.open {
				vips = append(vips, addr)
				continue
			}
			number, ok := strings.CutPrefix(e.Comment, commentPrefix)
			epoch, err := strconv.ParseUint(number, 10, 64)
			if !ok || err != nil || e.Expires <= 0 {
				continue
			}
			answer = append(answer, addr)
			if now+e.Expires > o.until {
				o = opened{epoch, now + e.Expires}
			}
		}
	}
	return o, answer, vips
}

// adopt installs the rules anew, with open what an earlier run had opened.
func (g *gate) adopt(o opened, answer []netip.Addr) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.install(o, answer); err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) {
			err = fmt.Errorf("%w (needs Linux 5.16 with NF_TABLES_NETDEV, NF_TABLES_INET, NF_TABLES_ARP and NETFILTER_EGRESS)", err)
		}
		return fmt.Errorf("install the gate of the virtual addresses: %w", err)
	}
	if o.until == 0 {
		return nil
	}
	g.open, g.answer = o, answer
	_, err := g.shutIfLate(o.until)
	return err
}

// repair makes the rules anew if they are not as they should be, and says what was missing; empty: nothing was.
func (g *gate) repair() (was string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	was, err = g.missing()
	if err != nil || was == "" {
		return "", err
	}
	if err := g.install(g.open, g.answer); err != nil {
		return was, fmt.Errorf("install the gate of the virtual addresses again: %w", err)
	}
	if g.open.until == 0 {
		return was, nil
	}
	_, err = g.shutIfLate(g.open.until)
	return was, err
}

// What can be missing.
const (
	missingRules = "the nftables rules that guard the virtual addresses were gone (nft flush ruleset?) and have been made again"
	missingNIC   = "interface %s has appeared: virtual addresses on it are guarded now"
)

// missing says what is not there of the chains, rules and sets of VIPs, for the interfaces that are; empty: nothing.
func (g *gate) missing() (string, error) {
	c, err := nftables.New()
	if err != nil {
		return "", fmt.Errorf("reach nftables: %w", err)
	}
	chains, err := c.ListChains()
	if err != nil {
		return "", fmt.Errorf("read the gate of the virtual addresses: %w", err)
	}
	for _, t := range tables(g.list, present(g.nics)) {
		in := &nftables.Table{Name: tableName, Family: t.family}
		for _, s := range t.sets {
			list, err := c.GetSetElements(s.in(in))
			if err != nil || !s.open && len(list) != len(s.elements(g.vips, 0, "")) {
				return missingRules, nil
			}
		}
		for _, want := range t.chains {
			at := slices.IndexFunc(chains, func(c *nftables.Chain) bool {
				return c.Name == want.name && c.Table.Name == tableName && c.Table.Family == t.family && c.Hooknum != nil
			})
			if at < 0 && want.device != "" { // the kernel removes chains with their interface
				return fmt.Sprintf(missingNIC, want.device), nil
			}
			if at < 0 {
				return missingRules, nil
			}
			if rules, err := c.GetRules(in, chains[at]); err != nil || len(rules) != len(want.rules) {
				return missingRules, nil
			}
		}
	}
	return "", nil
}

// present are the interfaces that are there.
func present(nics []string) []string {
	return slices.DeleteFunc(slices.Clone(nics), func(nic string) bool {
		_, err := net.InterfaceByName(nic)
		return err != nil
	})
}
