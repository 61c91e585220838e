package cluster

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/vmtest"
)

// pace is what a test needs of a host that has two processors for all of its machines.
type pace int

const (
	// fenced is for heads that fence one another: they have the host to themselves. One that stands still for half a second, because
	// machines of other tests have the processors, is dead to its peer, and stays off. It is so even where those give way.
	fenced pace = iota
	// timed is for tests that look at how fast something is, or at what has a time-out.
	timed
	// untimed is for tests that look at the order of things, whatever time they take. Their machines give way to others.
	untimed
)

const (
	// maxGuests is how many machines run at once: more would only take turns.
	maxGuests = 6
	// asideNice is how much untimed machines give way: they have a tenth of a processor that another one wants, which is enough for
	// their own watchdogs, and all of one that nobody wants.
	asideNice = 10
	// maxTests is how many tests wait for their turn or have it. Go's own bound, of one to a processor, would be used up by those
	// that wait.
	maxTests = 64
)

// turn is a test's right to run machines.
type turn struct {
	pace   pace
	guests int // that are on at a time
	begun  chan struct{}
}

// awaitTurn lets a test run beside others, and waits until its machines may run.
func awaitTurn(t *testing.T, pace pace, guests int) *turn {
	t.Helper()
	program(t)
	// A parallel test comes as far as this before the first of them goes on: the order is known, whichever wakes up first.
	mine := &turn{pace: pace, guests: guests, begun: make(chan struct{})}
	host.add(mine)
	t.Cleanup(func() { host.remove(mine) })
	t.Parallel()
	host.begin()
	came := time.Now()
	select {
	case <-mine.begun:
		t.Logf("its turn came after %.0f s", time.Since(came).Seconds())
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	return mine
}

// host is the one that all tests of this process run on.
var host turns

// turns are those that wait, in the order of the tests, and those that have begun.
type turns struct {
	mu       sync.Mutex
	waiting  []*turn
	running  []*turn
	complete bool // all tests have come
}

func (h *turns) add(t *turn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting = append(h.waiting, t)
}

func (h *turns) remove(t *turn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	isIt := func(other *turn) bool { return other == t }
	h.waiting = slices.DeleteFunc(h.waiting, isIt)
	h.running = slices.DeleteFunc(h.running, isIt)
	h.start()
}

// begin is called by tests that go on, which they do when all have come.
func (h *turns) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.complete = true
	h.start()
}

// start needs mu.
func (h *turns) start() {
	if !h.complete {
		return
	}
	for {
		i := next(h.waiting, h.running)
		if i < 0 {
			return
		}
		t := h.waiting[i]
		h.waiting = slices.Delete(h.waiting, i, i+1)
		h.running = append(h.running, t)
		close(t.begun)
	}
}

// next is the one of those that wait that begins now, or -1. The fenced ones are first, one at a time; then come all others. Of those
// that may begin it is the one with the most machines, the first of several: small ones find a place later.
func next(waiting, running []*turn) int {
	guests := 0
	for _, t := range running {
		guests += t.guests
	}
	isFenced := func(t *turn) bool { return t.pace == fenced }
	first := slices.ContainsFunc(waiting, isFenced) || slices.ContainsFunc(running, isFenced)
	best := -1
	for i, t := range waiting {
		may := guests == 0 || !first && guests+t.guests <= maxGuests
		if may && isFenced(t) == first && (best < 0 || t.guests > waiting[best].guests) {
			best = i
		}
	}
	return best
}

// start brings a lab up, without its workers, for the length of the test.
func (turn *turn) start(t *testing.T, config vmtest.Config) *trial {
	t.Helper()
	if turn.pace == untimed {
		config.Nice = asideNice
	}
	return startLab(t, config)
}

func TestTurns(t *testing.T) {
	var h turns
	names := map[*turn]string{}
	all := map[string]*turn{}
	for _, test := range []struct {
		name   string
		pace   pace
		guests int
	}{
		{"cluster", timed, 3}, {"media", untimed, 1}, {"data", fenced, 2}, {"disk", untimed, 1}, {"keys", untimed, 2}, {"takeover", fenced, 2},
		{"pair", timed, 3}, {"heads", timed, 4}, {"many", timed, maxGuests + 1}, {"roll", timed, 3},
	} {
		made := &turn{pace: test.pace, guests: test.guests, begun: make(chan struct{})}
		all[test.name], names[made] = made, test.name
		h.add(made)
	}
	runs := func(after string, want ...string) {
		t.Helper()
		var got []string
		for _, r := range h.running {
			got = append(got, names[r])
			<-r.begun
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", after, diff)
		}
	}
	runs("the tests have come")
	h.begin()
	runs("the first goes on", "data")
	ends := func(name string, want ...string) {
		t.Helper()
		h.remove(all[name])
		runs(name, want...)
	}
	ends("data", "takeover")
	ends("pair", "takeover") // it was skipped while it waited
	ends("takeover", "many") // alone, as it is more than may run
	ends("many", "heads", "keys")
	ends("heads", "keys", "cluster", "media")
	ends("keys", "cluster", "media", "disk")
	ends("media", "cluster", "disk")
	ends("disk", "cluster", "roll")
	ends("roll", "cluster")
	ends("cluster")
}
