package agent

import (
	"slices"
	"time"

	"masthead/node/wire"
)

// jitter spreads what all machines do alike: d, a tenth more or less. random is in [0, 1).
func jitter(d time.Duration, random float64) time.Duration {
	return d + time.Duration((2*random-1)*float64(d)/10)
}

// rotate moves the parent, which does not answer, to the end of the list, so that the second is the new one (seed 000,
// "Booting With Multiple Head Nodes").
func rotate(heads []wire.Head) []wire.Head {
	if len(heads) < 2 {
		return heads
	}
	return append(slices.Clone(heads[1:]), heads[0])
}

// adopt gives the order to try after the heads sent a new list in place of known. A list that begins with another head
// than before was meant to move this machine. Otherwise it stays with its parent, if that is still a head, also where
// the first of the list is back: nothing is gained by going back, and each move is one more.
func adopt(heads, known, list []wire.Head) []wire.Head {
	if len(heads) == 0 || len(list) == 0 || len(known) == 0 || known[0].Name != list[0].Name {
		return slices.Clone(list)
	}
	at := slices.IndexFunc(list, func(h wire.Head) bool { return h.Name == heads[0].Name })
	if at < 0 {
		return slices.Clone(list)
	}
	return append(slices.Clone(list[at:]), list[:at]...)
}
