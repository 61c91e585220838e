package simulation

import (
	"fmt"
	"time"

	"masthead/appliance/failover"
)

// Player plays runs, one at a time. It keeps a cluster with an owner for each scenario, which is where schedules begin.
type Player struct {
	decide Decide
	ready  []prepared
	world  World
}

type prepared struct {
	sc    Scenario
	world *World
}

// NewPlayer plays with that Decide.
func NewPlayer(d Decide) *Player { return &Player{decide: d} }

// Result is how a run ended.
type Result struct {
	Scenario Scenario
	Seed     uint64
	Schedule Schedule
	Failure  Failure
	Took     time.Duration // of simulated time
	Steps    uint64        // decisions
	Hash     uint64        // of all events: two runs of one seed have the same
	Owners   int           // takeovers: epochs that acted beyond the first
	Fences   int
	Unlucky  bool          // of a scenario in which the owner is to stay: loss alone took its lease
	Owner    int           // place of the last one that acted in headNames
	Moved    time.Duration // from the last fault to the gate of the last new owner
	Story    string
}

// ScheduleOf is the schedule of a seed.
func ScheduleOf(sc Scenario, seed uint64) Schedule {
	r := source{seed}
	return newSchedule(&sc, &r)
}

// Play plays the schedule of a seed.
func (p *Player) Play(sc Scenario, seed uint64) Result {
	return p.play(sc, seed, ScheduleOf(sc, seed), nil)
}

// Tell plays a schedule again, and tells its story.
func (p *Player) Tell(sc Scenario, seed uint64, s Schedule) Result {
	return p.play(sc, seed, s, &story{})
}

func (p *Player) play(sc Scenario, seed uint64, s Schedule, st *story) Result {
	from, failure := p.prepare(sc)
	if failure.Invariant != "" {
		return Result{Scenario: sc, Seed: seed, Schedule: s, Failure: failure, Story: from.story.String()}
	}
	w := &p.world
	*w = *from
	w.decide, w.story = p.decide, st
	w.rnd = source{seed ^ 0x5851f42d4c957f2d}
	w.schedule = s
	w.begin = w.now
	w.healed, w.law.power, w.law.fineAt = w.now, w.now, -1
	w.left = s.N
	w.law.first = w.heads[0].disk.record.Epoch
	for i := range sc.Heads {
		h := &w.heads[i]
		w.relink(i)
		h.mono, h.since = h.machineTime(w.now), w.now
		h.drift = time.Duration(w.rnd.below(401) - 200)
		h.dog = w.rnd.chance(70)
	}
	for k := range s.N {
		w.post(event{at: w.begin + s.Faults[k].At, kind: evFault, x: int64(k)})
	}
	w.play(w.begin + 10*time.Minute)
	if !w.done {
		w.fail("I5", "the run does not end")
	}
	r := Result{
		Scenario: sc, Seed: seed, Schedule: s, Failure: w.failure, Took: w.now - w.begin, Steps: w.steps, Hash: w.hash,
		Owners: w.law.owners, Fences: w.law.fences, Unlucky: w.law.taken, Moved: w.law.moved, Owner: w.law.acting.Head(),
	}
	if st != nil {
		r.Story = st.String()
	}
	return r
}

