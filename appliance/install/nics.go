package install

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// NIC is a network card of this machine, and what it has at the moment.
type NIC struct {
	Name      string         `json:"name"`
	MAC       string         `json:"mac"`
	Carrier   bool           `json:"carrier"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
}

// CheckNIC refuses a name or a MAC address that no network card of this machine has: init would wait for it in vain. Empty
// is the first with a link. Pure.
func CheckNIC(nics []NIC, want string) error {
	if want == "" || slices.ContainsFunc(nics, func(n NIC) bool { return n.Name == want || strings.EqualFold(n.MAC, want) }) {
		return nil
	}
	words, best := []string{"none"}, "NIC"
	if len(nics) > 0 {
		words, best = nil, nics[0].MAC
	}
	for _, n := range nics {
		text := fmt.Sprintf("%s (%s", n.Name, n.MAC)
		if n.Carrier {
			text += ", with a link"
		}
		words = append(words, text+")")
	}
	if i := slices.IndexFunc(nics, func(n NIC) bool { return n.Carrier }); i >= 0 {
		best = nics[i].MAC
	}
	return &hint{fmt.Errorf("this machine has no NIC %s; it has %s", want, strings.Join(words, ", ")), "masthead install --nic " + best}
}

// LookNICs finds the network cards that are hardware.
func LookNICs(sys string) ([]NIC, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var nics []NIC
	for _, i := range all {
		dir := filepath.Join(sys, "class/net", i.Name)
		if _, err := os.Stat(filepath.Join(dir, "device")); err != nil {
			continue // loopback, bridges, tunnels
		}
		n := NIC{Name: i.Name, MAC: i.HardwareAddr.String()}
		carrier, err := os.ReadFile(filepath.Join(dir, "carrier")) // an interface that is down gives an error
		n.Carrier = err == nil && strings.TrimSpace(string(carrier)) == "1"
		addrs, err := i.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() {
				n.Addresses = append(n.Addresses, p)
			}
		}
		nics = append(nics, n)
	}
	return nics, nil
}
