package failover

// Decision is what a head is to do until the next decision. It is a state to be in, not a list of commands: performing the
// same one twice does nothing the second time.
type Decision struct {
	Memory Memory
	// Record is to be on the disk before anything else of this decision is performed; it is View.Record where nothing changed.
	Record Record
	// Want is the epoch whose lease is to be asked for and renewed; 0: whatever is held is given back. For Raft a new term is
	// asked for with WantTerm, and Want is what Authority.Grant gave.
	Want     Epoch
	WantTerm bool
	Services Wish // run the data and the services, or stop them
	Word     Word // whether the data may be written to without the other copy
	Gate     Gate // to be open until Gate.Until, for Gate.Epoch
	// Fence is the peer to be fenced, said until View.Fencing has an answer that is newer; empty: none. After a failure it is
	// empty for Timing.FenceRetry, and then said again, which is another attempt.
	Fence string
	Probe bool // probe the network for the VIPs and the peer
	Say   Said
	// Reset is why this machine must be reset at once, without another word to anybody; empty: it need not.
	Reset  string
	Done   Done // the operator's wishes that are settled
	Events []Event
	Why    Why
}

// Wish is what is to become of the data and the services of this head.
type Wish uint8

const (
	Stop Wish = iota // in reverse order, to the end
	Run
)

// Refused begins what Done says of a wish that was not followed, and Failed of one that was, in vain.
const (
	Refused = "refused: "
	Failed  = "failed: "
)

// Done says which of the operator's wishes are settled, and how: empty is not yet.
type Done struct {
	Switch, Promote, ConfirmDead string
	// Epoch is that of the owner of whom Switch says that it owns; the record may not have it yet.
	Epoch Epoch
}

// Event is something that happened, for the log. Mail: a person should be told now.
type Event struct {
	Text string
	Bad  bool
	Mail bool
}

// Why explains a decision to a person.
type Why struct {
	Phase   Phase
	Since   Instant
	Summary string   // one sentence: "not taking over: the serial link says that the peer is alive"
	For     []string // what speaks for the next step
	Against []string // what holds it up
	Try     string   // what a person can type; empty: nothing is needed
}
