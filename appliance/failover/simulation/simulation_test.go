package simulation

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"masthead/appliance/failover"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run is many schedules on all processors.
type run struct {
	first     uint64
	limit     time.Duration
	most      uint64 // 0: as many as fit in limit
	scenarios []Scenario
}

// tally is what happened in them.
type tally struct {
	schedules, owners, fences, unlucky, steps uint64
	simulated                                 time.Duration
	faults                                    [whats]uint64
	each                                      []uint64 // schedules, by scenario
	last                                      uint64   // seed
	failed                                    []Result
}

func (r run) play(d Decide, workers int) tally {
	var mu sync.Mutex
	all := tally{each: make([]uint64, len(r.scenarios))}
	next := r.first
	begin := time.Now()
	const batch = 64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			p := NewPlayer(d)
			mine := tally{each: make([]uint64, len(r.scenarios))}
			for {
				mu.Lock()
				from := next
				next += batch
				stop := len(all.failed) > 0 || time.Since(begin) > r.limit || r.most > 0 && from-r.first >= r.most
				mu.Unlock()
				if stop {
					break
				}
				for seed := from; seed < from+batch && (r.most == 0 || seed-r.first < r.most); seed++ {
					k := int(seed % uint64(len(r.scenarios)))
					res := p.Play(r.scenarios[k], seed)
					mine.schedules++
					mine.each[k]++
					mine.owners += uint64(res.Owners)
					mine.fences += uint64(res.Fences)
					if res.Unlucky {
						mine.unlucky++
					}
					mine.steps += res.Steps
					mine.simulated += res.Took
					mine.last = max(mine.last, seed)
					for n := range res.Schedule.N {
						mine.faults[res.Schedule.Faults[n].What]++
					}
					if res.Failure.Invariant != "" {
						mu.Lock()
						all.failed = append(all.failed, res)
						mu.Unlock()
						break
					}
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.schedules += mine.schedules
			all.owners += mine.owners
			all.fences += mine.fences
			all.unlucky += mine.unlucky
			all.steps += mine.steps
			all.simulated += mine.simulated
			all.last = max(all.last, mine.last)
			for k := range all.each {
				all.each[k] += mine.each[k]
			}
			for k := range all.faults {
				all.faults[k] += mine.faults[k]
			}
		})
	}
	wg.Wait()
	slices.SortFunc(all.failed, func(a, b Result) int { return int(int64(a.Seed - b.Seed)) })
	return all
}

func (a *tally) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d schedules, %d takeovers and switches, %d machines fenced, %d leases taken by loss, %d decisions, %.0f hours of simulated time",
		a.schedules, a.owners, a.fences, a.unlucky, a.steps, a.simulated.Hours())
	for k, n := range a.faults {
		fmt.Fprintf(&s, "\n  %-24s %d", What(k), n)
	}
	return s.String()
}

// chosen are the scenarios of which the name contains MASTHEAD_SCENARIO; all without it.
func chosen() (out []Scenario) {
	for _, sc := range Scenarios() {
		if strings.Contains(sc.Name, os.Getenv("MASTHEAD_SCENARIO")) {
			out = append(out, sc)
		}
	}
	return out
}

// TestSimulation plays random schedules: the first ones always the same, and some that nobody has seen. MASTHEAD_SEED plays
// one again and tells its story (which scenario it has depends on MASTHEAD_SCENARIO); MASTHEAD_SOAK is how long to go on.
func TestSimulation(t *testing.T) {
	r := run{first: 1, limit: time.Minute, most: 6000, scenarios: chosen()}
	if s := os.Getenv("MASTHEAD_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		replay(t, r.scenarios[seed%uint64(len(r.scenarios))], seed)
		return
	}
	workers := runtime.GOMAXPROCS(0)
	fresh := uint64(time.Now().UnixNano()) &^ (1<<20 - 1)
	if s := os.Getenv("MASTHEAD_SOAK"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		soak(t, run{first: fresh, limit: d, scenarios: r.scenarios}, workers)
		return
	}
	soak(t, r, workers)
	if !t.Failed() {
		soak(t, run{first: fresh, limit: time.Second, scenarios: r.scenarios}, workers)
	}
}

func soak(t *testing.T, r run, workers int) {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // the heap is a few MB
	begin, spent := time.Now(), cpuTime(t)
	all := r.play(failover.Decide, workers)
	took := time.Since(begin).Seconds()
	t.Logf("seeds %d to %d: %.0f schedules/s on %d processors, %.0f in a second of one\n%v", r.first, all.last,
		float64(all.schedules)/took, workers, float64(all.schedules)/(cpuTime(t)-spent).Seconds(), &all)
	for _, f := range all.failed {
		shrunk := NewPlayer(failover.Decide).Shrink(f)
		t.Errorf("%s\nagain: MASTHEAD_SEED=%d MASTHEAD_SCENARIO=%q go test -v -run TestSimulation masthead/appliance/failover/simulation",
			shrunk.Report(), f.Seed, os.Getenv("MASTHEAD_SCENARIO"))
		break
	}
	if len(all.failed) == 0 && all.schedules > 5000 && os.Getenv("MASTHEAD_SCENARIO") == "" {
		for k, n := range all.faults {
			if n == 0 {
				t.Errorf("in %d schedules there was no %q", all.schedules, What(k))
			}
		}
		if all.unlucky > 2+all.schedules/200_000 {
			t.Errorf("loss alone took %d leases in %d schedules", all.unlucky, all.schedules)
		}
		if all.owners == 0 || all.fences == 0 {
			t.Errorf("nothing happened: %v", &all)
		}
	}
}

func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func replay(t *testing.T, sc Scenario, seed uint64) {
	p := NewPlayer(failover.Decide)
	r := p.Tell(sc, seed, ScheduleOf(sc, seed))
	t.Log(r.Report())
	if r.Failure.Invariant != "" {
		t.Errorf("shrunk: %s", p.Shrink(r).Report())
	}
}

// TestReplay is I12: a seed gives the same run, with or without a listener, whatever was played before.
func TestReplay(t *testing.T) {
	a, b := NewPlayer(failover.Decide), NewPlayer(failover.Decide)
	for k, sc := range Scenarios() {
		for seed := uint64(100 * k); seed < uint64(100*k)+8; seed++ {
			got, want := a.Play(sc, seed), b.Tell(sc, seed, ScheduleOf(sc, seed))
			if got.Hash != want.Hash || got.Steps != want.Steps || got.Took != want.Took || got.Failure != want.Failure {
				t.Fatalf("%s, seed %d: %x after %d decisions, then %x after %d", sc.Name, seed, got.Hash, got.Steps, want.Hash, want.Steps)
			}
		}
		b.Play(sc, 7) // leaves another world behind than a has
	}
}

func BenchmarkSchedule(b *testing.B) {
	p := NewPlayer(failover.Decide)
	all := Scenarios()
	seed := uint64(1)
	for b.Loop() {
		p.Play(all[seed%uint64(len(all))], seed)
		seed++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "schedules/s")
}
