package ownership

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"masthead/appliance/failover"
	"masthead/appliance/heartbeat"
	"masthead/node/wire"
)

type linkState = heartbeat.LinkState

// shownEvents is how many of the last events a status carries.
const shownEvents = 20

// status is ownership as this head sees it.
func (d *Daemon) status() wire.OwnerStatus {
	c := d.config
	s := wire.OwnerStatus{
		Cluster: c.document.Name, Self: c.Self, Config: c.Version, Watchdog: d.dog.text(), Events: d.events.last(shownEvents),
	}
	if !d.configured() {
		s.Why = wire.OwnerWhy{Phase: failover.Boot.String(), Summary: ErrNoConfig.Error()}
		return s
	}
	record, v := d.record.Record(), d.view(d.now())
	s.EpochNumber = uint64(record.Epoch)
	s.Epoch, s.Arbiter, s.Data = record.Epoch.String(), v.Authority.Kind.String(), v.Data.String()
	h := &d.history
	h.mu.Lock()
	s.Owner, s.Since, s.Reason = h.now, h.since, h.reason
	last := h.before
	h.mu.Unlock()
	s.Members = d.members(v)
	s.Quorate = d.quorate(v)
	if j := d.parts.judge; j.made && j.it != nil {
		s.Votes = j.it.Votes()
	}
	s.Links = d.links(v)
	if d.parts.vip.made {
		answering := d.answering()
		for _, a := range d.parts.vip.conf.addresses {
			open := v.Gate.Open && slices.Contains(answering, a.Prefix.Addr())
			s.VIPs = append(s.VIPs, wire.OwnerVIP{Address: a.Prefix, NIC: a.NIC, Open: open, Conflict: v.Gate.Conflict})
		}
	}
	if d.parts.services != nil {
		for _, state := range d.parts.services.States() {
			if state.Owner == "" && s.Owner != "" && s.Owner != c.Self && state.State == "stopped" {
				state.Owner = "" // only the owner knows how its services stand; head run asks it
			}
			if state.Last == "" {
				state.Last = last
			}
			if state.GivenUp != "" {
				state.Wished = d.parts.wishes.at(state.Name)
			}
			s.Services = append(s.Services, state)
		}
	}
	if d.parts.monitors.made {
		s.Monitors = d.parts.monitors.it.States()
	}
	if d.parts.fencer.made {
		s.Fences = d.parts.fencer.it.States()
	}
	if set := d.parts.dataNow.Load(); set != nil {
		s.Volumes = set.Volumes()
	}
	why := d.last.Why
	s.Why = wire.OwnerWhy{Phase: d.memory.Phase.String(), Since: d.at(d.memory.Since), Summary: why.Summary, For: why.For, Against: why.Against, Try: why.Try}
	for part, text := range d.trouble {
		s.Trouble = append(s.Trouble, part+": "+text)
	}
	slices.Sort(s.Trouble)
	return s
}

func (d *Daemon) members(v failover.View) []wire.OwnerMember {
	c := d.config
	all := []wire.OwnerMember{{
		Name: c.Self, ID: c.Heads[c.Self].Number, Self: true, Online: true, Phase: d.memory.Phase.String(), Epoch: v.Record.Epoch.String(), Heard: d.at(d.now()),
	}}
	for _, p := range v.Peers {
		m := wire.OwnerMember{Name: p.Name, ID: p.ID, Online: d.heard(p.ID)}
		heard := failover.Instant(-1)
		for _, l := range p.Links {
			heard = max(heard, l.Heard)
		}
		if heard >= 0 {
			m.Heard, m.Phase, m.Epoch = d.at(heard), p.Said.Phase.String(), p.Said.Epoch.String()
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b wire.OwnerMember) int { return a.ID - b.ID })
	return all
}

// quorate tells whether this side could have an owner: by the votes where there are any, and in a pair by hearing the
// other or owning.
func (d *Daemon) quorate(v failover.View) bool {
	switch v.Authority.Kind {
	case failover.Single:
		return true
	case failover.Pair:
		return d.owner() != "" || slices.ContainsFunc(v.Peers, func(p failover.Peer) bool { return d.heard(p.ID) })
	}
	return v.Authority.Quorum == failover.Up
}

func (d *Daemon) links(v failover.View) []wire.OwnerLink {
	names := map[int]string{}
	for _, p := range v.Peers {
		names[p.ID] = p.Name
	}
	now := d.now()
	var all []wire.OwnerLink
	for _, l := range d.parts.heartbeat.it.Links() {
		link := wire.OwnerLink{
			Peer: names[l.Peer], Name: l.Name, Kind: l.Kind.String(), Carrier: l.Carrier.String(), HeardUs: l.HeardUs.String(),
			Sent: l.Sent, Good: l.Good, Missed: l.Missed, Late: l.Late, Forged: l.Forged + l.Garbled,
		}
		if l.Heard >= 0 {
			link.Age = (now - l.Heard).Seconds()
			link.Up = now-l.Heard < onlineFor
		}
		all = append(all, link)
	}
	return all
}

// planSwitch says what a switch would do, or why it cannot be.
func (d *Daemon) planSwitch(req wire.SwitchRequest) (wire.SwitchAnswer, error) {
	c := d.config
	plan := wire.SwitchAnswer{From: c.Self, To: req.To}
	refuse := func(try, format string, args ...any) (wire.SwitchAnswer, error) {
		return wire.SwitchAnswer{}, &problem{http.StatusConflict, fmt.Sprintf(format, args...), try}
	}
	if !d.configured() {
		return plan, notConfigured()
	}
	if owner := d.owner(); owner != c.Self {
		if owner == "" {
			return refuse("masthead status --why", "nobody owns the cluster")
		}
		return refuse("masthead head switch, on "+owner, "%s owns the cluster, and only it can hand over", owner)
	}
	if d.memory.Phase != failover.Active {
		return refuse("masthead status --why", "%s is in phase %s, and hands over nothing before it is active", c.Self, d.memory.Phase)
	}
	others := c.peers()
	switch {
	case len(others) == 0:
		return refuse("masthead head token, to add one", "there is no other head")
	case plan.To == c.Self:
		return refuse("masthead head switch --to "+strings.Join(others, "|"), "%s owns the cluster already", c.Self)
	case plan.To != "" && !slices.Contains(others, plan.To):
		return refuse("masthead head list", "%q is not a head of this cluster", plan.To)
	}
	if plan.To == "" {
		for _, name := range others {
			if d.heard(c.Heads[name].Number) {
				plan.To = name
				break
			}
		}
		if plan.To == "" {
			return refuse("masthead status", "no other head is heard")
		}
	}
	if !d.heard(c.Heads[plan.To].Number) {
		return refuse("masthead status", "%s is not heard on any link", plan.To)
	}
	for _, v := range c.document.Addresses() {
		plan.Moves = append(plan.Moves, v.Address.Addr().String())
	}
	if d.parts.services != nil {
		for _, s := range d.parts.services.States() {
			plan.Moves = append(plan.Moves, "service "+s.Name)
		}
	}
	return plan, nil
}
