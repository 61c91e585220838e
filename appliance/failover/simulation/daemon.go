package simulation

import (
	"time"

	"masthead/appliance/failover"
)

// tickEvery is how often the daemon decides where nothing happens.
const tickEvery = 25 * time.Millisecond

// startDaemon starts it with an empty memory. What the kernel, the disk and the services hold is as the last one left it.
func (w *World) startDaemon(i int) {
	h := &w.heads[i]
	if h.running {
		return
	}
	if h.disk.unread > 0 { // it ends with an error, and is started again
		w.in(500*time.Millisecond, evStart, i, h.daemonGen)
		return
	}
	h.running, h.stopped = true, false
	h.troubled = w.now
	w.law.restarted(w, i)
	h.zero = h.machineTime(w.now)
	h.starved = 0
	h.last = failover.Decision{}
	h.probe, h.panel = probing{}, panel{boot: uint64(w.now) + uint64(i)}
	h.fence = fencing{gen: h.fence.gen + 1}
	h.operator = failover.Operator{}
	h.uplink, h.misses, h.mailed = failover.Unknown, 0, -1
	for j := range h.from {
		h.from[j] = heard{any: -time.Hour, before: -time.Hour, seq: -1}
	}
	h.view = failover.View{
		Policy: w.policy,
		Self:   failover.Self{Name: headNames[i], ID: i, BootID: h.bootID},
		Gate:   failover.Gate{},
	}
	for k := range w.sc.Heads - 1 {
		j := peerAt(i, k)
		h.peers[k] = failover.Peer{Name: headNames[j], ID: j, NoCopy: w.sc.Data && j >= copies}
		h.links[k] = [ways]failover.Link{{Name: "eth0", Heard: -1}, {Name: "eth1", Heard: -1}, {Name: "ttyS0", Kind: failover.LinkSerial, Heard: -1}}
	}
	w.relink(i)
	h.inherited = h.gateUntil - h.zero
	if h.gateUntil > h.machineTime(w.now) {
		h.view.Gate = failover.Gate{Open: true, Epoch: h.gateEpoch, Until: h.gateUntil - h.zero}
	}
	h.saying++
	h.said[h.saying%uint32(len(h.said))] = failover.Said{}
	w.startAuthority(i)
	w.startKeeper(i)
	if w.story != nil {
		w.tell(i, "the daemon starts, record %v of %q", h.disk.record.Epoch, h.disk.record.Owner)
	}
	w.feed(i)
	w.wake(i)
}

// wake starts the daemon's timers, all within a moment and in any order.
func (w *World) wake(i int) {
	h := &w.heads[i]
	h.loopGen++
	w.in(w.rnd.between(0, 2*time.Millisecond), evTick, i, h.loopGen)
	w.in(w.rnd.between(0, 2*time.Millisecond), evBeat, i, h.loopGen)
	w.in(w.rnd.between(0, 10*time.Millisecond), evUplink, i, h.loopGen)
	if w.sc.Kind == failover.Panel || w.sc.Kind == failover.Raft {
		w.in(w.rnd.between(0, 2*time.Millisecond), evRenew, i, h.loopGen)
	}
	if w.sc.Kind == failover.Raft {
		w.in(w.rnd.between(0, 2*time.Millisecond), evRaft, i, h.loopGen)
	}
	if h.probe.on {
		w.in(w.policy.Timing.ProbeEvery, evProbe, i, h.loopGen)
	}
	if h.disk.writing && !h.paused {
		w.in(h.disk.left(w), evDisk, i, h.machineGen)
	}
	// What came in meanwhile lies in the socket's buffer: it is read before or after the first look.
	for j := range w.sc.Heads {
		f := &h.from[j]
		if !f.waiting {
			continue
		}
		f.waiting = false
		for l := range f.last {
			if e := f.last[l]; e.gen != 0 {
				f.last[l] = event{}
				e.at = w.now + w.rnd.between(0, 4*time.Millisecond)
				w.post(e)
			}
		}
	}
}

// relink makes the slices of the view point into this world.
func (w *World) relink(i int) {
	h := &w.heads[i]
	h.view.Peers = h.peers[: w.sc.Heads-1 : w.sc.Heads-1]
	for k := range h.view.Peers {
		switch {
		case w.sc.Serial && w.sc.Direct:
			h.peers[k].Links = h.links[k][:ways:ways]
		case w.sc.Direct:
			h.peers[k].Links = h.links[k][:serial:serial]
		default:
			h.peers[k].Links = h.links[k][:direct:direct]
		}
	}
}

// peerAt is the id of the k-th peer of head i, and placeOf its inverse.
func peerAt(i, k int) int {
	if k >= i {
		return k + 1
	}
	return k
}

func placeOf(i, j int) int {
	if j > i {
		return j - 1
	}
	return j
}

// killDaemon ends it at once. Its gate, its services and what the device of the peer does go on.
func (w *World) killDaemon(i int) {
	h := &w.heads[i]
	if h.running && w.story != nil {
		w.tell(i, "the daemon is gone")
	}
	h.running, h.stopped = false, false
	h.daemonGen++
	h.loopGen++
	h.troubled = w.now
	w.feed(i)
}

