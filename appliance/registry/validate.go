package registry

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"masthead/images"
	"masthead/node/wire"
)

// Others answers what a change is checked against.
type Others struct {
	// ByName, ByMAC and ByAddress give the name of the node that has one; itself counts too.
	ByName, ByMAC func(string) (name string, ok bool)
	ByAddress     func(netip.Addr) (name string, ok bool)
	// Subnets are the networks that nodes may have addresses in; none: any.
	Subnets []netip.Prefix
	// Image resolves a tag or digest.
	Image func(ref string) (images.Digest, error)
	// Heads are the configured heads; nil: any are.
	Heads []string
	// Cmdline checks kernel arguments; nil: any.
	Cmdline func(string) error
}

var groupWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,62}$`)

// Limits on what one node may carry.
const (
	maxGroups    = 64
	maxAttrs     = 64
	maxAttrValue = 1024
)

// Validate checks a change to the node called self, empty for a new one, and reports all that is wrong with it.
func Validate(self string, c wire.NodeChange, o Others) error {
	v := validator{self: self, others: o}
	if c.Name != nil {
		v.named = *c.Name
	}
	if c.Name != nil {
		v.name(*c.Name)
	} else if self == "" {
		v.refuse(ErrInvalid, "name", "", "a node needs a name", "masthead node add NAME --mac MAC")
	}
	if c.MAC != nil {
		v.mac(*c.MAC)
	} else if self == "" {
		v.refuse(ErrInvalid, "mac", "", "a node needs the MAC address of the NIC that it boots from", "masthead node add NAME --mac MAC")
	}
	if c.Address != nil && *c.Address != "" {
		v.address(*c.Address)
	}
	if c.Image != nil {
		v.image(*c.Image)
	}
	if c.Root != nil && *c.Root != "" && *c.Root != string(images.RootLazy) && *c.Root != string(images.RootRAM) {
		v.refuse(ErrInvalid, "root", *c.Root, "want lazy or ram", "")
	}
	if c.Cmdline != nil && o.Cmdline != nil {
		if err := o.Cmdline(*c.Cmdline); err != nil {
			v.refuse(ErrInvalid, "cmdline", *c.Cmdline, err.Error(), "")
		}
	}
	if c.Groups != nil {
		v.groups(*c.Groups)
	}
	if c.Heads != nil {
		v.heads(*c.Heads)
	}
	v.attrs(c.Attrs)
	return errors.Join(v.errs...)
}

type validator struct {
	self   string
	named  string // as the change says; empty: it keeps its name
	others Others
	errs   []error
}

func (v *validator) refuse(kind error, field, value, reason, try string) {
	v.errs = append(v.errs, &Refusal{Kind: kind, Field: field, Value: value, Reason: reason, Fix: try})
}

func (v *validator) name(s string) {
	if err := images.ValidHost(s); err != nil {
		v.refuse(ErrInvalid, "name", s, err.Error(), "")
		return
	}
	if who, ok := v.others.ByName(s); ok && who != v.self {
		v.refuse(ErrConflict, "name", s, "there is a node of this name already", "masthead node show "+who)
	}
}

func (v *validator) mac(s string) {
	mac, err := ParseMAC(s)
	if err != nil {
		v.refuse(ErrInvalid, "mac", s, "want a MAC address such as 52:54:00:aa:bb:01", "")
		return
	}
	if mac == "00:00:00:00:00:00" || strings.ContainsRune("13579bdf", rune(mac[1])) {
		v.refuse(ErrInvalid, "mac", s, "not the address of one NIC", "")
		return
	}
	if who, ok := v.others.ByMAC(mac); ok && who != v.self {
		v.refuse(ErrConflict, "mac", s, "it is the MAC address of "+who, "masthead node show "+who)
	}
}

func (v *validator) address(s string) {
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" || addr.Is4In6() || addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback() {
		v.refuse(ErrInvalid, "address", s, "want an IP address of one machine", "")
		return
	}
	if len(v.others.Subnets) > 0 {
		i := slices.IndexFunc(v.others.Subnets, func(p netip.Prefix) bool { return p.Contains(addr) })
		if i < 0 {
			v.refuse(ErrInvalid, "address", s, fmt.Sprintf("not in the cluster's network %s", prefixes(v.others.Subnets)), "")
			return
		}
		if p := v.others.Subnets[i].Masked(); addr.Is4() && p.Bits() < 31 && (addr == p.Addr() || addr == broadcast(p)) {
			v.refuse(ErrInvalid, "address", s, fmt.Sprintf("the network or broadcast address of %s", p), "")
			return
		}
	}
	if who, ok := v.others.ByAddress(addr); ok && who != v.self && !v.ownHead(who) {
		fix := "masthead node show " + who
		if strings.Contains(who, " ") { // no node and no head
			fix = ""
		}
		v.refuse(ErrConflict, "address", s, "it is the address of "+who, fix)
	}
}

func (v *validator) image(ref string) {
	if ref == "" || v.others.Image == nil {
		return
	}
	if _, err := v.others.Image(ref); err != nil {
		v.refuse(ErrInvalid, "image", ref, imageReason(err), "masthead image list")
	}
}

// ErrHeadImage is why an image of heads is not given to nodes.
var ErrHeadImage = errors.New("it is an image for heads; nodes run those for workers")

// imageReason says why an image cannot be what nodes run.
func imageReason(err error) string {
	if errors.Is(err, ErrHeadImage) {
		return ErrHeadImage.Error()
	}
	return "no such image: " + err.Error()
}

func (v *validator) heads(heads []string) {
	for i, h := range heads {
		switch {
		case v.others.Heads != nil && !slices.Contains(v.others.Heads, h):
			v.refuse(ErrInvalid, "heads", h, "no such head; there are "+strings.Join(v.others.Heads, ", "), "masthead head list")
		case slices.Contains(heads[:i], h):
			v.refuse(ErrInvalid, "heads", h, "is named twice", "")
		}
	}
}

// ownHead tells whether who holds an address is the head that a new node is: its address is the node's.
func (v *validator) ownHead(who string) bool {
	_, node := v.others.ByName(v.named)
	return who == v.named && !node
}

func (v *validator) groups(groups []string) {
	if len(groups) > maxGroups {
		v.refuse(ErrInvalid, "groups", fmt.Sprint(len(groups)), fmt.Sprintf("at most %d", maxGroups), "")
	}
	for _, g := range groups {
		if !groupWord.MatchString(g) {
			v.refuse(ErrInvalid, "groups", g, "want 1 to 63 letters, digits and ._:-", "")
		}
		if g == "all" {
			v.refuse(ErrInvalid, "groups", g, "every node is in it already", "")
		}
	}
}

func (v *validator) attrs(attrs map[string]string) {
	if len(attrs) > maxAttrs {
		v.refuse(ErrInvalid, "attrs", fmt.Sprint(len(attrs)), fmt.Sprintf("at most %d", maxAttrs), "")
	}
	for k, value := range attrs {
		_, builtin := attribute(wire.Node{}, k)
		switch {
		case !groupWord.MatchString(k):
			v.refuse(ErrInvalid, "attrs."+k, value, "want a name of 1 to 63 letters, digits and ._:-", "")
		case builtin:
			v.refuse(ErrInvalid, "attrs."+k, value, "this is a field of every node, not an attribute of your own", "")
		case len(value) > maxAttrValue || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
			v.refuse(ErrInvalid, "attrs."+k, value[:min(len(value), 40)], fmt.Sprintf("want one line of at most %d bytes", maxAttrValue), "")
		}
	}
}

func prefixes(all []netip.Prefix) string {
	var s []string
	for _, p := range all {
		s = append(s, p.Masked().String())
	}
	return strings.Join(s, ", ")
}

func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(b)
}