// prepare boots a cluster and waits for its owner. Mutants begin with the schedule: in their place it is Decide that boots.
func (p *Player) prepare(sc Scenario) (*World, Failure) {
	for _, r := range p.ready {
		if r.sc == sc {
			return r.world, Failure{}
		}
	}
	w := &World{sc: sc, policy: sc.policy(), decide: failover.Decide, rnd: source{uint64(len(sc.Name)) << 32}, story: &story{}, hash: 0xcbf29ce484222325}
	w.now = time.Hour // nothing is at zero
	w.begin = w.now
	w.law = law{ownerAt: -1, fineAt: -1, blockAt: -1, holding: -1}
	w.data = replica{apart: -1, joining: -1}
	for i := range w.data.side {
		w.data.side[i].content, w.data.side[i].disk = 1, upToDate
	}
	w.data.stints = 1
	w.raft.owner = -1
	for i := range w.raft.node {
		w.raft.node[i].owner = -1
	}
	w.left = 1 // the schedule is to come
	for k := range w.wits {
		w.wits[k] = w.newVoter(uint64(1000+k), w.now)
	}
	w.shape()
	for i := range sc.Heads {
		w.powerOn(i)
	}
	if sc.Data {
		w.post(event{at: w.now, kind: evData})
	}
	harmless := sc.Harmless
	w.sc.Harmless = false
	w.post(event{at: w.now, kind: evCheck})
	calm := 500 * time.Millisecond
	if sc.Data {
		calm = 5 * time.Second // until the witnesses are attested: see data.Attested
	}
	for !w.done && w.now < w.begin+15*time.Second {
		w.play(w.now + 100*time.Millisecond)
		if w.law.fineAt >= 0 && w.now-w.law.fineAt > calm {
			break
		}
	}
	if w.failure.Invariant == "" && w.law.fineAt < 0 {
		w.failure = Failure{Invariant: "I5", Text: "a cluster that boots without any fault gets no owner"}
	}
	if w.failure.Invariant == "" && !w.heads[0].open(w.now) {
		w.failure = Failure{Invariant: "I5", Text: "the owner of a new cluster is not its first head"}
	}
	if w.failure.Invariant != "" {
		return w, w.failure
	}
	w.sc.Harmless = harmless
	w.story, w.steps, w.lost = nil, 0, 0
	w.law.power = w.now
	w.law.acting = w.heads[0].gateEpoch
	w.law.owners = 0
	p.ready = append(p.ready, prepared{sc, w})
	return w, Failure{}
}

// Shrink looks for fewer and milder faults with which the same promise is broken.
func (p *Player) Shrink(r Result) Result {
	best := r
	try := func(s Schedule) bool {
		again := p.play(r.Scenario, r.Seed, s, nil)
		if again.Failure.Invariant != r.Failure.Invariant {
			return false
		}
		best = again
		return true
	}
	for changed := true; changed; {
		changed = false
		for k := 0; k < best.Schedule.N; k++ {
			s := best.Schedule
			copy(s.Faults[k:], s.Faults[k+1:s.N])
			s.N--
			s.Faults[s.N] = Fault{}
			if try(s) {
				changed = true
				k--
			}
		}
		if s := best.Schedule; s.Operator {
			s.Operator = false
			changed = try(s) || changed
		}
		for k := range best.Schedule.N {
			for _, milder := range [...]func(*Fault){
				func(f *Fault) { f.For = f.For.Truncate(time.Second) },
				func(f *Fault) { f.For = f.For.Truncate(100 * time.Millisecond) },
				func(f *Fault) { f.For /= 2 },
				func(f *Fault) { f.At = f.At.Truncate(100 * time.Millisecond) },
				func(f *Fault) { f.At = 0 },
				func(f *Fault) { f.X /= 2 },
			} {
				s := best.Schedule
				f := &s.Faults[k]
				was := *f
				milder(f)
				if *f == was || was.For != 0 && f.For < 10*time.Millisecond || was.X != 0 && f.X == 0 {
					continue
				}
				changed = try(s) || changed
			}
		}
	}
	return p.play(best.Scenario, best.Seed, best.Schedule, &story{})
}

// Report is what a person needs to understand a failure, and to see it again.
func (r Result) Report() string {
	s := fmt.Sprintf("%s: %s, after %s of schedule (%s, seed %d)\n", r.Failure.Invariant, r.Failure.Text, seconds(r.Failure.At), r.Scenario.Name, r.Seed)
	for k := range r.Schedule.N {
		s += fmt.Sprintf("  fault: %v\n", r.Schedule.Faults[k])
	}
	if r.Schedule.Operator {
		s += "  with an operator who confirms what is true\n"
	}
	return s + r.Story
}
