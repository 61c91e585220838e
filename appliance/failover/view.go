package failover

import "time"

// Instant is a monotonic time on one head: since a moment that does not change while its daemon runs. Instants of two
// heads cannot be compared.
type Instant = time.Duration

// View is all that one head can see. Decide does not change it.
type View struct {
	Policy Policy
	Self   Self
	Memory Memory // what the last Decide gave; zero: the daemon has just started
	Record Record // as it is on the disk now
	// RecordErr says why the disk cannot be written; empty: it can. A head that cannot write claims nothing.
	RecordErr string
	Peers     []Peer
	Uplink    Reading // of this head's way to its clients: carrier of the VIP's NIC, and the gateway where one is configured
	// GatewaySilent is for how long the gateway has not answered, which comes before Uplink is Down; 0 where none is
	// configured.
	GatewaySilent time.Duration
	Probe         Probe
	Authority     Authority
	Fencing       Fencing
	Data          Data
	// Mirrored: what this head writes to its data reaches the other head's copy now. Unknown where the data engine cannot say.
	Mirrored Reading
	// DataLost is since when this head's copy has no connection to the other one; it counts while Data is DataAlone.
	DataLost Instant
	// Parted are the volumes that this head writes to, or is to write to, without the other copy: those that Decision.Word is
	// about. Data is the worst of all volumes, and does not tell which; there is one at least while it is DataAlone.
	Parted Volumes
	// Older and Have are what this head says of its volumes: see Said.
	Older, Have Volumes
	// DataWaits: writes to it wait for the word (Decision.Word).
	DataWaits bool
	Services  Services
	Gate      Gate
	Operator  Operator
	// Wall is the time of day, for Record.SoloSince alone: nothing is decided by it.
	Wall time.Time
}

// Self is this head.
type Self struct {
	Name   string
	ID     int // 0 to MaxHeads-1, the same on all heads
	BootID string
	// Unhealthy says why this head should not own: a monitor that asks for a failover, a service that failed for good, a
	// daemon that must go down. Empty: nothing.
	Unhealthy string
	Gen       uint64 // generation of the cluster's state on this head; 0: as in the record
	DataUUID  string // generations of the data here, as the data engine names them; empty: none, or unknown
	// Stopping: the daemon is to end in order; an owner hands over first if it can.
	Stopping bool
	// Barred says why this head may follow an owner and not claim: it has not found out since its boot whether it is still
	// one of the cluster. Empty: it may.
	Barred string
}

// Reading is a measurement. Unknown is neither up nor down, and alone moves nothing.
type Reading uint8

const (
	Unknown Reading = iota
	Up
	Down
)

func (r Reading) String() string { return [...]string{"unknown", "up", "down"}[min(r, 2)] }

// LinkKind is what a heartbeat travels on.
type LinkKind uint8

const (
	LinkNIC LinkKind = iota
	LinkSerial
)

func (k LinkKind) String() string { return [...]string{"nic", "serial"}[min(k, 1)] }

// Link is one way between this head and a peer.
type Link struct {
	Name  string
	Kind  LinkKind
	Heard Instant // when the last good heartbeat came in; negative: never in this run of the daemon
	// Carrier of the cable (NIC) or of the other end's DTR (serial). A hint, never a proof.
	Carrier Reading
	// HeardUs: the peer said in its last heartbeat on any link that it hears us on this one.
	HeardUs Reading
}

// Peer is another configured head.
type Peer struct {
	Name  string
	ID    int
	Links []Link
	// NoCopy: the data is replicated, and this head has none of it: there is nothing that it could write to.
	NoCopy bool
	Said   Said // the newest heartbeat on any link; zero BootID: none yet
}

// Said is what heads tell one another in each heartbeat.
type Said struct {
	BootID    uint64 // short form of the boot id; zero: nothing was said
	Gen       uint64 // cluster generation
	Epoch     Epoch  // the highest that it knows, on its disk
	Phase     Phase
	Acting    Epoch   // the epoch under which it acts or claims; 0: none
	Released  Epoch   // the last epoch of its own that it gave up in order: gate shut, services stopped, data demoted
	Yields    Epoch   // it agrees that the owner of this epoch acts, does not hold anything itself, and will claim only above it
	For       int     // with Released: the id of the head that is to take over; -1: nobody in particular
	Data      Data    // the worst of its volumes
	Older     Volumes // those of which its own disk says that the copy on it is outdated, or not whole
	Have      Volumes // those of which it has, or had, data
	Uplink    Reading
	Unhealthy bool
	Leaving   bool // its daemon ends in order
}

