package gossip

import (
	"context"
	"errors"
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
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/state"
)

// attempt is one write that was tried.
type attempt struct {
	head, key, value string // no value: a deletion
	ack              state.Ack
	err              error
	answered         bool // ack or err is what the writer was told; else nobody knows
	mayBeLost        bool // only a head that was ejected had it
}

func (a *attempt) String() string {
	return fmt.Sprintf("%s: %s=%q version %v degraded %q err %v", a.head, a.key, a.value, a.ack.Version, a.ack.Degraded, a.err)
}

// pair is two writes of one key that did not know of one another.
type pair struct{ a, b *attempt }

// run plays a schedule and keeps the books.
type run struct {
	*cluster
	s    schedule
	over time.Time
	// limit is how long after the last fault all are equal.
	limit time.Duration

	mu       sync.Mutex
	attempts []*attempt
	pairs    []pair
	seen     map[string]int // what happened, and how often

	writers  sync.WaitGroup // writes and timed ends of faults
	settled  bool           // all heads were equal after the last reset
	wrongs   sync.Mutex     // over problems
	problems []string
	clockEnd map[string]int
}

// happened counts.
func (r *run) happened(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[what]++
}

// later does something after a while, unless the schedule is over by then.
func (r *run) later(d time.Duration, f func()) {
	r.writers.Go(func() {
		time.Sleep(min(d, time.Until(r.over)))
		f()
	})
}

// write has a head write or delete a key; it blocks as long as the head does.
func (r *run) write(head, key, value string) *attempt {
	a := &attempt{head: head, key: key, value: value}
	inc := r.at(head)
	if inc == nil || !r.configured(head) || !inc.db.Summary().Complete {
		return nil
	}
	r.mu.Lock()
	r.attempts = append(r.attempts, a)
	r.mu.Unlock()
	r.finish(a, func() (state.Ack, error) {
		return inc.r.Apply(context.Background(), state.Origin{Who: "sim", Where: head}, a.op(r.t))
	}, inc)
	return a
}

func (a *attempt) op(t testing.TB) state.Op {
	if a.value == "" {
		return state.Delete(state.KindNode, a.key)
	}
	return put(t, state.KindNode, a.key, a.value)
}

// finish does a write and notes its answer, which does not come out of a machine that went off meanwhile.
func (r *run) finish(a *attempt, do func() (state.Ack, error), inc *incarnation) {
	ack, err := do()
	r.mu.Lock()
	defer r.mu.Unlock()
	a.ack, a.err = ack, err
	a.answered = !inc.off.Load()
	switch {
	case !a.answered:
		r.seen["unanswered"]++
	case errors.Is(err, state.ErrClockAhead):
		r.seen["refused for the clock"]++
	case err != nil:
		r.seen["failed"]++
	case ack.Degraded != "":
		r.seen["degraded"]++
	default:
		r.seen["acknowledged"]++
	}
}

func (r *run) do(i int, st step) {
	value := fmt.Sprintf("%d-%s", i, st.A)
	switch st.What {
	case "write":
		r.writers.Go(func() { r.write(st.A, st.Key, value) })
	case "delete":
		r.happened("deleted")
		r.writers.Go(func() { r.write(st.A, st.Key, "") })
	case "remote":
		r.writers.Go(func() { r.remote(st.A, st.B, st.Key, value) })
	case "cut", "isolate", "cut one way", "cross":
		r.cutLinks(st)
	case "crash":
		r.off(st.A, st.For)
	case "crash all":
		for _, h := range r.up() {
			r.off(h, st.For)
		}
	case "crash in a commit":
		r.crashInCommit(st, value)
	case "clock":
		r.turnClock(st)
	case "weather":
		r.net.mu.Lock()
		r.net.weather = st.Net
		r.net.mu.Unlock()
		r.later(st.For, func() {
			r.net.mu.Lock()
			defer r.net.mu.Unlock()
			if r.net.weather == st.Net {
				r.net.weather = weather{}
			}
		})
	case "concurrent":
		r.concurrent(st, value)
	case "leave", "eject":
		r.reset(st)
	case "damage":
		r.damage(st)
	case "look":
		r.look(st)
	}
}

