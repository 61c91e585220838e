package netif

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link is a network interface as it stands.
type Link struct {
	Index      int    `json:"index"`
	Name       string `json:"name"`
	MAC        string `json:"mac,omitempty"` // lower case with colons; 20 bytes long with InfiniBand
	Driver     string `json:"driver,omitempty"`
	Up         bool   `json:"up"`              // administratively
	Carrier    bool   `json:"carrier"`         // a link partner answers; false while not Up
	Speed      int    `json:"speed,omitempty"` // Mbit/s; 0: unknown
	Physical   bool   `json:"physical"`
	InfiniBand bool   `json:"infiniband,omitempty"` // IP over InfiniBand
	Kind       string `json:"kind,omitempty"`       // the kernel's name for a virtual one: veth, bridge …
}

// Links lists the interfaces except the loopback: physical ones first, those with a carrier before those without,
// then by index, which is the order in which their drivers found them.
func Links() ([]Link, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	var links []Link
	for _, nl := range all {
		if l := fromNetlink(nl); l.Kind != loopback {
			links = append(links, l.look())
		}
	}
	slices.SortStableFunc(links, byRank)
	return links, nil
}

// String is what an error says of a link.
func (l Link) String() string {
	about := []string{l.MAC}
	if l.Driver != "" {
		about = append(about, l.Driver)
	} else if l.Kind != "" {
		about = append(about, l.Kind)
	}
	switch {
	case !l.Up:
		about = append(about, "down")
	case !l.Carrier:
		about = append(about, "no carrier")
	case l.Speed > 0:
		about = append(about, fmt.Sprintf("carrier, %d Mbit/s", l.Speed))
	default:
		about = append(about, "carrier")
	}
	return l.Name + " (" + strings.Join(about, ", ") + ")"
}

// hardware is the MAC as bytes; nil if the link has none.
func (l Link) hardware() net.HardwareAddr {
	mac, err := net.ParseMAC(l.MAC)
	if err != nil {
		return nil
	}
	return mac
}

const loopback = "loopback"

// fromNetlink takes what the kernel's message says and asks nothing.
func fromNetlink(nl netlink.Link) Link {
	a := nl.Attrs()
	// IFF_RUNNING says the same of a link whose driver had its carrier when it was set up, but a second later: the
	// kernel handles only one such event a second (net/core/link_watch.c, __linkwatch_run_queue).
	up := a.RawFlags&unix.IFF_UP != 0
	l := Link{
		Index:      a.Index,
		Name:       a.Name,
		MAC:        a.HardwareAddr.String(),
		Up:         up,
		Carrier:    up && a.RawFlags&unix.IFF_LOWER_UP != 0,
		InfiniBand: a.EncapType == "infiniband",
	}
	if t := nl.Type(); t != "device" {
		l.Kind = t
	}
	if a.EncapType == loopback {
		l.Kind = loopback
	}
	// A NIC has a device on a bus; kernels before 5.14 do not say so, but give no kind to anything but a virtual link.
	ether := a.EncapType == "ether" || l.InfiniBand
	l.Physical = ether && (a.ParentDevBus != "" || l.Kind == "" || l.Kind == "ipoib")
	return l
}

// look adds what is asked for separately. What cannot be known stays empty.
func (l Link) look() Link {
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
		if info, err := unix.IoctlGetEthtoolDrvinfo(fd, l.Name); err == nil {
			l.Driver = unix.ByteSliceToString(info.Driver[:])
		}
		unix.Close(fd)
	}
	// The kernel answers EINVAL while the link is down and -1 when it does not know.
	if b, err := os.ReadFile("/sys/class/net/" + l.Name + "/speed"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && n > 0 {
			l.Speed = n
		}
	}
	return l
}

func byRank(a, b Link) int {
	first := func(a, b bool) int {
		switch {
		case a == b:
			return 0
		case a:
			return -1
		}
		return 1
	}
	return cmp.Or(first(a.Physical, b.Physical), first(a.Carrier, b.Carrier), cmp.Compare(a.Index, b.Index))
}

// candidates picks the links that nic may mean, best first. nic is a name or a MAC; empty means any NIC, and in a
// container, which has none, any veth.
func candidates(nic string, links []Link) []Link {
	pick := func(ok func(Link) bool) []Link {
		var out []Link
		for _, l := range links {
			if ok(l) {
				out = append(out, l)
			}
		}
		slices.SortStableFunc(out, byRank)
		return out
	}
	if nic != "" {
		// Bridges and VLANs copy the MAC of their NIC: byRank puts the NIC first, and only it is meant.
		named := pick(func(l Link) bool { return l.Name == nic || l.MAC == strings.ToLower(nic) })
		return named[:min(1, len(named))]
	}
	if phys := pick(func(l Link) bool { return l.Physical }); len(phys) > 0 {
		return phys
	}
	return pick(func(l Link) bool { return l.Kind == "veth" })
}
