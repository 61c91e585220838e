package maker

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"

	"masthead/appliance/install"
)

// Target is what a machine says of itself that is to become a head.
type Target struct {
	Host       string         `json:"host"` // its host name
	Arch       string         `json:"arch"` // as Go calls it
	Firmware   string         `json:"firmware"`
	SecureBoot string         `json:"secure_boot,omitempty"` // on, off; empty: not known, or a BIOS
	MemoryMB   int64          `json:"memory_mb"`
	Kernel     string         `json:"kernel"`
	Version    string         `json:"version"` // of masthead, as it runs there
	MAC        string         `json:"mac"`     // of the NIC by which it reaches the head
	NICs       []install.NIC  `json:"nics"`
	Disks      []install.Disk `json:"disks"`
	Ports      []string       `json:"ports,omitempty"` // serial ports that are nobody's console
	Keys       []HostKey      `json:"keys,omitempty"`  // by which SSH knows it
	NoKexec    string         `json:"no_kexec,omitempty"`
}

// HostKey is the public half of a machine's SSH key.
type HostKey struct {
	Type        string `json:"type"`
	Fingerprint string `json:"fingerprint"`
}

// maxTarget is more than the largest server has to say.
const maxTarget = 1 << 20

// ParseTarget reads what a machine says of itself. It comes over the network from a machine that nobody knows yet.
func ParseTarget(data []byte) (Target, error) {
	if len(data) > maxTarget {
		return Target{}, fmt.Errorf("what the machine says of itself has %d bytes, at most %d", len(data), maxTarget)
	}
	var t Target
	if err := json.Unmarshal(data, &t); err != nil {
		return Target{}, fmt.Errorf("what the machine says of itself: %w", err)
	}
	if _, err := net.ParseMAC(t.MAC); err != nil {
		return Target{}, fmt.Errorf("what the machine says of itself: the NIC that reaches the head: %w", err)
	}
	if t.Arch == "" || t.MemoryMB <= 0 {
		return Target{}, errors.New("what the machine says of itself: neither processor nor memory")
	}
	if !slices.ContainsFunc(t.NICs, func(n install.NIC) bool { return n.MAC == t.MAC }) {
		return Target{}, fmt.Errorf("what the machine says of itself: no NIC %s", t.MAC)
	}
	for _, d := range t.Disks {
		if d.Path == "" || d.Size <= 0 || d.Sector <= 0 {
			return Target{}, fmt.Errorf("what the machine says of itself: disk %q of %d bytes", d.Path, d.Size)
		}
	}
	return t, nil
}

// NIC is that by which it reaches the head.
func (t Target) NIC() install.NIC {
	i := slices.IndexFunc(t.NICs, func(n install.NIC) bool { return n.MAC == t.MAC })
	if i < 0 {
		return install.NIC{MAC: t.MAC}
	}
	return t.NICs[i]
}
