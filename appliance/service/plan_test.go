package service

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"masthead/appliance/failover"
)

var errTest = errors.New("exit code 1")

// machine is what a plan acts on in tests: every resource runs or does not, and operations end when the test says so. It
// checks each operation that begins.
type machine struct {
	t        *rapid.T
	plan     plan
	now      failover.Instant
	truth    map[string]bool   // by identity: it runs
	believed map[string]uint64 // the epoch under which the plan was told that it runs; absent: it was told that it does not
	flight   []action
	cut      map[*part]bool
	services []Service
}

func (m *machine) configure(services []Service) {
	m.services = services
	m.plan.configure(services, func(Service) (string, bool) { return "", true })
	for _, e := range m.plan.entries {
		if e.wish == "" {
			m.plan.wish(e, Enabled)
		}
	}
}

func (m *machine) id(a action) string { return a.entry.service.Resources[a.part].identity() }

func (m *machine) inFlight(id string, ops ...op) bool {
	return slices.ContainsFunc(m.flight, func(a action) bool {
		return m.id(a) == id && (len(ops) == 0 || slices.Contains(ops, a.op))
	})
}

func (m *machine) upNow(r Resource) bool {
	epoch, ok := m.believed[r.identity()]
	return ok && epoch == m.plan.epoch && !m.inFlight(r.identity(), start, stop)
}

func (m *machine) downNow(r Resource) bool {
	_, ok := m.believed[r.identity()]
	return !ok && !m.inFlight(r.identity())
}

// turn begins what the plan says, and checks it.
func (m *machine) turn() {
	for _, a := range m.plan.next(m.now) {
		s, id := a.entry.service, m.id(a)
		if m.inFlight(id) {
			m.t.Fatalf("%s of %s begins while another operation of it is under way", a.op, id)
		}
		switch a.op {
		case start:
			if m.plan.want != failover.Run || a.entry.wish != Enabled || a.entry.retired {
				m.t.Fatalf("%s starts and is not to run", id)
			}
			for i, r := range s.Resources {
				if i < a.part && !m.upNow(r) {
					m.t.Fatalf("%s starts before %s %s\n%v", id, r.identity(), m.describe(), m.believed)
				}
				if i > a.part && !m.downNow(r) {
					m.t.Fatalf("%s starts while %s, which is after it, runs", id, r.identity())
				}
			}
			for _, name := range s.After {
				for _, r := range m.plan.find(name).service.Resources {
					if !m.upNow(r) {
						m.t.Fatalf("%s starts before %s of service %s", id, r.identity(), name)
					}
				}
			}
		case stop:
			for i, r := range s.Resources {
				if i > a.part && !m.downNow(r) {
					m.t.Fatalf("%s stops before %s", id, r.identity())
				}
			}
			for _, e := range m.plan.entries {
				if e != a.entry && slices.Contains(e.service.After, s.Name) {
					for _, r := range e.service.Resources {
						if !m.downNow(r) {
							m.t.Fatalf("%s stops before %s of service %s", id, r.identity(), e.service.Name)
						}
					}
				}
			}
		}
		m.flight = append(m.flight, a)
	}
	for _, a := range m.plan.breakOff(m.now) {
		m.cut[&a.entry.parts[a.part]] = true
	}
}