// stop is SIGSTOP, goOn SIGCONT.
func (w *World) stop(i int) {
	h := &w.heads[i]
	if !h.running || h.stopped {
		return
	}
	h.stopped = true
	h.loopGen++
	h.troubled = w.now
	w.feed(i)
}

func (w *World) goOn(i int) {
	h := &w.heads[i]
	if !h.running || !h.stopped {
		return
	}
	h.stopped = false
	h.troubled = w.now
	w.feed(i)
	if !h.paused && h.power == up {
		w.wake(i)
	}
}

func (w *World) tick(i int) {
	h := &w.heads[i]
	next := tickEvery + time.Duration(w.rnd.next()&(1<<20-1)) // up to a millisecond late
	if h.starved > 0 && w.rnd.chance(30) {
		next += w.rnd.between(0, h.starved)
	}
	w.in(next, evTick, i, h.loopGen)
	w.step(i)
}

// instant is the daemon's clock.
func (w *World) instant(i int) failover.Instant {
	h := &w.heads[i]
	return h.machineTime(w.now) - h.zero
}

// step looks, decides and performs, once.
func (w *World) step(i int) {
	h := &w.heads[i]
	if h.disk.writing || w.done {
		return // the loop waits for its disk
	}
	now := w.instant(i)
	v := &h.view
	v.Record = h.disk.record
	if v.RecordErr != "" && h.disk.full == 0 {
		v.RecordErr = ""
	}
	v.Uplink = h.uplink
	v.Probe = h.probe.seen
	v.Services = h.services.state
	v.Operator = h.operator
	v.Wall = w.wall(i)
	v.Self.Unhealthy = ""
	if h.unhealthy > 0 {
		v.Self.Unhealthy = "a monitor asks for a failover"
	}
	v.Gate.Conflict = ""
	if w.foreign && v.Gate.Open && !w.net.lan[i][gateway].cut {
		v.Gate.Conflict = "02:00:00:00:00:99"
	}
	v.Fencing = w.fenceReading(i)
	w.authority(i, now)
	w.viewData(i)
	h.leased, h.leaseEnd = v.Authority.Held, v.Authority.Until
	h.gateWas = max(h.gateUntil-h.zero, h.inherited)
	w.steps++

	d := w.decide(*v, now)
	if w.story != nil {
		w.explain(i, &d)
	}
	v.Memory = d.Memory
	h.last = d
	if d.Reset != "" {
		w.reset(i, "by its daemon: "+d.Reset)
		return
	}
	if d.Services == failover.Stop {
		w.wish(i, failover.Stop)
	}
	if !d.Gate.Open {
		w.shut(i)
	}
	defer w.see(i, &h.last)
	if d.Record != v.Record {
		w.write(i, d.Record)
		return
	}
	w.perform(i, &h.last)
}

// perform does what a decision says once its record is on the disk.
func (w *World) perform(i int, d *failover.Decision) {
	h := &w.heads[i]
	if said := &h.said[h.saying%uint32(len(h.said))]; *said != d.Say {
		h.saying++
		h.said[h.saying%uint32(len(h.said))] = d.Say
		w.send(i, true)
	}
	w.want(i, d)
	w.wish(i, d.Services)
	w.startFence(i, d.Fence)
	w.setProbe(i, d.Probe)
	if d.Gate.Open {
		w.openGate(i, d.Gate)
	}
	w.settle(i, d)
	w.performed(i, d)
}

func (w *World) openGate(i int, g failover.Gate) {
	h := &w.heads[i]
	was := h.open(w.now)
	if was && h.gateEpoch != g.Epoch {
		h.gateAt = w.now
	}
	h.gateUntil = h.zero + g.Until
	h.gateEpoch = g.Epoch
	h.view.Gate.Open, h.view.Gate.Epoch, h.view.Gate.Until = true, g.Epoch, g.Until
	if !was && h.open(w.now) {
		h.gateAt = w.now
		if w.story != nil {
			w.tell(i, "the gate opens for epoch %v", g.Epoch)
		}
		w.gateOpened(i)
	}
}

func (w *World) shut(i int) {
	h := &w.heads[i]
	if h.gateUntil > h.machineTime(w.now) && w.story != nil {
		w.tell(i, "the gate is shut")
	}
	h.gateUntil = 0
	h.view.Gate = failover.Gate{}
}

// wall is the clock that people read: it jumps by hours, and nothing may hang on it.
func (w *World) wall(i int) time.Time {
	return time.Unix(1_800_000_000, 0).Add(w.now + time.Duration(w.heads[i].boots%3-1)*time.Hour)
}

// settle removes the wishes of the operator that are done, and notes mail.
func (w *World) settle(i int, d *failover.Decision) {
	h := &w.heads[i]
	if d.Done.Switch != "" {
		h.operator.Switch = ""
	}
	if d.Done.Promote != "" {
		h.operator.Promote, h.operator.Force = false, false
	}
	if d.Done.ConfirmDead != "" {
		h.operator.ConfirmDead = ""
	}
	for k := range d.Events {
		if d.Events[k].Mail {
			h.mailed = w.now
		}
	}
}
