package simulation

import "time"

// fault begins one.
func (w *World) fault(k int) {
	f := &w.schedule.Faults[k]
	w.left--
	w.started++
	w.healed = w.now
	if w.story != nil {
		w.tell(-1, "FAULT %v", *f)
	}
	if !f.What.momentary() {
		w.on[k] = true
		if f.For > 0 {
			w.left++
			w.post(event{at: w.now + f.For, kind: evHeal, x: int64(k)})
		}
	}
	w.shape()
	i := max(f.A, 0)
	h := &w.heads[i]
	moment := time.Duration(f.X) * time.Millisecond
	switch f.What {
	case PowerCut:
		h.keepOff++
		w.powerOff(i, "power cut")
	case Reset:
		w.reset(i, "reset")
	case Panic:
		if h.power == up {
			w.tearDown(i)
			h.power = hung
			w.left++
			w.post(event{at: w.now + moment, kind: evHeal, x: int64(k)})
		}
	case Pause:
		w.pause(i)
	case Stopped:
		w.stop(i)
	case Killed:
		w.kill(i, moment)
	case Storm:
		w.left++
		w.post(event{at: w.now, kind: evStorm, head: uint8(i), x: int64(f.X)})
	case Starved:
		h.starved, h.troubled = moment, w.now
	case Quit:
		if h.running {
			h.quit, h.quitFor = true, moment
			h.view.Self.Stopping = true
		}
	case Flapping:
		w.post(event{at: w.now, kind: evFlap, x: int64(k)})
	case DiskFull:
		h.disk.full++
	case DiskSlow:
		h.disk.slow = moment
	case DiskUnread:
		h.disk.unread++
	case FenceHangs:
		h.fenceWay.hangs++
	case FenceFails:
		h.fenceWay.fails++
	case FenceLies:
		h.fenceWay.lies++
	case WitnessDown:
		for n := range w.sc.Witnesses {
			if f.X>>n&1 == 1 {
				w.wits[n].down++
			}
		}
	case Foreign:
		w.foreign = true
	case Unhealthy:
		h.unhealthy++
	case Switch:
		if h.thinks() && h.open(w.now) {
			h.operator.Switch = "*"
			w.in(0, evPoke, i, h.loopGen)
		}
	}
}

// heal ends one.
func (w *World) heal(k int) {
	f := &w.schedule.Faults[k]
	w.left--
	w.healed = w.now
	w.on[k] = false
	if w.story != nil {
		w.tell(-1, "healed: %v", *f)
	}
	w.shape()
	i := max(f.A, 0)
	h := &w.heads[i]
	switch f.What {
	case PowerCut:
		h.keepOff--
		w.powerOn(i)
	case Panic:
		if h.power == hung {
			h.power = off
			w.powerOn(i)
		}
	case Pause:
		if !w.still(Pause, i) {
			w.resume(i)
		}
	case Stopped:
		if !w.still(Stopped, i) {
			w.goOn(i)
		}
	case Starved:
		h.starved, h.troubled = 0, w.now
	case DiskFull:
		h.disk.full--
	case DiskSlow:
		h.disk.slow = 0
		h.troubled = w.now
	case DiskUnread:
		h.disk.unread--
	case FenceHangs:
		h.fenceWay.hangs--
	case FenceFails:
		h.fenceWay.fails--
	case FenceLies:
		h.fenceWay.lies--
	case WitnessDown:
		for n := range w.sc.Witnesses {
			if v := &w.wits[n]; f.X>>n&1 == 1 {
				v.down--
				if v.down == 0 {
					*v = w.newVoter(w.rnd.next()|1, w.now)
				}
			}
		}
	case Foreign:
		w.foreign = w.still(Foreign, -1)
	case Unhealthy:
		h.unhealthy--
	}
}

// still says whether another fault of the kind is on, of that head or (-1) at all.
func (w *World) still(what What, i int) bool {
	for k := range w.schedule.N {
		if f := &w.schedule.Faults[k]; w.on[k] && f.What == what && (i < 0 || f.A == i) {
			return true
		}
	}
	return false
}

// kill ends the daemon, which is restarted after a moment.
func (w *World) kill(i int, after time.Duration) {
	h := &w.heads[i]
	if h.power != up || !h.running {
		return
	}
	w.killDaemon(i)
	w.in(max(after, 10*time.Millisecond), evStart, i, h.daemonGen)
	w.healed = max(w.healed, w.now+after)
}

// storm kills it again and again, a moment after each start.
func (w *World) storm(e *event) {
	w.healed = w.now
	w.kill(int(e.head), 30*time.Millisecond)
	if e.x--; e.x <= 0 {
		w.left--
		return
	}
	e.at += w.rnd.scale(40*time.Millisecond, 600*time.Millisecond)
	w.post(*e)
}

func (w *World) flap(k int) {
	if !w.on[k] {
		return
	}
	w.flapped[k] = !w.flapped[k]
	w.shape()
	w.healed = w.now
	x := time.Duration(w.schedule.Faults[k].X) * time.Millisecond
	w.post(event{at: w.now + w.rnd.between(x/2, x*2), kind: evFlap, x: int64(k)})
}

// quit is the end of a daemon that was asked to end in order.
func (w *World) quit(i int) {
	h := &w.heads[i]
	after := h.quitFor
	h.quit = false
	w.kill(i, after)
}
