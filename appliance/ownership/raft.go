package ownership

import (
	"context"
	"fmt"
	"time"

	"masthead/appliance/arbiter"
	"masthead/appliance/failover"
	"masthead/images"
)

// consensus is the judge of three heads or more.
type consensus struct{ *arbiter.Raft }

func (r consensus) want(d failover.Decision) {
	r.Want(d.Want, d.Record.SoloSince, d.Record.DataUUID, d.WantTerm, d.Record.Epoch)
}

// Boots is nobody's: what is committed is not forgotten.
func (r consensus) Boots() map[string]uint64 { return nil }

func (r consensus) SoloKnown(map[string]uint64) failover.Instant { return r.Raft.SoloKnown() }

func (r consensus) setVoters(roster arbiter.Roster) error { return r.SetVoters(raftVoters(roster)) }

func raftVoters(roster arbiter.Roster) arbiter.RaftVoters {
	v := arbiter.RaftVoters{Version: roster.Version}
	for _, h := range roster.Voters {
		v.Heads = append(v.Heads, arbiter.RaftVoter{Name: h.Name, ID: h.Head, Addr: h.Addr})
	}
	return v
}

// raftPath is the folder of what the heads of a cluster have agreed on. Another cluster's log means nothing here.
func (d *Daemon) raftPath(cluster string) string { return d.clusterPath(raftDir, cluster) }

func (p *parts) makeRaft(c judgeConfig) (judge, func(context.Context) error, error) {
	keys, err := openTLS(c.keys, c.name, p.headKeys)
	if err != nil {
		return nil, nil, fmt.Errorf("raft: %w", err)
	}
	conf := arbiter.RaftConfig{
		Self: c.name, Dir: p.d.raftPath(c.cluster), Voters: raftVoters(c.roster), Accept: keys.accept(), Dial: keys.dial,
		Timing: c.timing, Now: p.d.now, Log: p.d.log,
	}
	if !arbiter.HasState(conf.Dir) && p.d.owns() {
		r := p.d.record.Record()
		err := arbiter.Bootstrap(conf, arbiter.Ownership{Epoch: r.Epoch, Owner: c.name, Solo: r.SoloSince, DataUUID: r.DataUUID})
		if err != nil {
			return nil, nil, err
		}
	}
	r, err := arbiter.NewRaft(conf)
	if err != nil {
		return nil, nil, err
	}
	return consensus{r}, p.following(r.Changed(), r.Run), nil
}

// owns reports whether this head owns the cluster now.
func (d *Daemon) owns() bool {
	return d.memory.Phase == failover.Active && d.record != nil && d.record.Record().Owner == d.config.Self && d.record.Record().Epoch == d.memory.Epoch
}

// bridge carries an owner from a single head or a pair, where Decide grants the lease to itself, to raft, without giving
// anything up: nobody else can be elected before this head has started raft and added him, so it goes on by the old rules
// until it has claimed the next epoch by the new ones.
type bridge struct {
	from  failover.AuthorityKind
	until failover.Instant // then it has failed, and the new rules count alone
	grant failover.Epoch   // claimed; 0: not yet
}

// bridgeFor is how long a bridge may take: raft abstains after its start, elects itself, and commits.
const bridgeFor = 5 * time.Second

// cross begins a bridge if a new configuration needs one.
func (d *Daemon) cross(next Config) {
	if old := d.config.arbiter(); d.owns() && next.arbiter() == failover.Raft && (old == failover.Single || old == failover.Pair) {
		d.bridge = &bridge{from: old, until: d.now() + bridgeFor}
	}
}

// bridged is the authority while a bridge is crossed. At its far end the head owns under the epoch that raft has committed.
func (d *Daemon) bridged(a failover.Authority, now failover.Instant) failover.Authority {
	b := d.bridge
	if b == nil {
		return a
	}
	if now > b.until || !d.owns() {
		d.bridge = nil
		return a
	}
	r, ok := d.parts.judge.it.(consensus)
	if !ok {
		d.bridge = nil
		return a
	}
	record := d.record.Record()
	if a.Grant > record.Epoch {
		b.grant = a.Grant
	}
	if b.grant == 0 {
		r.Want(0, record.SoloSince, record.DataUUID, true, record.Epoch)
		return failover.Authority{Kind: b.from}
	}
	r.Want(b.grant, record.SoloSince, record.DataUUID, false, b.grant)
	if a.Held != b.grant {
		return failover.Authority{Kind: b.from}
	}
	record.Epoch = b.grant
	if err := d.record.Write(record); err != nil {
		return failover.Authority{Kind: b.from} // tried again
	}
	d.memory.Epoch = b.grant
	d.bridge = nil
	d.event("owner", fmt.Sprintf("%s: goes on under epoch %s, which the heads have agreed on", d.config.Self, record.Epoch), false)
	return a
}

// headKeys are the keys of the configured heads. It may be called from any goroutine.
func (p *parts) headKeys() map[string]images.Digest {
	if all := p.keys.Load(); all != nil {
		return *all
	}
	return nil
}

// setKeys takes them from a configuration.
func (p *parts) setKeys(c Config) {
	all := map[string]images.Digest{}
	for name, h := range c.Heads {
		all[name] = h.Key
	}
	p.keys.Store(&all)
}
