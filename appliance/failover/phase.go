package failover

import "fmt"

// Phase is where a head stands.
type Phase uint8

const (
	Boot       Phase = iota // nothing was read yet
	Join                    // looks for the others; decides nothing before they have had time to be heard
	Standby                 // follows an owner, or waits for one
	Suspect                 // the owner is silent
	Claim                   // asks for agreement or a grant, under an epoch that is written down once it is won
	Fence                   // waits for the proof that the old owner is off
	Promote                 // may act: data, then services, then the gate
	Active                  // owns
	Release                 // gives up in order: gate, services, data
	SelfFence               // lost the right to act and could not stop in order: resets the machine
	Blocked                 // nobody may act without a person
	Quarantine              // its data has diverged: never claims
)

var phases = [...]string{"boot", "join", "standby", "suspect", "claim", "fence", "promote", "active", "release", "self-fence", "blocked", "quarantine"}

func (p Phase) String() string {
	if int(p) < len(phases) {
		return phases[p]
	}
	return fmt.Sprintf("phase %d", uint8(p))
}

// Holds reports whether a head in this phase may still have an effect on the VIP, the services or the data: another one may
// not act before it has left these phases.
func (p Phase) Holds() bool { return p == Promote || p == Active || p == Release || p == SelfFence }