// Probe is the result of ARP (IPv4) and ND (IPv6) probes for the VIPs and for the peer's addresses, sent while Decision.Probe
// was set without interruption.
type Probe struct {
	Rounds int  // complete rounds without an answer of anybody since the last answer or since probing began
	VIP    bool // somebody answered for a VIP in the last round
	Peer   bool // the peer's kernel answered for its own address in the last round
}

// AuthorityKind is the arbiter.
type AuthorityKind uint8

const (
	Single AuthorityKind = iota // one configured head: its own quorum
	Pair                        // two heads, nobody else to ask
	Panel                       // two heads, and workers as witnesses
	Raft                        // three heads or more
)

func (k AuthorityKind) String() string {
	return [...]string{"single", "pair", "panel", "raft"}[min(k, 3)]
}

// Authority is what the arbiter says. For Single and Pair it is empty but for Kind: there Decide itself is the arbiter.
type Authority struct {
	Kind  AuthorityKind
	Held  Epoch   // the epoch whose lease this head holds; 0: none
	Until Instant // end of that lease, as the holder counts it: from when it sent the request, less the drift
	// Grant, for Raft: the epoch that was committed for this head after Decision.Want asked for a new term; the number is
	// the arbiter's to choose. 0: none.
	Grant Epoch
	Known Epoch  // the highest epoch that the voters know
	Owner string // who holds the lease, as far as the voters say
	// Quorum: enough voters answered lately to grant a lease to somebody. Unknown: none was asked yet.
	Quorum Reading
	// Vouches: the voters that answer remember the last owner, so a head that has booted may claim from them.
	Vouches bool
	// Owned is the last epoch that acted, and Solo since when its owner has owned without the other head, as the voters
	// remember. Known may be higher: a claim that came to nothing. For Raft, an owner that never said that it is alone does
	// not count: it has written nothing that the other copy lacks.
	Owned   Epoch
	Solo    time.Time
	Refused string // why the last asking was refused, in words; empty: it was not
	// SoloKnown is when the newest renewal was sent with which a quorum acknowledged the owner's SoloSince of now. Of a panel
	// only those witnesses count that were there while the other copy of the data was last connected, and that have not
	// restarted since: those that have may have forgotten who owned meanwhile. For Raft it is committed. 0: there is none.
	SoloKnown Instant
}

// FencingState is how far the fencing of a peer is.
type FencingState uint8

const (
	FenceIdle FencingState = iota
	FenceRunning
	FenceProof  // off, and a status that said off
	FenceFailed // all levels tried, no proof
)

// Fencing is the fencing of the head that Decision.Fence named.
type Fencing struct {
	Possible bool // devices are configured for the peer
	Target   string
	State    FencingState
	Since    Instant // when it came into State
	Detail   string
}

// Data is how this head's copy of the replicated data stands.
type Data uint8

const (
	NoData       Data = iota // none is configured
	DataUpToDate             // the same as the owner's, or the only one
	DataSyncing              // the target of a resync
	DataOutdated             // known to be older
	DataUnknown              // cannot be read
	DataDiverged             // both sides wrote
	DataAlone                // up to date, to be written to, and not connected to the other copy
)

// Volumes are some of the volumes of the replicated data: bit n is the one whose device is /dev/drbdn, on every head.
type Volumes uint64

// MayClaim is R5: data that is not up to date never claims.
func (d Data) MayClaim() bool { return d == NoData || d == DataUpToDate || d == DataAlone }

func (d Data) String() string {
	return [...]string{"none", "up to date", "syncing", "outdated", "unknown", "diverged", "alone"}[min(d, 6)]
}

// Services is how the ordered services and the data of this head stand.
type Services uint8

const (
	ServicesStopped Services = iota // all of it, and the data is secondary
	ServicesStarting
	ServicesStarted
	ServicesStopping
	ServicesFailed     // could not be started here
	ServicesStopFailed // could not be stopped: only a reset helps
)

func (s Services) String() string {
	return [...]string{"stopped", "starting", "started", "stopping", "failed", "stop failed"}[min(s, 5)]
}

// Gate is the kernel's gate of the VIPs on this head.
type Gate struct {
	Open  bool
	Epoch Epoch   // that it was opened for
	Until Instant // when the kernel shuts it by itself
	// Conflict is the hardware address of a third machine that answers for a VIP; empty: none.
	Conflict string
}

// Operator is what a person has asked for and is not done yet. Each has its time, so that an old wish is not acted on.
type Operator struct {
	Switch      string // hand over to that head, or to any if it is "*"; empty: no
	Promote     bool   // become the owner though nobody vouches
	Force       bool   // with Promote: also with data that is not up to date
	ConfirmDead string // the head of which a person says that it is off
}
