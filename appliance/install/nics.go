package install

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// NIC is a network card of this machine, and what it has at the moment.
type NIC struct {
	Name      string         `json:"name"`
	MAC       string         `json:"mac"`
	Carrier   bool           `json:"carrier"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
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
