package netif

import (
	"net/netip"
	"strings"
)

// Result is how a machine stands in its network. It is written down by init and read by the agent.
type Result struct {
	Link     Link         `json:"link"`
	Prefix   netip.Prefix `json:"prefix,omitzero"`  // the machine's address; invalid in mode none
	Gateway  netip.Addr   `json:"gateway,omitzero"` // invalid: none
	DNS      []netip.Addr `json:"dns,omitempty"`
	Domain   string       `json:"domain,omitempty"`
	Hostname string       `json:"hostname,omitempty"`
	NTP      []netip.Addr `json:"ntp,omitempty"`
	MTU      int          `json:"mtu,omitempty"`   // 0: as the driver has it
	Lease    *Lease       `json:"lease,omitempty"` // nil: the address is not leased
	How      string       `json:"how"`             // how the address came, in words
}

// String is the line on the console: eth0 10.77.0.11/24 by dhcp from 10.77.0.1.
func (r Result) String() string {
	if !r.Prefix.IsValid() {
		return r.How
	}
	return r.Link.Name + " " + r.Prefix.String() + " " + r.How
}

// ResolvConf is the text of /etc/resolv.conf; empty if no name server is known.
func (r Result) ResolvConf() string {
	if len(r.DNS) == 0 {
		return ""
	}
	var b strings.Builder
	if r.Domain != "" {
		b.WriteString("search " + r.Domain + "\n")
	}
	for _, a := range r.DNS {
		b.WriteString("nameserver " + a.String() + "\n")
	}
	return b.String()
}

func fixed(l Link, c Config, how string) Result {
	r := Result{Link: l, Prefix: c.Address, Gateway: c.Gateway, How: how}
	if c.DNS.IsValid() {
		r.DNS = []netip.Addr{c.DNS}
	}
	return r
}
