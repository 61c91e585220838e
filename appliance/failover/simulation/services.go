package simulation

import (
	"time"

	"masthead/appliance/data"
	"masthead/appliance/failover"
)

// services are the ordered services of a head with its data, as one thing that takes time to start and to stop.
type services struct {
	state  failover.Services
	gen    uint32
	ends   time.Duration
	broken int // faults: they do not start
	stuck  int // they do not stop
	slow   time.Duration
	dirty  bool // they have written what is not on the disk yet
}

// wish begins to start or to stop what is to run or not.
func (w *World) wish(i int, wish failover.Wish) {
	h := &w.heads[i]
	s := &h.services
	switch {
	case wish == failover.Run && s.state == failover.ServicesStopped:
		s.state = failover.ServicesStarting
		w.wantCopy(i, data.WantPrimary)
		w.later(i, w.rnd.between(5*time.Millisecond, 120*time.Millisecond))
		w.servicesChanged(i)
	case wish == failover.Stop && (s.state == failover.ServicesStarted || s.state == failover.ServicesStarting || s.state == failover.ServicesFailed):
		s.state, s.dirty = failover.ServicesStopping, w.rnd.chance(50)
		w.later(i, w.rnd.between(5*time.Millisecond, 80*time.Millisecond))
	}
}

func (w *World) later(i int, d time.Duration) {
	h := &w.heads[i]
	s := &h.services
	s.gen++
	d += w.trouble(i).slow
	s.ends = w.now + d
	w.in(d, evServices, i, s.gen)
}

// resumeServices gives what a pause held up its time anew.
func (w *World) resumeServices(i int) {
	s := &w.heads[i].services
	if s.state == failover.ServicesStarting || s.state == failover.ServicesStopping {
		w.later(i, 20*time.Millisecond)
	}
}

func (w *World) servicesDone(i int) {
	h := &w.heads[i]
	s := &h.services
	if h.paused || h.power != up {
		return
	}
	t := w.trouble(i)
	switch s.state {
	case failover.ServicesStarting:
		if !w.wantCopy(i, data.WantPrimary) {
			w.in(15*time.Millisecond, evServices, i, s.gen)
			return
		}
		s.state = failover.ServicesStarted
		if t.broken > 0 {
			s.state = failover.ServicesFailed
		}
	case failover.ServicesStopping:
		if w.hangs(i) && w.now-s.ends < stopTimeout {
			w.in(15*time.Millisecond, evServices, i, s.gen)
			return
		}
		if t.stuck > 0 || w.hangs(i) {
			s.state = failover.ServicesStopFailed
		} else if !w.wantCopy(i, data.WantSecondary) {
			w.in(15*time.Millisecond, evServices, i, s.gen)
			return
		} else {
			s.state = failover.ServicesStopped
		}
	default:
		return
	}
	if w.story != nil {
		w.tell(i, "services %v", s.state)
	}
	if h.thinks() {
		w.step(i)
	}
}

// stopTimeout is after how long a stop that hangs has failed.
const stopTimeout = 1500 * time.Millisecond

// hangs: what is not on the disk yet cannot be written while the data is frozen, so it cannot be unmounted.
func (w *World) hangs(i int) bool {
	return w.hasCopy(i) && w.data.side[i].copy.Suspended == frozen && w.heads[i].services.dirty
}

// wantCopy has the copy written to, or not any more, and reports whether that is so.
func (w *World) wantCopy(i int, want data.Want) bool {
	if !w.hasCopy(i) {
		return true
	}
	s, h := &w.data.side[i], &w.heads[i]
	// As the daemon knows it: what came before the change of the role it knows then, too.
	is, seen := s.copy.Role == primary, s.keeper.look.Copy.Role == primary
	if is == (want == data.WantPrimary) && !s.keeper.busy && (seen == is || !s.keeper.ready) {
		if h.thinks() {
			s.keeper.look.Want = want
		}
		return true
	}
	if h.thinks() {
		s.keeper.look.Want = want
		w.answerAsk(i)
		w.keep(i)
	}
	return false
}

// trouble is what the faults do to the services of a head.
func (w *World) trouble(i int) (s services) {
	for k := range w.schedule.N {
		f := &w.schedule.Faults[k]
		if !w.on[k] || f.A != i {
			continue
		}
		switch f.What {
		case StartFails:
			s.broken++
		case StopFails:
			s.stuck++
		case ServicesSlow:
			s.slow = time.Duration(f.X) * time.Millisecond
		}
	}
	return s
}