// look is what an administrator would see at a quiet hour: all is on, and as it should be. At the end of a schedule later
// writes may have covered what went wrong.
func (r *run) look(st step) {
	if r.ahead() > 0 {
		r.happened("no look, since a clock was wrong")
		return
	}
	r.happened("look")
	if took, ok := r.awaitEqual(r.limit); !ok {
		r.problem("not equal %v after the last fault, at %v: %s", took, st.At, r.describe())
		return
	}
	r.mu.Lock()
	problems, _ := r.audit()
	r.mu.Unlock()
	for _, p := range problems {
		r.problem("at %v: %s", st.At, p)
	}
	for _, n := range r.s.Heads {
		h := r.net.heads[n]
		data, err := os.ReadFile(h.dir + "/state.db")
		if err != nil {
			r.t.Fatal(err)
		}
		h.old = append(h.old[max(0, len(h.old)-1):], data)
	}
}

func (r *run) failed() bool {
	r.wrongs.Lock()
	defer r.wrongs.Unlock()
	return len(r.problems) > 0
}

func (r *run) problem(format string, args ...any) {
	r.wrongs.Lock()
	defer r.wrongs.Unlock()
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// remote has one head write at another, as for allocations.
func (r *run) remote(from, to, key, value string) {
	inc, there := r.at(from), r.at(to)
	if inc == nil || there == nil || !r.configured(from) || !r.configured(to) || !there.db.Summary().Complete {
		return
	}
	a := &attempt{head: to, key: key, value: value}
	r.mu.Lock()
	r.attempts = append(r.attempts, a)
	r.mu.Unlock()
	r.happened("remote")
	r.finish(a, func() (state.Ack, error) {
		ack, records, err := inc.r.ApplyAt(context.Background(), to, state.Origin{Who: "sim", Where: from}, a.op(r.t))
		if err == nil && len(records) != 1 {
			r.t.Errorf("ApplyAt gave %d records", len(records))
		}
		return ack, err
	}, inc)
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.err != nil {
		a.answered = false // it may have been made
	}
}

func (r *run) cutLinks(st step) {
	var links [][2]string
	switch st.What {
	case "isolate":
		for _, h := range r.s.Heads {
			links = append(links, [2]string{st.A, h}, [2]string{h, st.A})
		}
	case "cross": // every link in one direction
		for i, a := range r.s.Heads {
			for _, b := range r.s.Heads[i+1:] {
				links = append(links, [2]string{a, b})
			}
		}
	case "cut":
		links = append(links, [2]string{st.A, st.B}, [2]string{st.B, st.A})
	default:
		links = append(links, [2]string{st.A, st.B})
	}
	if st.A == st.B && st.What != "isolate" {
		return
	}
	r.happened(st.What)
	r.net.cutLinks(1, links...)
	r.later(st.For, func() { r.net.cutLinks(-1, links...) })
}

// off turns a machine off for a while.
func (r *run) off(head string, d time.Duration) {
	if r.at(head) == nil {
		return
	}
	r.happened("crash")
	r.crash(head)
	r.later(d, func() { r.on(head) })
}

func (r *run) on(head string) {
	if r.at(head) == nil && r.configured(head) {
		r.start(head)
	}
}

// crashInCommit loses the power while a write is on its way to the disk: of what was not synced, all or nothing is
// there afterwards.
func (r *run) crashInCommit(st step, value string) {
	inc := r.at(st.A)
	if inc == nil || !r.configured(st.A) {
		return
	}
	path := r.net.heads[st.A].dir + "/state.db"
	inc.off.Store(true) // nothing leaves it any more, the write is its own
	before, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.write(st.A, st.Key, value) // never answered
	lost := len(value)%2 == 0
	r.crash(st.A)
	if lost {
		r.happened("lost an unsynced write")
		if err := os.WriteFile(path, before, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	r.happened("crash in a commit")
	r.later(st.For, func() { r.on(st.A) })
}

func (r *run) turnClock(st step) {
	h := r.net.heads[st.A]
	h.skew.Store(int64(st.By))
	r.happened(fmt.Sprintf("clock by %v", st.By))
	r.mu.Lock()
	r.clockEnd[st.A]++
	n := r.clockEnd[st.A]
	r.mu.Unlock()
	r.later(st.For, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.clockEnd[st.A] == n {
			h.skew.Store(0)
		}
	})
}

// concurrent makes two heads write a key that neither knows, without hearing of one another.
func (r *run) concurrent(st step, value string) {
	a, b := r.at(st.A), r.at(st.B)
	if st.A == st.B || a == nil || b == nil || !r.configured(st.A) || !r.configured(st.B) {
		return
	}
	var p pair
	both := [][2]string{}
	for _, x := range r.s.Heads { // through nobody else either
		for _, y := range r.s.Heads {
			if x != y {
				both = append(both, [2]string{x, y})
			}
		}
	}
	r.net.cutLinks(1, both...)
	var wg sync.WaitGroup
	wg.Go(func() { p.a = r.write(st.A, st.Key, value+"-first") })
	wg.Go(func() { p.b = r.write(st.B, st.Key, value+"-second") })
	wg.Wait()
	r.net.cutLinks(-1, both...)
	if p.a != nil && p.b != nil && p.a.err == nil && p.b.err == nil {
		r.mu.Lock()
		r.pairs = append(r.pairs, p)
		r.mu.Unlock()
	}
}

// reset has a head come back empty: after it left, when another one has all that it has, or after it was ejected, when
// what only it had is lost. One at a time, and the next one only after all were equal in between.
func (r *run) reset(st step) {
	inc := r.at(st.A)
	if inc == nil || len(*r.names.Load()) < 2 || !r.configured(st.A) {
		return
	}
	if r.equal() {
		r.settled = true
	}
	if !r.settled {
		return
	}
	switch st.What {
	case "eject":
		// What it writes last, cut off or not, is what is easily lost.
		if st.For%2 == 0 {
			r.cutLinks(step{What: "isolate", A: st.A, For: time.Second})
		}
		r.write(st.A, st.Key, fmt.Sprintf("last-%s-%v", st.A, st.At))
	case "leave":
		same := false
		for _, n := range r.up() {
			same = same || n != st.A && r.at(n).db.Summary().Root == inc.db.Summary().Root
		}
		if !same {
			return
		}
	}
	r.settled = false
	r.happened(st.What)
	rest := slices.DeleteFunc(slices.Clone(*r.names.Load()), func(n string) bool { return n == st.A })
	r.names.Store(&rest)
	r.crash(st.A)
	if st.What == "eject" {
		r.mayLose(st.A)
	}
	h := r.net.heads[st.A]
	db := r.open(h, NewClock(h.wall))
	if _, err := db.Reset(); err != nil {
		r.t.Error(err)
	}
	if err := db.Close(); err != nil {
		r.t.Error(err)
	}
	r.later(st.For, func() {
		r.mu.Lock()
		all := append(slices.Clone(*r.names.Load()), st.A)
		r.names.Store(&all)
		r.mu.Unlock()
		r.start(st.A)
	})
}

// mayLose notes that what only that head had is lost.
func (r *run) mayLose(head string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.attempts {
		if a.head == head && (!a.answered || a.ack.Degraded != "") {
			a.mayBeLost = true
		}
	}
}

// damage turns a machine off and overwrites a part of its file; where its disk had lied about what it wrote for long,
// what it wrote since is gone too. What is found whole, old versions among it, is taken over when it starts; the rest
// comes from the others, and what they deleted and forgot since goes.
func (r *run) damage(st step) {
	if r.at(st.A) == nil || len(*r.names.Load()) < 2 || !r.configured(st.A) {
		return
	}
	if r.equal() {
		r.settled = true
	}
	if !r.settled {
		return
	}
	r.settled = false
	r.crash(st.A)
	r.mayLose(st.A)
	path := r.net.heads[st.A].dir + "/state.db"
	data, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	page := 2 + int(st.For)%(len(data)/4096-2) // not the two that say where everything is
	if h := r.net.heads[st.A]; len(h.old) == 2 && st.For%2 == 0 {
		r.happened("old file")
		data = slices.Clone(h.old[0])
		page = 0
	}
	for i := page * 4096; i < (page+2)*4096 && i < len(data); i++ {
		data[i] ^= 0x55
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.later(st.For, func() {
		r.on(st.A)
		if inc := r.at(st.A); inc != nil && inc.db.Damage() != nil {
			r.happened("damaged file")
		}
	})
}

// play runs a schedule and gives what happened and what went wrong.
func play(t *testing.T, s schedule, ran map[string]int) (problems []string) {
	synctest.Test(t, func(t *testing.T) {
		timing, limit := simTiming(s)
		r := &run{s: s, limit: limit, seen: ran, clockEnd: map[string]int{}}
		r.cluster = newCluster(t, s.Seed, timing, s.Heads...)
		r.wrong = r.problem
		defer r.stopAll()
		defer func() {
			problems = r.problems
			for what, n := range r.net.ran.counts() {
				ran[what] += n
			}
		}()
		start := time.Now()
		r.over = start.Add(s.Length)
		for _, n := range s.Heads { // by which a damaged state knows that it is not alone
			apply(t, r.at(s.Heads[0]).r, put(t, state.KindHead, n, n))
		}
		for i, st := range s.Steps {
			time.Sleep(time.Until(start.Add(st.At)))
			r.do(i, st)
			if r.failed() {
				r.writers.Wait()
				return
			}
		}
		time.Sleep(time.Until(r.over))
		r.writers.Wait()
		r.end()
	})
	return problems
}

// end has all on, all connected and all clocks right, and looks what is left of it all.
func (r *run) end() {
	r.net.mu.Lock()
	r.net.weather = weather{}
	r.net.mu.Unlock()
	for _, n := range r.s.Heads {
		r.net.heads[n].skew.Store(0)
		r.on(n)
	}
	limit := r.limit
	if ahead := r.ahead(); ahead > 0 {
		limit += ahead + 5*time.Second // for what a clock that was wrong wrote, whose time must come
	}
	took, ok := r.awaitEqual(limit)
	if !ok {
		r.problem("not equal %v after the last fault: %s", took, r.describe())
		return
	}
	r.seen["heals"]++
	db := r.at(r.s.Heads[0]).db
	if db.Summary().Horizon > 0 {
		r.seen["horizon moved"]++
	}
	problems, final := r.audit()
	for _, p := range append(problems, r.auditConflicts(db, final)...) {
		r.problem("%s", p)
	}
	// And one more write reaches all within 2 s.
	if err := r.lastWrite(); err != nil {
		r.problem("%v", err)
	}
}

// simTiming gives the times that production has to one schedule of four, and slower ones to the others: what the pushes
// do not bring then stays away for longer, and more happens meanwhile; and the simulation is several times faster. limit
// is how long after the last fault all are equal.
func simTiming(s schedule) (t Timing, limit time.Duration) {
	// Deletions are forgotten early and often, or the simulation would hardly see it.
	t = Timing{HorizonAge: 2 * time.Minute, HorizonEvery: 5 * time.Minute}
	if s.Seed%4 == 0 {
		return t, 5 * time.Second
	}
	t.Digest, t.ProbeDark, t.Probe, t.Alive = 10*time.Second, 10*time.Second, time.Minute, 35*time.Second
	return t, 25 * time.Second
}

// ahead is how far the newest record is in the future.
func (r *run) ahead() time.Duration {
	var lead time.Duration
	for _, n := range r.up() {
		lead = max(lead, time.Until(r.at(n).db.Summary().Newest.Time()))
	}
	return max(0, lead-state.MaxSkew)
}

func (r *run) lastWrite() error {
	head := r.s.Heads[0]
	// It may still think that nobody answers, and its clock may still be that of what it wrote when it was wrong.
	time.Sleep(max(r.ahead(), r.at(head).r.conf.Timing.ProbeDark) + time.Second)
	ack, err := r.at(head).r.Apply(context.Background(), admin, put(r.t, state.KindNode, "last", 1))
	if err != nil || ack.Degraded != "" {
		return fmt.Errorf("the last write: %+v, %v", ack, err)
	}
	if took, ok := r.awaitEqual(2 * r.at(head).r.conf.Timing.Digest); !ok {
		return fmt.Errorf("not equal %v after the last write", took)
	}
	return nil
}

func (r *run) describe() string {
	var b strings.Builder
	for _, n := range *r.names.Load() {
		h := r.at(n)
		if h == nil {
			fmt.Fprintf(&b, "%s is off; ", n)
			continue
		}
		s := h.db.Summary()
		fmt.Fprintf(&b, "%s: root %s, %d records, complete %t, horizon %v, %+v; ", n, s.Root.String()[:8], s.Records, s.Complete, s.Horizon.Time(), h.r.Status())
	}
	return b.String()
}

// audit compares the books with what the heads have, which it gives too. All have the same.
func (r *run) audit() (problems []string, final map[string]state.Record) {
	fail := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	final = map[string]state.Record{}
	for _, rec := range r.at(r.s.Heads[0]).db.List(state.KindNode, "") {
		final[rec.Key.Name] = rec
	}
	byKey := map[string][]*attempt{}
	for _, a := range r.attempts {
		byKey[a.key] = append(byKey[a.key], a)
	}
	for key, attempts := range byKey {
		rec, exists := final[key]
		var last *attempt // of those that must not be lost
		for _, a := range attempts {
			if a.answered && a.err == nil && !a.mayBeLost && !a.ack.Version.IsZero() &&
				(last == nil || last.ack.Version.Compare(a.ack.Version) < 0) {
				last = a
			}
		}
		if exists {
			value, _ := state.Decode[string](rec)
			if !slices.ContainsFunc(attempts, func(a *attempt) bool { return a.value == value }) {
				fail("%s has the value %q that nobody wrote", key, value)
			}
			if last != nil && rec.Version.Compare(last.ack.Version) < 0 {
				fail("%s: an older version stands, %v %s; later was %v", key, rec.Version, rec.Value, last)
			}
			continue
		}
		if last == nil || last.value == "" {
			continue
		}
		// It is gone: somebody deleted it later, perhaps somebody who never heard that it was done.
		if !slices.ContainsFunc(attempts, func(a *attempt) bool {
			return a.value == "" && (!a.answered || a.mayBeLost || a.ack.Version.Compare(last.ack.Version) > 0)
		}) {
			fail("%s is lost: %v", key, last)
		}
	}
	return problems, final
}

// auditConflicts looks for the loser of each pair in the audit log.
func (r *run) auditConflicts(db *state.DB, final map[string]state.Record) (problems []string) {
	entries, err := db.Audit(1_000_000)
	if err != nil {
		return []string{err.Error()}
	}
	lost := map[string]bool{}
	for _, e := range entries {
		if e.Conflict != nil {
			lost[e.Changes[0].Key+e.Conflict.Lost.String()] = true
		}
	}
	for _, p := range r.pairs {
		w, l := p.a, p.b
		if w.ack.Version.Compare(l.ack.Version) < 0 {
			w, l = l, w
		}
		rec, ok := final[w.key]
		if w.mayBeLost || l.mayBeLost {
			continue
		}
		if !ok || rec.Version != w.ack.Version {
			problems = append(problems, fmt.Sprintf("of a pair neither stands: %v, %v, but %v", w, l, rec))
			continue
		}
		if !lost["node/"+l.key+l.ack.Version.String()] {
			problems = append(problems, fmt.Sprintf("a lost write is not in the audit log: %v, overwritten by %v", l, w))
		}
		r.seen["lost writes in the audit log"]++
	}
	return problems
}

// TestSimulation plays random schedules. MASTHEAD_SEED plays one again; MASTHEAD_SOAK is how long to go on.
func TestSimulation(t *testing.T) {
	const length = 12 * time.Hour
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // the heap is a few MB
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))   // one thing happens at a time; a second thread would only be woken for each
	// The first seeds always, however busy the machine is: they have all that mustRun wants.
	limit, least := 8*time.Second, uint64(40)
	seeds := uint64(0)
	first := uint64(1)
	if s := os.Getenv("MASTHEAD_SOAK"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		limit, least, first = d, 0, uint64(time.Now().UnixNano())
	}
	if s := os.Getenv("MASTHEAD_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first, seeds = n, 1
	}
	if diff := cmp.Diff(newSchedule(first, length), newSchedule(first, length)); diff != "" {
		t.Fatalf("a seed gives two schedules:\n%s", diff)
	}
	ran := map[string]int{}
	begin := time.Now()
	var hours, spent [2]float64 // with the times of production, with slower ones
	n := uint64(0)
	for ; (seeds == 0 && (time.Since(begin) < limit || n < least)) || n < seeds; n++ {
		s := newSchedule(first+n, length)
		before := cpuTime(t)
		problems := play(t, s, ran)
		slow := min(1, s.Seed%4)
		hours[slow] += s.Length.Hours() * float64(len(s.Heads))
		spent[slow] += (cpuTime(t) - before).Seconds()
		if len(problems) > 0 {
			for _, p := range problems {
				t.Errorf("seed %d: %s", s.Seed, p)
			}
			t.Errorf("again: MASTHEAD_SEED=%d go test -run TestSimulation masthead/appliance/gossip", s.Seed)
			break
		}
	}
	t.Logf("seeds %d to %d: %.0f head-hours in %.1f s of processor time", first, first+n-1, hours[0]+hours[1], spent[0]+spent[1])
	t.Logf("head-hours in a second of processor time: %.0f; %.0f with the times of production, %.0f with slower ones",
		(hours[0]+hours[1])/(spent[0]+spent[1]), hours[0]/spent[0], hours[1]/spent[1])
	t.Logf("%v", ran)
	if seeds == 0 && !t.Failed() {
		for _, what := range mustRun {
			if ran[what] == 0 {
				t.Errorf("in %d schedules there was no %q", n, what)
			}
		}
	}
}

// mustRun is what some schedules of a run must have had, or it shows nothing.
var mustRun = []string{
	"look", "cut", "cut one way", "isolate", "cross", "crash", "crash in a commit", "lost an unsynced write", "leave", "eject", "damaged file", "old file", "deleted", "horizon moved",
	"clock by 1h0m0s", "clock by -1h0m0s", "clock by 12s", "clock by -12s", "remote",
	"acknowledged", "degraded", "unanswered", "refused for the clock", "lost writes in the audit log",
	"messages lost", "messages twice", "messages overtaken", "messages a minute late", "messages into a cut", "calls refused", "answers lost",
}

func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
