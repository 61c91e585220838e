package dhcp

import "net"

// MAC is an Ethernet address, the only name that stays the same for a machine from firmware to Linux: the client
// identifier (option 61) is absent in BIOS ROMs, type and MAC in dhclient, and a DUID in systemd-networkd.
type MAC [6]byte

// MACFrom converts hw. It is false unless hw is six bytes long, not zero and not a group address.
func MACFrom(hw net.HardwareAddr) (MAC, bool) {
	if len(hw) != len(MAC{}) {
		return MAC{}, false
	}
	m := MAC(hw)
	return m, m != MAC{} && m[0]&1 == 0
}

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }
