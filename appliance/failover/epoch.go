package failover

import "fmt"

// Epoch is the number of a term of ownership, and the token that fences off older ones: a head that sees a higher epoch
// than its own acts no more. No two heads can ever use the same epoch, since each counts in its own residue class, as
// Paxos numbers its ballots: a head whose memory of the others is gone can be late, but it cannot be mistaken for another.
type Epoch uint64

// MaxHeads is the number of residue classes: heads have ids from 0 to MaxHeads-1.
const MaxHeads = 16

// Next is the lowest epoch of the head with that id that is above e and is at least one round later.
func (e Epoch) Next(id int) Epoch { return (e/MaxHeads+1)*MaxHeads + Epoch(id) }

// Head is the id of the only head that can use e.
func (e Epoch) Head() int { return int(e % MaxHeads) }

// Round counts the terms: it is what people are shown.
func (e Epoch) Round() uint64 { return uint64(e / MaxHeads) }

// String is the round and the head's id, as 7.1.
func (e Epoch) String() string { return fmt.Sprintf("%d.%d", e.Round(), e.Head()) }
