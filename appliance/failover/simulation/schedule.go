package simulation

import "time"

const maxFaults = 8

// Schedule is the faults of one run.
type Schedule struct {
	N      int
	Faults [maxFaults]Fault
	// Operator: a person who looks at a blocked cluster confirms what is true.
	Operator bool
}

func (s *Schedule) add(f Fault) {
	if s.N < maxFaults {
		s.Faults[s.N] = f
		s.N++
	}
}

// newSchedule makes the schedule of a seed.
func newSchedule(sc *Scenario, r *source) (s Schedule) {
	s.Operator = r.chance(30)
	if sc.Harmless {
		s.add(harmless(sc, r))
		if f := harmless(sc, r); r.chance(30) && (f.What == SerialCut || f.What == DirectCut) {
			s.add(f) // one of the ways beside what else befalls: the LAN is left
		}
		return s
	}
	switch k := r.below(100); {
	case k < 12: // cold boots: all machines lose power within a moment, and come back in any order, or not
		at := r.between(0, 300*time.Millisecond)
		for a := range sc.Heads {
			f := Fault{What: PowerCut, At: at + r.scale(time.Millisecond, 500*time.Millisecond), For: r.scale(20*time.Millisecond, 4*time.Second), A: a}
			if r.chance(15) {
				f.For = 0
			}
			s.add(f)
		}
		if sc.Witnesses > 0 && r.chance(40) {
			s.add(Fault{What: WitnessDown, At: at, For: r.scale(20*time.Millisecond, 2*time.Second), X: (1 << sc.Witnesses) - 1})
		}
		if r.chance(25) { // into a network that is not there yet
			s.add(Fault{What: AllCut, At: at, For: r.between(time.Second, 5*time.Second), A: 0, B: 1})
		}
		for range r.below(2) {
			s.add(random(sc, r, 2*time.Second))
		}
	case k < 22: // a stale master: the owner goes, the other takes over and goes too, the first comes back
		a, b := 0, 1
		at := r.between(0, 300*time.Millisecond)
		s.add(Fault{What: PowerCut, At: at, For: r.between(1500*time.Millisecond, 3500*time.Millisecond), A: a})
		f := Fault{What: PowerCut, At: at + r.between(time.Second, 3*time.Second), For: r.scale(100*time.Millisecond, 4*time.Second), A: b}
		if r.chance(30) {
			f.What = AllCut
			f.A, f.B = a, b
		}
		s.add(f)
		for range r.below(3) {
			s.add(random(sc, r, 3*time.Second))
		}
	case k < 26 && sc.Fencing: // a parted pair, and devices that do not do what they are asked
		at := r.between(0, 300*time.Millisecond)
		s.add(Fault{What: AllCut, At: at, For: r.scale(300*time.Millisecond, 4*time.Second), A: 0, B: 1})
		for a := range sc.Heads {
			if r.chance(70) {
				s.add(Fault{What: FenceHangs + What(r.below(3)), At: at, For: r.scale(time.Second, 5*time.Second), A: a})
			}
		}
		for range r.below(2) {
			s.add(random(sc, r, 2*time.Second))
		}
	default:
		n := 1
		for n < 5 && r.chance(55) {
			n++
		}
		for range n {
			s.add(random(sc, r, 1500*time.Millisecond))
		}
	}
	return s
}

// random is any fault.
func random(sc *Scenario, r *source, within time.Duration) Fault {
	for {
		f := Fault{What: What(r.below(int(whats))), At: r.between(0, within), For: r.scale(20*time.Millisecond, 2500*time.Millisecond)}
		f.A = r.below(sc.Heads)
		if r.chance(40) {
			f.A = 0 // the owner, more often than not
		}
		f.B = (f.A + 1 + r.below(sc.Heads-1)) % sc.Heads
		switch f.What {
		case PowerCut:
			if r.chance(40) {
				f.For = 0
			}
		case Panic, Killed, Quit:
			f.X = int(r.scale(30*time.Millisecond, time.Second) / time.Millisecond)
		case Storm:
			f.X = 2 + r.below(5)
		case Stopped:
			f.For = [...]time.Duration{200, 200, 1000, 1000, 1000, 0, 0, 10_000}[r.below(8)] * time.Millisecond
			if f.For == 0 {
				f.For = r.scale(50*time.Millisecond, 3*time.Second)
			} else if f.For > 5*time.Second && r.chance(80) {
				f.For = r.scale(50*time.Millisecond, 3*time.Second)
			} else if f.For > 5*time.Second && r.chance(15) {
				f.For = 60 * time.Second
			}
		case Starved:
			f.X = 20 << r.below(5)
		case LANCut, DirectCut:
			f.X = r.below(4)
		case SerialCut:
			f.X = r.below(3)
		case Parted:
			f.X = 1 + r.below(1<<nodes-2)
		case AllCut:
			f.X = r.below(3) / 2
		case Flapping:
			f.X = 20 << r.below(6)
		case Lossy, DirectLossy, SerialLossy:
			f.X = [...]int{1, 10, 30, 30}[r.below(4)]
			if r.chance(30) {
				f.A = -1
			}
		case Delayed:
			f.X = 5 << r.below(7)
		case DiskSlow:
			f.X = 50 << r.below(6)
		case WitnessDown, WitnessMute:
			if sc.Witnesses == 0 {
				continue
			}
			f.X = 1 + r.below(1<<sc.Witnesses-1)
			if r.chance(40) {
				f.X = 1<<sc.Witnesses - 1 // together
			}
		case ServicesSlow:
			f.X = 50 << r.below(7)
		case ConnectFails:
			f.For = r.between(2*time.Second, 8*time.Second) // a machine boots meanwhile
		case StopFails, StartFails:
			f.For = r.between(500*time.Millisecond, 3*time.Second)
		}
		if !sc.has(f.What) {
			continue
		}
		return f
	}
}

// has says whether a fault means anything in the scenario.
func (sc *Scenario) has(w What) bool {
	switch w {
	case DirectCut, DirectLossy:
		return sc.Direct
	case SerialCut, SerialLossy:
		return sc.Serial
	case FenceHangs, FenceFails, FenceLies:
		return sc.Fencing
	case WitnessDown, WitnessMute:
		return sc.Witnesses > 0
	case ConnectFails:
		return sc.Data
	}
	return true
}

// harmless is a fault that leaves the owner, head 0, healthy and able to say so.
func harmless(sc *Scenario, r *source) Fault {
	for {
		f := Fault{At: r.between(0, time.Second), For: r.scale(50*time.Millisecond, 2*time.Second), A: 1 + r.below(sc.Heads-1), B: 0}
		switch r.below(10) {
		case 0:
			f.What = PowerCut
		case 1:
			f.What = SerialCut
			f.X = r.below(3)
		case 2:
			f.What = DirectCut
			f.X = r.below(4)
		case 3:
			f.What, f.A = Lossy, -1
			f.X = []int{1, 5, 10}[r.below(3)]
		case 4:
			f.What, f.X = Killed, int(r.scale(30*time.Millisecond, time.Second)/time.Millisecond)
		case 5:
			f.What = Stopped
		case 6:
			f.What = Pause
		case 7:
			f.What = WitnessDown
			f.X = 1 << r.below(max(sc.Witnesses, 1))
		case 8:
			f.What, f.A = SerialLossy, 0
			f.X = 10 + r.below(60)
		case 9:
			f.What, f.A, f.X = DirectLossy, 0, 10+r.below(60)
		}
		if !sc.has(f.What) {
			continue
		}
		return f
	}
}
