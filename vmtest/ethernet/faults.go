package ethernet

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Direction says which way along a port's cable, seen from the device on it.
type Direction int

const (
	Transmit Direction = 1 << iota // from the device to the switch
	Receive                        // from the switch to the device
	Both     = Transmit | Receive
)

func (d Direction) String() string {
	switch d {
	case Transmit:
		return "transmit"
	case Receive:
		return "receive"
	case Both:
		return "both"
	}
	return fmt.Sprintf("Direction(%d)", int(d))
}

// ParseDirection reads what String writes, and tx and rx.
func ParseDirection(s string) (Direction, error) {
	switch s {
	case "transmit", "tx":
		return Transmit, nil
	case "receive", "rx":
		return Receive, nil
	case "both":
		return Both, nil
	}
	return 0, fmt.Errorf("direction %q: want transmit (tx), receive (rx) or both", s)
}

// Faults are what one direction of a cable does to its frames. The zero value is
// a good cable.
type Faults struct {
	Cut       bool          `json:"cut,omitempty"`       // nothing passes
	Loss      float64       `json:"loss,omitempty"`      // percent of the frames lost
	Duplicate float64       `json:"duplicate,omitempty"` // percent of the frames that arrive twice
	Reorder   float64       `json:"reorder,omitempty"`   // percent of the frames overtaken by those behind them
	Delay     time.Duration `json:"delay,omitempty"`     // how long each frame travels
	Jitter    time.Duration `json:"jitter,omitempty"`    // travels up to so much longer; alone it never reorders
}

// Validate reports a percentage or a time that cannot be.
func (f Faults) Validate() error {
	for _, p := range []struct {
		name  string
		value float64
	}{{"loss", f.Loss}, {"duplicate", f.Duplicate}, {"reorder", f.Reorder}} {
		if !(p.value >= 0 && p.value <= 100) { // written so that NaN is refused
			return fmt.Errorf("%s %v%%: want 0 to 100", p.name, p.value)
		}
	}
	if f.Delay < 0 || f.Jitter < 0 {
		return fmt.Errorf("delay %v jitter %v: want no negative time", f.Delay, f.Jitter)
	}
	return nil
}

// reorderHold is how much longer an overtaken frame travels: enough for others to
// pass it on a busy link, less than TCP's least retransmission time-out.
const reorderHold = 10 * time.Millisecond

// fate is what becomes of one frame.
type fate struct {
	copies   int           // 0 lost, 2 duplicated
	travel   time.Duration // before it arrives
	overtake bool          // whether later frames may arrive before it
}

// judge draws a frame's fate. It draws as many numbers for every frame, whatever
// their outcome, so that one seed loses the same frames at any other setting.
func (f Faults) judge(random *rand.Rand) fate {
	lost := percent(random, f.Loss)
	twice := percent(random, f.Duplicate)
	late := percent(random, f.Reorder)
	jitter := time.Duration(random.Float64() * float64(f.Jitter))
	if f.Cut || lost {
		return fate{}
	}
	v := fate{copies: 1, travel: f.Delay + jitter}
	if twice {
		v.copies = 2
	}
	if late {
		v.overtake = true
		v.travel += reorderHold
	}
	return v
}

func percent(random *rand.Rand, p float64) bool { return random.Float64()*100 < p }
