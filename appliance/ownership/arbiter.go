package ownership

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"masthead/appliance/arbiter"
	"masthead/appliance/failover"
	"masthead/node/witness"
)

// judge decides between the heads. A cluster of one, and a pair without witnesses, has none: there Decide itself is it.
type judge interface {
	// want asks for what a decision wants, and gives back what it does not. It does not block.
	want(failover.Decision)
	// setVoters changes who votes, while it runs.
	setVoters(arbiter.Roster) error
	Authority() failover.Authority
	Votes() string
}

// judgeConfig is what a judge is made for.
type judgeConfig struct {
	kind    failover.AuthorityKind
	self    int
	name    string
	cluster string
	gen     uint64
	key     []byte
	roster  arbiter.Roster
	timing  failover.Timing
	keys    string // folder of this head's key, for raft
}

func (p *parts) judgeConfig(c Config) judgeConfig {
	j := judgeConfig{kind: c.arbiter(), self: c.Heads[c.Self].Number, name: c.Self, cluster: c.Cluster, gen: c.Gen, timing: c.policy().Timing}
	switch j.kind {
	case failover.Panel:
		j.key, j.roster = c.key("witness"), c.roster(p.d.opts.WitnessPort)
	case failover.Raft:
		j.roster, j.keys = c.roster(p.d.opts.RaftPort), c.Keys
	}
	return j
}

// roster lists the voters: the heads, and for a panel its witnesses.
func (c Config) roster(port uint16) arbiter.Roster {
	r := arbiter.Roster{Version: c.Roster}
	for _, name := range c.names() {
		head := c.Heads[name]
		r.Voters = append(r.Voters, arbiter.Voter{Name: name, Addr: netip.AddrPortFrom(head.Address, port), Head: head.Number})
	}
	if c.arbiter() != failover.Panel {
		return r
	}
	for _, name := range slices.Sorted(slices.Values(c.document.Witnesses)) {
		if a, ok := c.Witnesses[name]; ok {
			r.Voters = append(r.Voters, arbiter.Voter{Name: "node " + name, Addr: netip.AddrPortFrom(a, PortWitness), Head: arbiter.Witness})
		}
	}
	return r
}

func (p *parts) makeJudge(c judgeConfig) (judge, func(context.Context) error, error) {
	if c.kind == failover.Raft {
		return p.makeRaft(c)
	}
	if err := arbiter.Forget(p.d.raftPath(c.cluster)); err != nil { // of when there were more heads
		return nil, nil, err
	}
	if c.kind == failover.Panel {
		return p.makePanel(c)
	}
	return nil, nil, nil
}

// reloadJudge changes the voters of a judge that runs. Anything else makes a new one.
func (p *parts) reloadJudge(j judge, old, c judgeConfig) bool {
	roster := c.roster
	old.roster, c.roster = arbiter.Roster{}, arbiter.Roster{}
	if j == nil || !reflect.DeepEqual(old, c) {
		return false
	}
	err := j.setVoters(roster)
	p.d.troubled("voters", err)
	return err == nil
}

// panel is the vote of this head, and what asks all votes.
type panel struct{ *arbiter.Panel }

func (p panel) want(d failover.Decision) {
	p.Want(d.Want, d.Record.SoloSince, d.Record.DataUUID)
}

func (p panel) setVoters(r arbiter.Roster) error { return p.SetVoters(r) }

func (p *parts) makePanel(c judgeConfig) (judge, func(context.Context) error, error) {
	dir := filepath.Join(p.d.opts.Dir, panelDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("panel: %w", err)
	}
	var all *arbiter.Panel // there before anybody can be heard: own runs after it was made
	own, err := witness.New(witness.Config{
		Listen: netip.AddrPortFrom(netip.IPv6Unspecified(), p.d.opts.WitnessPort), Cluster: c.cluster, Key: c.key,
		Longest: c.timing.TTL, Margin: c.timing.Margin, Now: p.d.now, Log: p.d.log,
		Heard: func(a witness.Ask) { all.Heard(a) },
	})
	if err != nil {
		return nil, nil, err
	}
	all, err = arbiter.NewPanel(arbiter.PanelConfig{
		Self: c.self, Cluster: c.cluster, Gen: c.gen, Key: c.key, Timing: c.timing, Roster: c.roster, Own: own, Dir: dir, Now: p.d.now, Log: p.d.log,
	})
	if err != nil {
		return nil, nil, errors.Join(err, own.Close())
	}
	return panel{all}, p.following(all.Changed(), func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		errs := make(chan error, 1)
		go func() { errs <- own.Run(ctx); cancel() }()
		err := all.Run(ctx)
		cancel()
		return errors.Join(err, <-errs)
	}), nil
}

// want gives the judge what a decision wants.
func (d *Daemon) want(next failover.Decision) {
	if j := d.parts.judge; j.made && j.it != nil && d.bridge == nil {
		j.it.want(next)
	}
}
