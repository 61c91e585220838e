package wire

import (
	"net/netip"
	"time"

	"masthead/images"
)

// Hello is what init says of its machine as soon as the network is up.
type Hello struct {
	Boot      string        `json:"boot"`  // /proc/sys/kernel/random/boot_id: one per boot
	MAC       string        `json:"mac"`   // of the NIC that booted
	Image     images.Digest `json:"image"` // what the boot script named
	Role      images.Role   `json:"role"`
	Inventory Inventory     `json:"inventory"`
}

// Inventory is what the machine is made of.
type Inventory struct {
	MACs     []string `json:"macs,omitempty"`
	UUID     string   `json:"uuid,omitempty"` // SMBIOS system UUID
	Vendor   string   `json:"vendor,omitempty"`
	Product  string   `json:"product,omitempty"`
	Serial   string   `json:"serial,omitempty"`
	Firmware string   `json:"firmware,omitempty"` // bios or uefi
	// SecureBoot is on or off; empty: not known, or a BIOS.
	SecureBoot string `json:"secure_boot,omitempty"`
	CPU        string `json:"cpu,omitempty"`
	CPUs       int    `json:"cpus,omitempty"`
	MemoryMB   int64  `json:"memory_mb,omitempty"`
	Disks      []Disk `json:"disks,omitempty"`
	Kernel     string `json:"kernel,omitempty"`
}

// Values of Inventory.SecureBoot.
const (
	SecureBootOn  = "on"
	SecureBootOff = "off"
)

// Disk is one block device of a machine.
type Disk struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
	Model string `json:"model,omitempty"`
}

// Verdict is the head's answer to a machine that asks for its root.
type Verdict string

const (
	VerdictBoot    Verdict = "boot"    // go on with Spec
	VerdictWait    Verdict = "wait"    // not approved yet: ask again after RetryAfter
	VerdictRefused Verdict = "refused" // and Reason says why
)

// Spec is the head's answer to a Hello.
type Spec struct {
	Verdict    Verdict       `json:"verdict"`
	Reason     string        `json:"reason,omitempty"`
	Try        string        `json:"try,omitempty"`         // what the administrator types to change it
	RetryAfter float64       `json:"retry_after,omitempty"` // seconds
	Name       string        `json:"name,omitempty"`
	Domain     string        `json:"domain,omitempty"`
	Image      images.Digest `json:"image,omitempty"`
	Root       string        `json:"root,omitempty"`  // lazy or ram; empty: as on the command line
	Token      string        `json:"token,omitempty"` // bearer for this boot's reports and blobs
	Heads      []Head        `json:"heads,omitempty"` // in the order to try
	Hosts      []Host        `json:"hosts,omitempty"`
	DNS        []netip.Addr  `json:"dns,omitempty"`
	SSHKeys    []string      `json:"ssh_keys,omitempty"` // authorized_keys lines for root
	Time       time.Time     `json:"time"`               // of the head, for machines without a clock
}

// Head is one head of the cluster as a node sees it.
type Head struct {
	Name string `json:"name"`
	URL  string `json:"url"` // https://ADDRESS[:PORT]
}

// Host is one line of /etc/hosts.
type Host struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
}
