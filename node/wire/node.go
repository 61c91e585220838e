package wire

import (
	"net/netip"
	"time"

	"masthead/images"
)

// Phase is where a node stands, derived from its record and its last reports.
type Phase string

const (
	PhaseDiscovered Phase = "discovered" // seen, not approved
	PhaseKnown      Phase = "known"      // approved or added, never seen
	PhaseBooting    Phase = "booting"
	PhaseFailed     Phase = "failed"
	PhaseUp         Phase = "up"
	PhaseDown       Phase = "down" // reported before, silent now
)

// Node is one machine as the API shows it.
type Node struct {
	Name     string            `json:"name"`
	MAC      string            `json:"mac"`
	Address  netip.Addr        `json:"address,omitzero"` // reserved
	Lease    netip.Addr        `json:"lease,omitzero"`   // that DHCP gave it, if the lease has not run out
	Image    string            `json:"image,omitempty"`  // tag or digest; empty: the default
	Root     string            `json:"root,omitempty"`   // lazy or ram
	Cmdline  string            `json:"cmdline,omitempty"`
	Groups   []string          `json:"groups,omitempty"`
	Attrs    map[string]string `json:"attrs,omitempty"`
	Heads    []string          `json:"heads,omitempty"` // in the order to try; empty: as its groups say, else spread
	Approved bool              `json:"approved"`
	Head     string            `json:"head,omitempty"` // its parent: that serves it, and that it reports to
	Phase    Phase             `json:"phase"`
	Stage    Stage             `json:"stage,omitempty"` // the last one known
	Boot     string            `json:"boot,omitempty"`  // id of the boot under way or the last one; empty until its kernel speaks
	Running  images.Digest     `json:"running,omitempty"`
	Wanted   images.Digest     `json:"wanted,omitempty"` // the image that it gets at its next boot
	// NeedsReboot: it is up with another image than Wanted.
	NeedsReboot bool        `json:"needs_reboot"`
	Seen        time.Time   `json:"seen,omitzero"`       // last word from it; of a node of another head: at its last change
	BootedIn    float64     `json:"booted_in,omitempty"` // seconds of kernel time at up
	Inventory   Inventory   `json:"inventory,omitzero"`
	RootState   *RootStatus `json:"root_state,omitempty"`
}

// NodeChange asks for a new node or a change to one. Nil fields stay as they are.
type NodeChange struct {
	Name     *string           `json:"name,omitempty"`
	MAC      *string           `json:"mac,omitempty"`
	Address  *string           `json:"address,omitempty"` // "" takes the reservation away
	Image    *string           `json:"image,omitempty"`
	Root     *string           `json:"root,omitempty"`
	Cmdline  *string           `json:"cmdline,omitempty"`
	Groups   *[]string         `json:"groups,omitempty"`
	Heads    *[]string         `json:"heads,omitempty"` // empty takes the list away
	Attrs    map[string]string `json:"attrs,omitempty"` // an empty value removes the attribute
	Approved *bool             `json:"approved,omitempty"`
	DryRun   bool              `json:"dry_run,omitempty"`
}

// Changed is the answer to a change: what differs, and whether it was done.
type Changed struct {
	Node    Node         `json:"node"`
	Diff    []Difference `json:"diff"`
	Applied bool         `json:"applied"`
	// Degraded, if not empty, is why no other head has what was written yet.
	Degraded string `json:"degraded,omitempty"`
	// Note, if not empty, is what is to be said of the set that was changed: which heads were left out of it.
	Note string `json:"note,omitempty"`
}

// Difference is one field of a change.
type Difference struct {
	Field string `json:"field"`
	Old   string `json:"old"`
	New   string `json:"new"`
}

// Why is the story of a node's last boot.
type Why struct {
	Node    Node          `json:"node"`
	Boot    string        `json:"boot,omitempty"`
	Stages  []StageResult `json:"stages"`
	Verdict string        `json:"verdict"`          // one sentence
	Try     string        `json:"try,omitempty"`    // the command or the act
	Events  []Event       `json:"events,omitempty"` // the last that concern it, oldest first
}

// Event is one thing that happened in the cluster.
type Event struct {
	Time   time.Time `json:"time"`
	Kind   string    `json:"kind"` // dhcp, tftp, http, hello, report, admin, root
	Node   string    `json:"node,omitempty"`
	MAC    string    `json:"mac,omitempty"`
	Text   string    `json:"text"`
	Failed bool      `json:"failed,omitempty"`
}

// Image is one image of a head's store.
type Image struct {
	Tag     string        `json:"tag"`
	Digest  images.Digest `json:"digest"`
	Role    images.Role   `json:"role"`
	Kernel  string        `json:"kernel"`
	Size    int64         `json:"size"`   // bytes of the root
	Stored  int64         `json:"stored"` // bytes it takes in the store
	History int           `json:"history"`
	Source  string        `json:"source,omitempty"`  // where it came from
	Missing int64         `json:"missing,omitempty"` // bytes that are not on this head yet
	Note    string        `json:"note,omitempty"`    // what an administrator should know
}

// Status is the cluster on one page.
type Status struct {
	Name     string        `json:"name"` // of the head that answers
	Version  string        `json:"version"`
	CA       images.Digest `json:"ca"`
	Address  string        `json:"address"`
	DHCP     string        `json:"dhcp"`                // server, proxy or off, and why
	ReadOnly string        `json:"read_only,omitempty"` // why the state takes no writes
	Degraded string        `json:"degraded,omitempty"`  // why no other head has what is written now
	Heads    []HeadStatus  `json:"heads"`
	// What is on its way to this head, what it has set aside, and which of its files are not as the state says.
	Fetching []Fetching       `json:"fetching,omitempty"`
	Aside    Aside            `json:"aside"`
	Files    []FileDifference `json:"files,omitempty"`
	Trouble  []string         `json:"trouble,omitempty"` // what somebody has to decide
	Started  time.Time        `json:"started"`
	Nodes    []Node           `json:"nodes"`
	Images   []Image          `json:"images"`
	Events   []Event          `json:"events"`
	Owner    *OwnerStatus     `json:"owner,omitempty"` // nil: the head's owner daemon does not answer, and Trouble says so
}

// Problem is the body of every answer that is not a success (RFC 9457 calls it problem details).
type Problem struct {
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Try    string `json:"try,omitempty"`
}