// end ends the operation i; well: as it should.
func (m *machine) end(i int, well bool, chance func(string) bool) {
	a := m.flight[i]
	m.flight = slices.Delete(m.flight, i, i+1)
	id, p := m.id(a), &a.entry.parts[a.part]
	r := result{cut: m.cut[p]}
	delete(m.cut, p)
	switch a.op {
	case check:
		switch {
		case r.cut, !well && chance("check fails"):
			r.verdict, r.err = bad, errTest
		case m.truth[id]:
			r.verdict = up
		default:
			r.verdict, r.err = down, errTest
		}
		if !r.cut {
			switch {
			case r.verdict == up && p.condition == unknown:
				m.believed[id] = p.epoch // as restored, or none: what is not adopted is stopped
			case r.verdict == down && p.condition == unknown:
				delete(m.believed, id)
			case r.verdict == bad && p.condition == unknown:
				m.believed[id] = 0
			}
		}
	case start:
		switch {
		case !r.cut && (well || chance("start works")):
			m.truth[id], m.believed[id] = true, p.epoch
		case chance("start does nothing"):
			r.err, r.clean = errTest, !r.cut
			if r.cut {
				m.believed[id] = 0
			}
		default:
			r.err, m.truth[id], m.believed[id] = errTest, chance("half started"), 0
		}
	case stop:
		if well || !chance("stop fails") {
			m.truth[id] = false
			delete(m.believed, id)
		} else {
			r.err = errTest
		}
	}
	m.plan.ended(a, r, m.now)
}

// settle lets everything end well until nothing happens any more.
func (m *machine) settle() {
	for range 10_000 {
		m.turn()
		if len(m.flight) > 0 {
			m.end(0, true, func(string) bool { return false })
			continue
		}
		if m.quiet() {
			return
		}
		at, ok := m.plan.wake(m.now)
		if !ok {
			m.t.Fatalf("nothing happens any more: %s", m.describe())
		}
		m.now = at
	}
	m.t.Fatalf("does not come to rest: %s", m.describe())
}

// quiet: what is wanted is so.
func (m *machine) quiet() bool {
	if m.plan.want == failover.Stop {
		return m.plan.services(m.now) == failover.ServicesStopped
	}
	ready := m.plan.ready()
	return m.plan.settled && !slices.ContainsFunc(m.plan.entries, func(e *entry) bool {
		return e.retired || ready[e] && !e.runs() || !ready[e] && !e.down()
	})
}

func (m *machine) describe() (s string) {
	for _, e := range m.plan.entries {
		s += fmt.Sprintf("\n%s after %v retired %v wish %s failed %q pause %v:", e.service.Name, e.service.After, e.retired, e.wish, e.failed, e.pause)
		for i := range e.parts {
			p := &e.parts[i]
			s += fmt.Sprintf(" [%s condition %d busy %v ours %v epoch %d due %v]", e.service.Resources[i].identity(), p.condition, p.busy, p.ours, p.epoch, p.due)
		}
	}
	return fmt.Sprintf("now %v want %v epoch %d%s", m.now, m.plan.want, m.plan.epoch, s)
}

func drawServices(t *rapid.T) []Service {
	n := rapid.IntRange(1, 5).Draw(t, "services")
	order := rapid.Permutation([]int{0, 1, 2, 3, 4}[:n]).Draw(t, "order") // so that reloads turn edges round
	services := make([]Service, n)
	for at, i := range order {
		s := Service{Name: fmt.Sprintf("s%d", i), Recovery: rapid.SampledFrom([]string{"", Relocate, Disable}).Draw(t, "recovery"), MaxRestarts: rapid.IntRange(-1, 2).Draw(t, "max")}
		for j := range rapid.IntRange(1, 3).Draw(t, "resources") {
			s.Resources = append(s.Resources, Resource{Unit: &Unit{Name: fmt.Sprintf("u%d-%d", i, j+rapid.IntRange(0, 1).Draw(t, "which"))}})
		}
		s.Resources = slices.CompactFunc(s.Resources, func(a, b Resource) bool { return a.identity() == b.identity() })
		for _, d := range order[:at] {
			if rapid.Bool().Draw(t, "after") {
				s.After = append(s.After, fmt.Sprintf("s%d", d))
			}
		}
		services[at] = s
	}
	return services
}

// TestPlan has a plan live through random wishes, results, crashes and reloads: resources start in order and stop in
// reverse, no two operations of one are ever under way, and in the end what is wished is so (I9).
func TestPlan(t *testing.T) {
	// rapid's own hundred is too few for what needs four wishes and a reload in the right order; this is a second.
	for i := range 40 {
		if ok := t.Run(fmt.Sprint(i), func(t *testing.T) { rapid.Check(t, livePlan) }); !ok {
			break
		}
	}
}

