package dhcp

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"time"
)

// Mode says which part of the protocol is ours.
type Mode string

const (
	ModeServer Mode = "server" // addresses and boot files
	ModeProxy  Mode = "proxy"  // boot files only, beside a foreign server (PXE 2.1, proxyDHCP)
	ModeOff    Mode = "off"
)

const (
	// DefaultLeaseTime lets a diskless worker outlive a night without any head (it renews after half of it), while an
	// address of a machine that only passed by is free again the next day.
	DefaultLeaseTime = 12 * time.Hour
	// DefaultOfferTime covers the slowest firmware between offer and request: a PXE ROM collects offers for up to
	// 4 + 8 + 16 + 32 s (PXE 2.1).
	DefaultOfferTime = 60 * time.Second
	// DefaultQuarantineTime is how long an address that somebody else uses is not given out: long enough not to meet the
	// same intruder at every boot, short enough that a transient one does not eat the pool.
	DefaultQuarantineTime = 30 * time.Minute

	// MinLeaseTime keeps T1 above a client's retransmission time; shorter leases renew all the time.
	MinLeaseTime = time.Minute
	// MaxPool bounds the search for a free address, and with it the work that one packet can cause.
	MaxPool = 1 << 16
)

// BootFiles are the loaders by kind of client. TFTP names are relative, the others are paths below Config.HTTPBase.
type BootFiles struct {
	BIOS       string // by TFTP
	UEFI       string // by TFTP, x64
	UEFISigned string // the same for machines that start only what is signed
	UEFIHTTP   string // by HTTP, x64
	Script     string // by HTTP, for iPXE; the MAC is added as a query
}

// DefaultBootFiles are the loaders of Debian's package ipxe: undionly and snponly drive the card through the firmware
// that booted from it, and so know every card and the right one. shimx64 is of Debian's shim-signed.
func DefaultBootFiles() BootFiles {
	return BootFiles{BIOS: "undionly.kpxe", UEFI: "snponly.efi", UEFISigned: "shimx64.efi", UEFIHTTP: "boot/snponly.efi", Script: "boot/script"}
}

// Range is a run of addresses, both ends included. The zero Range is empty.
type Range struct{ From, To netip.Addr }

func (r Range) empty() bool { return !r.From.IsValid() && !r.To.IsValid() }

func (r Range) contains(ip netip.Addr) bool {
	return !r.empty() && r.From.Compare(ip) <= 0 && ip.Compare(r.To) <= 0
}

func (r Range) size() uint64 {
	if r.empty() {
		return 0
	}
	return uint64(toUint32(r.To)-toUint32(r.From)) + 1
}

// Subnet is a network whose machines reach us through a relay agent.
type Subnet struct {
	Prefix netip.Prefix
	Pool   Range
	Router netip.Addr
}

// Config describes the service on one interface.
type Config struct {
	Interface string
	Mode      Mode
	// Address is the head's own on Interface, with the mask of the subnet; it is the server identifier.
	Address netip.Prefix
	// Pool is for machines without a reserved address. Empty: they get no answer.
	Pool Range
	// Relayed are the subnets behind relay agents.
	Relayed []Subnet
	// Exclude are never given out: the other heads, the virtual address.
	Exclude []netip.Addr
	// Authoritative refuses addresses that the subnet's only server would know of, instead of staying silent.
	Authoritative bool

	Router netip.Addr
	DNS    []netip.Addr
	Domain string
	NTP    []netip.Addr
	// Heads, if not nil, gives servers for names and time besides those of DNS and NTP, asked for each answer: heads come
	// and go while the server runs. It must not block.
	Heads func() []netip.Addr

	// NextServer serves TFTP. Default: Address.
	NextServer netip.Addr
	// HTTPBase is where loaders and scripts are fetched, as "http://10.0.0.1".
	HTTPBase  string
	BootFiles BootFiles // zero: DefaultBootFiles
	// Signed says whether a UEFI machine that boots by TFTP is to get BootFiles.UEFISigned: a request does not say whether
	// Secure Boot is on. Nil: none does. It must not block.
	Signed func(MAC) bool

	LeaseTime      time.Duration // 0: DefaultLeaseTime
	OfferTime      time.Duration // 0: DefaultOfferTime
	QuarantineTime time.Duration // 0: DefaultQuarantineTime
}

