package failover

import "time"

// barred is why this head may not claim, whoever agrees; empty: it may.
func (d *decider) barred() string {
	v := d.v
	switch {
	case v.Self.Barred != "":
		return v.Self.Barred
	case d.m.disk.on:
		return "its record cannot be written: " + v.RecordErr
	case v.Data == DataDiverged:
		return "both heads have written to their data"
	case !v.Data.MayClaim() && !(v.Operator.Promote && v.Operator.Force):
		return "its data is " + v.Data.String()
	case d.older() && !(v.Operator.Promote && v.Operator.Force):
		return "its data is older: the owner has written alone since " + v.Authority.Solo.UTC().Format(time.RFC3339)
	case d.m.foreign.on && !d.vipFree():
		return "another machine answers for the virtual address"
	}
	for i := range d.peers {
		if s := &d.peers[i].Said; s.Gen > d.rec.ClusterGen {
			return d.peers[i].Name + " is of a newer generation of the cluster"
		}
	}
	return ""
}

// older reports whether the last owner has written without this head (R5). The last owner itself has all that it wrote,
// whatever the voters that missed its last words remember of it, and whoever has claimed since in vain.
func (d *decider) older() bool {
	a, r := &d.v.Authority, d.rec
	switch {
	case d.v.Data == NoData || a.Solo.IsZero():
		return false
	case r.Owner != d.v.Self.Name:
		return true
	}
	return a.Owned > r.Epoch && !r.SoloSince.Equal(a.Solo)
}

// notAllowed is a head that would be next and may not.
func (d *decider) notAllowed(why string) Phase {
	m := d.m
	d.summary("not claiming: ", why)
	d.no(why)
	d.out.Probe = true
	if !d.v.Data.MayClaim() || d.older() {
		d.try("masthead promote --force")
	}
	m.vacant.set(d.now)
	if d.anyAlive() && !m.vacant.since(d.now, d.t.JoinWait) {
		return d.waiting()
	}
	if m.Phase == Join && d.now-m.started < d.t.JoinWait {
		return Join
	}
	return Blocked
}

// vipFree reports whether a round of probes has found nobody at the VIPs.
func (d *decider) vipFree() bool {
	p := &d.v.Probe
	return !p.VIP && (p.Rounds > 0 || p.Peer)
}
