package configuration

import (
	"net/netip"
	"time"

	"masthead/appliance/data"
	"masthead/appliance/fence"
	"masthead/appliance/monitor"
	"masthead/appliance/service"
)

// Document is the configuration of a cluster. Its zero value is a cluster without a virtual address: one head is still its
// owner.
type Document struct {
	Name string `yaml:"name,omitempty"` // of the cluster, for people
	VIPs []VIP  `yaml:"vips,omitempty"`
	// Heads are what differs from head to head; one that is not named has the defaults.
	Heads   map[string]Head `yaml:"heads,omitempty"`
	Arbiter Arbiter         `yaml:"arbiter,omitempty"` // left out: auto
	// Witnesses are the nodes of the panel, 3 or 5: they are asked by their names' reserved addresses.
	Witnesses []string `yaml:"witnesses,omitempty"`
	Profile   Profile  `yaml:"profile,omitempty"` // left out: normal
	// Loss is what a pair without fencing does when everything of the owner is silent at once. Left out: available without
	// replicated data, else safe.
	Loss Loss `yaml:"loss,omitempty"`
	// AloneAtBoot accepts that a head which boots alone becomes the owner, though the other one might be it, unheard.
	AloneAtBoot bool `yaml:"alone_at_boot,omitempty"`
	// Gateway is asked by ARP whether this head's way to its clients is good. Left out: the carrier alone counts.
	Gateway Gateway `yaml:"gateway,omitempty"`
	// BootWait is how long a head that boots listens for the others before it decides anything alone. Left out: 10 s.
	BootWait time.Duration `yaml:"boot_wait,omitempty"`
	Watchdog Watchdog      `yaml:"watchdog,omitempty"`

	FenceDevices []fence.Device    `yaml:"fence_devices,omitempty"`
	Domains      []service.Domain  `yaml:"domains,omitempty"`
	Data         []data.Volume     `yaml:"data,omitempty"` // replicated, and written to by the owner
	Services     []service.Service `yaml:"services,omitempty"`
	Monitors     []monitor.Monitor `yaml:"monitors,omitempty"`
	Mail         monitor.Mail      `yaml:"mail,omitempty"`
}

// Gateway is an address that may be left out. (The YAML library takes every netip.Addr for left out, as it has no exported
// fields; IsZero tells it.)
type Gateway struct{ netip.Addr }

// IsZero reports whether it was left out.
func (g Gateway) IsZero() bool { return !g.IsValid() }

// VIP is a virtual address: the owner answers for it.
type VIP struct {
	Address netip.Prefix `yaml:"address"`
	NIC     string       `yaml:"nic,omitempty"` // left out: the NIC whose network holds the address
}

// Head is what is special about one head.
type Head struct {
	// Heartbeats are further addresses of this head, on other networks, that heartbeats are exchanged with. The address on
	// the cluster network is always used.
	Heartbeats []netip.Addr   `yaml:"heartbeats,omitempty"`
	Serial     []Serial       `yaml:"serial,omitempty"`
	Fence      [][]fence.Step `yaml:"fence,omitempty"` // levels; all steps of a level together switch the head off
}

// Serial is one end of a null-modem cable.
type Serial struct {
	Device string `yaml:"device"`         // /dev/ttyS1
	Baud   int    `yaml:"baud,omitempty"` // left out: 115200
	Peer   string `yaml:"peer,omitempty"` // the head at the other end; may be left out where there are two
}

// Watchdog is the hardware that resets a head which hangs.
type Watchdog struct {
	Off     bool          `yaml:"off,omitempty"`
	Device  string        `yaml:"device,omitempty"`  // left out: hardware before softdog
	Timeout time.Duration `yaml:"timeout,omitempty"` // left out: 5 s
}

// Arbiter is who decides between the heads.
type Arbiter string

const (
	ArbiterAuto  Arbiter = "auto" // single, pair, or panel where witnesses are named; raft with three heads or more
	ArbiterPair  Arbiter = "pair"
	ArbiterPanel Arbiter = "panel"
	ArbiterRaft  Arbiter = "raft"
)

// Profile is the timing of leases.
type Profile string

const (
	ProfileNormal Profile = "normal"
	ProfileFast   Profile = "fast"
)

// Loss is a failover.Loss in words.
type Loss string

const (
	LossSafe      Loss = "safe"
	LossAvailable Loss = "available"
)

// LossInForce is what Loss says, or what it means where it is left out: safe with replicated data.
func (d Document) LossInForce() Loss {
	if d.Loss == "" && len(d.Data) > 0 {
		return LossSafe
	}
	if d.Loss == "" {
		return LossAvailable
	}
	return d.Loss
}