// Complete fills in the defaults and names everything that is wrong, at once.
func (c Config) Complete() (Config, error) {
	var errs []error
	wrong := func(field string, value any, reason string) {
		errs = append(errs, fmt.Errorf("dhcp: %s %q: %s", field, fmt.Sprint(value), reason))
	}
	switch c.Mode {
	case ModeOff:
		return c, nil
	case ModeServer, ModeProxy:
	default:
		wrong("mode", c.Mode, "want server, proxy or off")
	}
	if c.Interface == "" {
		wrong("interface", "", "name the interface to serve")
	}
	local := Subnet{Prefix: c.Address.Masked(), Pool: c.Pool, Router: c.Router}
	switch {
	case !c.Address.IsValid() || !c.Address.Addr().Is4():
		wrong("address", c.Address, "want an IPv4 address with its prefix length")
	case !hostIn(c.Address.Masked(), c.Address.Addr()):
		wrong("address", c.Address, "is not a host's address")
	default:
		local.check("", wrong)
	}
	for i, s := range c.Relayed {
		if !s.Prefix.IsValid() || !s.Prefix.Addr().Is4() {
			wrong(fmt.Sprintf("relayed[%d].prefix", i), s.Prefix, "want an IPv4 prefix")
			continue
		}
		for _, other := range append([]Subnet{local}, c.Relayed[:i]...) {
			if s.Prefix.Overlaps(other.Prefix) {
				wrong(fmt.Sprintf("relayed[%d].prefix", i), s.Prefix, "overlaps "+other.Prefix.String())
			}
		}
		s.check(fmt.Sprintf("relayed[%d].", i), wrong)
	}
	for name, list := range map[string][]netip.Addr{"dns": c.DNS, "ntp": c.NTP, "exclude": c.Exclude} {
		for _, ip := range list {
			if !ip.Is4() {
				wrong(name, ip, "want IPv4 addresses")
			}
		}
	}
	if len(c.Domain) > 253 {
		wrong("domain", c.Domain, "longer than 253 bytes")
	}
	if c.NextServer.IsValid() && !c.NextServer.Is4() {
		wrong("next server", c.NextServer, "want an IPv4 address")
	}
	if u, err := url.Parse(c.HTTPBase); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		wrong("http base", c.HTTPBase, "want a URL as http://10.0.0.1")
	}

	if !c.NextServer.IsValid() {
		c.NextServer = c.Address.Addr()
	}
	if c.BootFiles == (BootFiles{}) {
		c.BootFiles = DefaultBootFiles()
	}
	for name, file := range map[string]string{"BIOS": c.BootFiles.BIOS, "UEFI": c.BootFiles.UEFI} {
		if len(file) > maxFileField {
			wrong("boot file "+name, file, "longer than the 127 bytes of the header's field")
		}
	}
	for _, d := range []struct {
		name     string
		value    *time.Duration
		min, def time.Duration
	}{
		{"lease time", &c.LeaseTime, MinLeaseTime, DefaultLeaseTime},
		{"offer time", &c.OfferTime, time.Second, DefaultOfferTime},
		{"quarantine time", &c.QuarantineTime, time.Second, DefaultQuarantineTime},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
		if *d.value < d.min || *d.value > 1<<31*time.Second {
			wrong(d.name, *d.value, fmt.Sprintf("want %v or more", d.min))
		}
	}
	return c, errors.Join(errs...)
}

func (s Subnet) check(at string, wrong func(field string, value any, reason string)) {
	if s.Router.IsValid() && !hostIn(s.Prefix, s.Router) {
		wrong(at+"router", s.Router, "is not a host of "+s.Prefix.String())
	}
	if s.Pool.empty() {
		return
	}
	value := fmt.Sprintf("%v-%v", s.Pool.From, s.Pool.To)
	switch {
	case !hostIn(s.Prefix, s.Pool.From) || !hostIn(s.Prefix, s.Pool.To):
		wrong(at+"pool", value, "both ends must be hosts of "+s.Prefix.String())
	case s.Pool.To.Less(s.Pool.From):
		wrong(at+"pool", value, "ends before it starts")
	case s.Pool.size() > MaxPool:
		wrong(at+"pool", value, fmt.Sprintf("more than %d addresses", MaxPool))
	}
}

// subnetOf finds the subnet that an address belongs to.
func (c Config) subnetOf(ip netip.Addr) (Subnet, bool) {
	if c.Address.Contains(ip) {
		return Subnet{c.Address.Masked(), c.Pool, c.Router}, true
	}
	i := slices.IndexFunc(c.Relayed, func(s Subnet) bool { return s.Prefix.Contains(ip) })
	if i < 0 {
		return Subnet{}, false
	}
	return c.Relayed[i], true
}

// hostIn tells whether ip can be a host's address in p: not the network's own and not its broadcast address.
func hostIn(p netip.Prefix, ip netip.Addr) bool {
	if !ip.Is4() || !p.Contains(ip) {
		return false
	}
	return p.Bits() >= 31 || (ip != p.Masked().Addr() && ip != broadcastOf(p))
}

func broadcastOf(p netip.Prefix) netip.Addr {
	return fromUint32(toUint32(p.Masked().Addr()) | ^uint32(0)>>p.Bits())
}
