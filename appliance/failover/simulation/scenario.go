package simulation

import (
	"time"

	"masthead/appliance/failover"
)

const (
	maxHeads     = 5
	maxWitnesses = 5
	gateway      = maxHeads + maxWitnesses // the node of the LAN that stands for the clients
	nodes        = gateway + 1
)

// Scenario is what a cluster is made of.
type Scenario struct {
	Name      string
	Heads     int
	Kind      failover.AuthorityKind
	Witnesses int
	Fencing   bool // the heads can fence one another
	Loss      failover.Loss
	Data      bool // replicated data; the first two heads have a copy
	Direct    bool // a second NIC, straight from head to head
	Serial    bool // a serial cable
	Fast      bool // failover.Fast instead of Normal
	Harmless  bool // only faults after which the owner must still be the owner (I7)
}

// Scenarios are the clusters that TestSimulation plays.
func Scenarios() []Scenario {
	pair := Scenario{Heads: 2, Kind: failover.Pair, Direct: true, Serial: true}
	panel := Scenario{Heads: 2, Kind: failover.Panel, Witnesses: 3, Direct: true, Serial: true}
	raft := Scenario{Heads: 3, Kind: failover.Raft}
	return []Scenario{
		with(pair, "pair, safe, data", func(s *Scenario) { s.Data = true }),
		with(pair, "pair, safe", func(*Scenario) {}),
		with(pair, "pair, available", func(s *Scenario) { s.Loss = failover.Available }),
		with(pair, "pair, available, LAN alone", func(s *Scenario) { s.Loss, s.Direct, s.Serial = failover.Available, false, false }),
		with(pair, "pair, fencing, data", func(s *Scenario) { s.Fencing, s.Data = true, true }),
		with(pair, "pair, fencing, no serial", func(s *Scenario) { s.Fencing, s.Serial = true, false }),
		with(panel, "panel of 3, data", func(s *Scenario) { s.Data = true }),
		with(panel, "panel of 3, fast, LAN alone", func(s *Scenario) { s.Fast, s.Direct, s.Serial = true, false, false }),
		with(panel, "panel of 5, data, fencing", func(s *Scenario) { s.Witnesses, s.Data, s.Fencing = 5, true, true }),
		with(raft, "raft, 3 heads", func(*Scenario) {}),
		with(raft, "raft, 3 heads, data", func(s *Scenario) { s.Data = true }),
		with(raft, "raft, 3 heads, data, fencing", func(s *Scenario) { s.Data, s.Fencing = true, true }),
		with(raft, "raft, 4 heads", func(s *Scenario) { s.Heads = 4 }),
		with(raft, "raft, 5 heads, fast", func(s *Scenario) { s.Heads, s.Fast = 5, true }),
		with(pair, "pair, safe, data, owner left healthy", func(s *Scenario) { s.Data, s.Harmless = true, true }),
		with(pair, "pair, available, owner left healthy", func(s *Scenario) { s.Loss, s.Harmless = failover.Available, true }),
		with(pair, "pair, fencing, owner left healthy", func(s *Scenario) { s.Fencing, s.Data, s.Harmless = true, true, true }),
		with(panel, "panel of 3, owner left healthy", func(s *Scenario) { s.Data, s.Harmless = true, true }),
		with(raft, "raft, 3 heads, owner left healthy", func(s *Scenario) { s.Harmless = true }),
	}
}

func with(s Scenario, name string, change func(*Scenario)) Scenario {
	s.Name = name
	change(&s)
	return s
}

// policy is what the heads are configured with. The waits that only cost time are shorter than in production: the listening
// of a head that boots, the pause after a fencing that failed, and the bound of an orderly stop.
func (s *Scenario) policy() failover.Policy {
	p := failover.Policy{Loss: s.Loss, Timing: failover.Normal()}
	if s.Fast {
		p.Timing = failover.Fast()
	}
	p.Timing.JoinWait = time.Second
	p.Timing.FenceRetry = 2 * time.Second
	p.Timing.StopWithin = 2 * time.Second
	return p
}
