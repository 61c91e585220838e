package wire

import (
	"net/netip"
	"time"
)

// OwnerStatus is ownership as one head sees it: who owns the cluster, since when and why, and what runs.
type OwnerStatus struct {
	Cluster string `json:"cluster"`
	Self    string `json:"self"`
	Owner   string `json:"owner,omitempty"` // empty: nobody, or unknown
	Epoch   string `json:"epoch"`           // "7.1": the seventh term, of the head with id 1
	// EpochNumber orders epochs: it never goes down.
	EpochNumber uint64         `json:"epoch_number"`
	Since       time.Time      `json:"since,omitzero"`   // the owner has owned since then, as this head saw it
	Reason      string         `json:"reason,omitempty"` // of the last change of owner
	Arbiter     string         `json:"arbiter"`          // single, pair, panel, raft
	Quorate     bool           `json:"quorate"`
	Votes       string         `json:"votes,omitempty"` // "2 of 3: head1, head2; n01, n02 of n01, n02, n03 as witnesses"
	Members     []OwnerMember  `json:"members"`
	Links       []OwnerLink    `json:"links,omitempty"`
	VIPs        []OwnerVIP     `json:"vips,omitempty"`
	Services    []ServiceState `json:"services,omitempty"`
	Monitors    []MonitorState `json:"monitors,omitempty"`
	Fences      []FenceState   `json:"fences,omitempty"`
	Watchdog    string         `json:"watchdog,omitempty"` // the device, its timeout, and whether it is fed; or why there is none
	Data        string         `json:"data,omitempty"`
	Volumes     []DataVolume   `json:"volumes,omitempty"` // the answering head's copies
	Config      int            `json:"config"`            // version of the cluster's configuration in force
	Why         OwnerWhy       `json:"why"`
	Trouble     []string       `json:"trouble,omitempty"`
	Events      []OwnerEvent   `json:"events,omitempty"` // the last ones, oldest first
}

// OwnerMember is one head as the answering one sees it.
type OwnerMember struct {
	Name   string    `json:"name"`
	ID     int       `json:"id"`
	Self   bool      `json:"self,omitempty"`
	Online bool      `json:"online"`
	Phase  string    `json:"phase"` // standby, active, blocked, …
	Epoch  string    `json:"epoch,omitempty"`
	Heard  time.Time `json:"heard,omitzero"`
}

// OwnerLink is one way of the heartbeat between the answering head and another.
type OwnerLink struct {
	Peer    string  `json:"peer"`
	Name    string  `json:"name"` // eth0, ttyS1
	Kind    string  `json:"kind"` // nic, serial
	Up      bool    `json:"up"`
	Age     float64 `json:"age,omitempty"`     // seconds since the last good heartbeat
	Carrier string  `json:"carrier,omitempty"` // up, down, unknown
	HeardUs string  `json:"heard_us,omitempty"`
	Sent    uint64  `json:"sent"`
	Good    uint64  `json:"good"`
	Missed  uint64  `json:"missed"`
	Late    uint64  `json:"late"`
	Forged  uint64  `json:"forged"` // wrong authentication, or damaged on the way
}

// OwnerVIP is one virtual address.
type OwnerVIP struct {
	Address  netip.Prefix `json:"address"`
	NIC      string       `json:"nic"`
	Open     bool         `json:"open"` // the kernel's gate on the answering head; a service's opens with the service
	Conflict string       `json:"conflict,omitempty"`
}

