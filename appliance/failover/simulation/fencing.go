package simulation

import (
	"time"

	"masthead/appliance/failover"
)

// fencing is what a head does to a peer.
type fencing struct {
	gen    uint32
	target int // place in headNames
	asked  bool
	state  failover.FencingState
	since  failover.Instant
	proof  bool // of what state will be
}

// fenceWay is how the device of a machine behaves.
type fenceWay struct {
	hangs, fails, lies int // faults
}

// fenceTimeout is after how long a device that does not answer has failed.
const fenceTimeout = 1500 * time.Millisecond

func (w *World) fenceReading(i int) failover.Fencing {
	if !w.sc.Fencing {
		return failover.Fencing{}
	}
	f := &w.heads[i].fence
	r := failover.Fencing{Possible: true, State: f.state, Since: f.since}
	if f.state != failover.FenceIdle {
		r.Target = headNames[f.target]
	}
	return r
}

// startFence starts a fencing when it is asked for anew, as Fencer.Want of package fence does.
func (w *World) startFence(i int, peer string) {
	f := &w.heads[i].fence
	if !w.sc.Fencing || peer == "" {
		if f.asked && f.state == failover.FenceRunning { // called off; the order that the device has is carried out all the same
			f.state, f.since = failover.FenceIdle, w.instant(i)
			f.gen++
		}
		f.asked = false
		return
	}
	if f.asked || f.state == failover.FenceRunning {
		return
	}
	f.asked = true
	for j := range w.sc.Heads {
		if headNames[j] == peer {
			f.target = j
		}
	}
	w.law.fencing(w, i, f.target)
	f.gen++
	f.state, f.since = failover.FenceRunning, w.instant(i)
	if w.story != nil {
		w.tell(i, "fences %s", peer)
	}
	o := &w.heads[f.target]
	way := &o.fenceWay
	dead := o.power == off && o.keepOff > 0 && o.boots&1 == 1 // every other machine takes its device with it
	took := w.rnd.between(100*time.Millisecond, 600*time.Millisecond)
	switch {
	case w.net.lan[i][gateway].cut || w.net.lan[gateway][i].cut || way.hangs > 0 || dead:
		f.proof = false
		w.in(fenceTimeout, evFence, i, f.gen)
	case way.fails > 0:
		f.proof = false
		w.in(took, evFence, i, f.gen)
	default:
		f.proof = way.lies == 0
		w.post(event{at: w.now + took*3/4, kind: evOff, head: uint8(i), from: uint8(f.target)})
		w.in(took, evFence, i, f.gen)
	}
}

// fencedOff is the device at work, whoever still wants it.
func (w *World) fencedOff(i, j int) {
	w.law.fenced(w, i, j)
	o := &w.heads[j]
	w.powerOff(j, "fenced by "+headNames[i])
	// Somebody switches it on again after a while, unless a fault says otherwise.
	if o.keepOff == 0 {
		w.in(w.rnd.between(1500*time.Millisecond, 2500*time.Millisecond), evBoot, j, o.machineGen)
	}
}

// fenceDone is the device's word to the one who asked.
func (w *World) fenceDone(i int) {
	h := &w.heads[i]
	f := &h.fence
	if !h.running || f.state != failover.FenceRunning {
		return
	}
	if h.stopped || h.paused {
		w.in(20*time.Millisecond, evFence, i, f.gen)
		return
	}
	f.state, f.since = failover.FenceFailed, w.instant(i)
	// Proof is a status that says off, asked for after the switching: a machine that somebody has switched on since gives none.
	if f.proof && w.heads[f.target].power == off {
		f.state = failover.FenceProof
	}
	if w.story != nil {
		w.tell(i, "fencing of %s: %s", headNames[f.target], [...]string{"idle", "running", "proof", "failed"}[f.state])
	}
	w.step(i)
}