func livePlan(t *rapid.T) {
	m := &machine{t: t, truth: map[string]bool{}, believed: map[string]uint64{}, cut: map[*part]bool{}, now: time.Second}
	chance := func(what string) bool { return rapid.Bool().Draw(t, what) }
	first := drawServices(t)
	if err := Validate(first, nil, nil); err != nil {
		t.Fatal(err)
	}
	var old record
	for _, s := range first {
		epochs := map[string]uint64{}
		for _, r := range s.Resources {
			m.truth[r.identity()] = chance("runs before")
			if m.truth[r.identity()] {
				m.believed[r.identity()] = 0
			}
			if chance("was started by us") {
				epochs[r.Label()] = 1
				m.believed[r.identity()] = 1
			}
		}
		if len(epochs) > 0 && chance("is recorded") {
			old.Services = append(old.Services, recorded{Service: s, Epochs: epochs})
		}
	}
	m.plan.restore(old, func(time.Time) failover.Instant { return 0 })
	if chance("changed meanwhile") {
		first = drawServices(t)
	}
	m.configure(first)
	epoch := uint64(1)
	t.Repeat(map[string]func(*rapid.T){
		"": func(*rapid.T) { m.turn() },
		"run": func(*rapid.T) {
			before := m.plan.epoch
			kept := m.plan.asked && m.plan.want == failover.Run
			epoch += uint64(rapid.IntRange(0, 1).Draw(t, "later"))
			m.plan.set(failover.Run, epoch)
			if kept {
				for id, e := range m.believed {
					if e == before {
						m.believed[id] = epoch
					}
				}
			}
		},
		"stop": func(*rapid.T) { m.plan.set(failover.Stop, epoch) },
		"wish": func(*rapid.T) {
			e := rapid.SampledFrom(m.plan.entries).Draw(t, "service")
			m.plan.wish(e, rapid.SampledFrom([]string{Enabled, Disabled, Stopped}).Draw(t, "wish"))
		},
		"end": func(*rapid.T) {
			if len(m.flight) > 0 {
				m.end(rapid.IntRange(0, len(m.flight)-1).Draw(t, "operation"), chance("well"), chance)
			}
		},
		"time": func(*rapid.T) {
			m.now += time.Duration(rapid.IntRange(1, 20_000).Draw(t, "ms")) * time.Millisecond
		},
		"crash": func(*rapid.T) {
			if len(m.truth) > 0 {
				id := rapid.SampledFrom(sortedKeys(m.truth)).Draw(t, "resource")
				if !m.inFlight(id) {
					m.truth[id] = false
				}
			}
		},
		"reload": func(*rapid.T) {
			if chance("other") {
				m.configure(drawServices(t))
			} else {
				m.configure(m.services)
			}
		},
	})
	m.plan.set(failover.Stop, epoch)
	m.settle()
	for id, runs := range m.truth {
		configured := slices.ContainsFunc(m.plan.entries, func(e *entry) bool {
			return slices.ContainsFunc(e.service.Resources, func(r Resource) bool { return r.identity() == id })
		})
		if runs && configured {
			t.Fatalf("%s was left running: %s", id, m.describe())
		}
	}
	for _, e := range m.plan.entries {
		m.plan.wish(e, Enabled)
	}
	m.plan.set(failover.Run, epoch+1)
	m.settle()
	for _, e := range m.plan.entries {
		if !e.runs() {
			t.Fatalf("%s does not run: %s", e.service.Name, m.describe())
		}
	}
	if got, want := m.plan.services(m.now), failover.ServicesStarted; got != want {
		t.Fatalf("services are %v, want %v", got, want)
	}
}

func sortedKeys(m map[string]bool) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}
