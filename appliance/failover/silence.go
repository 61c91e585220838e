package failover

import "time"

// absent judges a head of a pair that is not heard, and is not known to be off: Promote, if this head may act all the same,
// and by what.
func (d *decider) absent(p *other) (Phase, string) {
	m := d.m
	alone := p.last < 0 && !m.restarted // it was not heard since this machine has booted
	switch {
	case p.last < 0 && d.now-m.started < d.t.JoinWait:
		d.summary("listens for ", p.Name)
		d.out.Probe = true
		return Join, ""
	case !p.suspect:
		d.summary("has heard nothing of ", p.Name, " for a moment")
		return d.waiting(), ""
	}
	d.silentFor(p)
	d.out.Probe = true
	if why := d.barred(); why != "" {
		return d.notAllowed(why), ""
	}
	switch {
	case alone && !d.v.Policy.AloneAtBoot:
		// Two heads that boot in a parted network would both find themselves alone, and fence one another in turns.
		d.summary("not claiming: this head has booted alone, and nothing proves that ", p.Name, " is off")
		d.no("nothing was heard of ", p.Name, " since this head has booted")
		d.confirmTry(p)
		return Blocked, ""
	case d.v.Fencing.Possible:
		return d.fenceFirst(p, alone), ""
	}
	return d.silence(p, alone)
}

func (d *decider) confirmTry(p *other) { d.try("masthead fence confirm-dead " + p.Name) }

// silence is a takeover without fencing: everything has to speak for it that this head can see, and then a power cut still
// looks like a cut of all cables. What to make of that is the policy's.
func (d *decider) silence(p *other, alone bool) (Phase, string) {
	probe := &d.v.Probe
	missing := false
	need := func(ok bool, yes, no string) {
		if ok {
			d.yes(yes)
		} else {
			d.no(no)
			missing = true
		}
	}
	need(p.silent >= d.t.Silence, "all links are silent for "+d.t.Silence.String(), "the links are not silent for "+d.t.Silence.String()+" yet")
	need(d.v.Uplink == Up, "the own uplink is up", "the own uplink is "+d.v.Uplink.String())
	need(!probe.VIP, "nobody answers for the virtual addresses", "somebody answers for a virtual address")
	need(!probe.Peer, "the kernel of "+p.Name+" does not answer", "the kernel of "+p.Name+" answers")
	need(probe.Rounds >= d.t.Probes && d.m.linked.since(d.now, time.Duration(d.t.Probes+1)*d.t.ProbeEvery), "enough probes were sent", "not enough probes were sent yet")
	switch {
	case !missing && alone:
		return Promote, "it has booted alone, and the configuration accepts the risk"
	case !missing && d.v.Policy.Loss == Available:
		return Promote, "everything of " + p.Name + " is silent"
	case missing && probe.VIP:
		d.summary("not taking over: somebody answers for the virtual address")
	case missing && probe.Peer:
		d.summary("not taking over: nothing is heard of ", p.Name, ", but its kernel answers")
	case missing && d.v.Uplink != Up && p.silent >= d.t.Silence:
		d.summary("not taking over: this head's own uplink is ", d.v.Uplink.String())
	case missing:
		d.summary("finds out whether ", p.Name, " is dead")
	default:
		d.summary("not taking over: all is silent, and nothing proves that ", p.Name, " is off")
		d.no("the policy is safe")
		d.confirmTry(p)
		return Blocked, ""
	}
	d.confirmTry(p)
	return Suspect, ""
}

// silentFor says how long nothing was heard.
func (d *decider) silentFor(p *other) {
	if p.last < 0 {
		d.yes("nothing was heard of ", p.Name)
		return
	}
	d.yes("nothing is heard of ", p.Name, " on any link")
}