// ServiceState is a service as clustat(8) shows it.
type ServiceState struct {
	Name      string          `json:"name"`
	Owner     string          `json:"owner,omitempty"`
	Last      string          `json:"last,omitempty"` // who ran it before
	State     string          `json:"state"`          // started, starting, stopping, stopped, disabled, failed, recovering
	Since     time.Time       `json:"since,omitzero"`
	Restarts  int             `json:"restarts,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	Resources []ResourceState `json:"resources,omitempty"`
	// GivenUp is why `recovery: disable` has disabled the service on the head that runs it. So it is to be in the cluster,
	// unless somebody has said something about the service after Wished.
	GivenUp string    `json:"given_up,omitempty"`
	Wished  time.Time `json:"wished,omitzero"`
}

// ResourceState is one resource of a service.
type ResourceState struct {
	Name   string    `json:"name"`
	Kind   string    `json:"kind"` // ip, unit, script, ocf, filesystem
	State  string    `json:"state"`
	Since  time.Time `json:"since,omitzero"`
	Reason string    `json:"reason,omitempty"`
}

// MonitorState is one monitor's last result. Up, down and unknown are three states.
type MonitorState struct {
	Name    string    `json:"name"`
	State   string    `json:"state"` // up, down, unknown
	Since   time.Time `json:"since,omitzero"`
	Checked time.Time `json:"checked,omitzero"`
	Detail  string    `json:"detail,omitempty"`
	// Because names the failed monitor that explains this one.
	Because string `json:"because,omitempty"`
	Alerts  int    `json:"alerts,omitempty"` // sent since it went down
}

// FenceState is one fence device of a head.
type FenceState struct {
	Head    string    `json:"head"`
	Level   int       `json:"level"`
	Device  string    `json:"device"`
	Agent   string    `json:"agent"`
	Power   string    `json:"power"` // on, off, unknown: as the device last said
	Checked time.Time `json:"checked,omitzero"`
	Trouble string    `json:"trouble,omitempty"`
	// Asking: a test is under way, and the device has not answered it yet. What is told is from before.
	Asking bool `json:"asking,omitempty"`
}

// FenceAgent is a way to switch machines off that a head has: a driver of its own, or a program of fence-agents.
type FenceAgent struct {
	Name    string       `json:"name"`
	Path    string       `json:"path,omitempty"` // of the program; empty: a driver of our own
	Summary string       `json:"summary,omitempty"`
	Text    string       `json:"text,omitempty"`
	Params  []FenceParam `json:"params,omitempty"`
	Actions []string     `json:"actions,omitempty"`
	Unfit   string       `json:"unfit,omitempty"` // why it cannot be used; empty: it can
}

// FenceParam is one parameter of an agent.
type FenceParam struct {
	Name     string   `json:"name"`
	Aliases  []string `json:"aliases,omitempty"`
	Required bool     `json:"required,omitempty"`
	Secret   bool     `json:"secret,omitempty"` // in the cluster's configuration: secret:NAME
	Default  string   `json:"default,omitempty"`
	Text     string   `json:"text,omitempty"`
}

// OwnerWhy explains where a head stands.
type OwnerWhy struct {
	Phase   string    `json:"phase"`
	Since   time.Time `json:"since,omitzero"`
	Summary string    `json:"summary"`
	For     []string  `json:"for,omitempty"`
	Against []string  `json:"against,omitempty"`
	Try     string    `json:"try,omitempty"`
}

// OwnerEvent is one thing that happened to ownership, services, monitors or fences.
type OwnerEvent struct {
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
	Head string    `json:"head"`
	Kind string    `json:"kind"` // owner, link, fence, vip, service, monitor, watchdog
	Text string    `json:"text"`
	Bad  bool      `json:"bad,omitempty"`
	Mail string    `json:"mail,omitempty"` // sent, failed: why; empty: none was due
}

// SwitchRequest asks the owner to hand over.
type SwitchRequest struct {
	To     string `json:"to,omitempty"` // empty: the other head, or the best
	Why    string `json:"why,omitempty"`
	DryRun bool   `json:"dry_run,omitempty"`
}

// SwitchAnswer says what was done, or would be.
type SwitchAnswer struct {
	From    string   `json:"from"`
	To      string   `json:"to"`
	Epoch   string   `json:"epoch,omitempty"` // the new one
	Seconds float64  `json:"seconds,omitempty"`
	Moves   []string `json:"moves,omitempty"` // the virtual addresses and services that move
	// Running: it was begun and is not done yet, since services take their time to stop.
	Running bool `json:"running,omitempty"`
}

// PromoteRequest makes the asked head the owner on a person's word.
type PromoteRequest struct {
	Force bool `json:"force,omitempty"`
}

// ConfirmDead is a person's word that a head is off.
type ConfirmDead struct {
	Head string `json:"head"`
	By   string `json:"by,omitempty"`
}

// Paths of ownership, on the API of a head and on the socket of its owner daemon.
const (
	PathOwner        = "/api/v1/owner"
	PathOwnerSwitch  = PathOwner + "/switch"
	PathOwnerPromote = PathOwner + "/promote"
	PathOwnerDead    = PathOwner + "/confirm-dead"
	PathOwnerFence   = PathOwner + "/fence-test/" // HEAD
	PathOwnerEvents  = PathOwner + "/events"      // ?after=SEQ waits for one
	PathOwnerReload  = PathOwner + "/reload"      // on the socket only
	PathFenceAgents  = "/api/v1/fence/agents"
	PathFenceAgent   = PathFenceAgents + "/"     // NAME
	PathOwnerOff     = PathOwner + "/fence-off/" // HEAD; on the socket only
)
