package simulation

import (
	"time"

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
}

// wish begins to start or to stop what is to run or not.
func (w *World) wish(i int, wish failover.Wish) {
	h := &w.heads[i]
	s := &h.services
	switch {
	case wish == failover.Run && s.state == failover.ServicesStopped:
		s.state = failover.ServicesStarting
		w.primary(i)
		w.later(i, w.rnd.between(5*time.Millisecond, 120*time.Millisecond))
		w.servicesChanged(i)
	case wish == failover.Stop && (s.state == failover.ServicesStarted || s.state == failover.ServicesStarting || s.state == failover.ServicesFailed):
		s.state = failover.ServicesStopping
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
		s.state = failover.ServicesStarted
		if t.broken > 0 {
			s.state = failover.ServicesFailed
		}
	case failover.ServicesStopping:
		s.state = failover.ServicesStopped
		if t.stuck > 0 {
			s.state = failover.ServicesStopFailed
		} else {
			w.secondary(i)
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
