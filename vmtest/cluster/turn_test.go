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
	// fenced is for heads that fence one another. One that stands still for half a second, because machines of other tests have the
	// processors, is dead to its peer, and stays off. So there are only untimed tests beside them, which give way.
	fenced pace = iota
	// timed is for tests that look at how fast something is, or at what has a time-out.
	timed
	// untimed is for tests that look at the order of things, whatever time they take.
	untimed
)

const (
	// maxGuests is how many machines run at once: more would only take turns.
	maxGuests = 6
	// maxAside is how many give way to heads that fence one another, which wait for one another for much of their time. asideNice is
	// how much: they have a tenth of a processor that a head wants, which is enough for their own watchdogs, and all of one that
	// nobody wants.
	maxAside  = 2
	asideNice = 10
	// maxTests is how many tests wait for their turn or have it. Go's own bound, of one to a processor, would be used up by those
	// that wait.
	maxTests = 64
)

// turn is a test's right to run machines.
type turn struct {
	pace   pace
	guests int // that are on at a time
	nice   int // of its machines; valid once it has begun
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
		if t.pace == untimed && anyFenced(h.waiting, h.running) {
			t.nice = asideNice
		}
		h.waiting = slices.Delete(h.waiting, i, i+1)
		h.running = append(h.running, t)
		close(t.begun)
	}
}

// next is the one of those that wait that begins now, or -1. The fenced ones are first, one at a time, with untimed ones aside; then
// come all others. Of those that may begin it is the one with the most machines, the first of several: small ones find a place later.
func next(waiting, running []*turn) int {
	guests := func(of func(*turn) bool) (n int) {
		for _, t := range running {
			if of(t) {
				n += t.guests
			}
		}
		return n
	}
	all := guests(func(*turn) bool { return true })
	aside := guests(func(r *turn) bool { return r.pace == untimed })
	first := anyFenced(waiting, running)
	best := -1
	for i, t := range waiting {
		may := false
		switch {
		case t.pace == fenced:
			may = all == aside
		case first:
			may = t.pace == untimed && (aside == 0 || aside+t.guests <= maxAside)
		default:
			may = all == 0 || all+t.guests <= maxGuests
		}
		if may && (best < 0 || t.guests > waiting[best].guests) {
			best = i
		}
	}
	return best
}

func anyFenced(lists ...[]*turn) bool {
	for _, list := range lists {
		if slices.ContainsFunc(list, func(t *turn) bool { return t.pace == fenced }) {
			return true
		}
	}
	return false
}

// start brings a lab up, without its workers, for the length of the test.
func (turn *turn) start(t *testing.T, config vmtest.Config) *trial {
	t.Helper()
	config.Nice = turn.nice
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
	runs("the first goes on", "data", "keys")
	ends := func(name string, want ...string) {
		t.Helper()
		h.remove(all[name])
		runs(name, want...)
	}
	ends("keys", "data", "media", "disk")
	ends("media", "data", "disk")
	ends("data", "disk", "takeover")
	ends("takeover", "disk", "heads")
	ends("disk", "heads")
	ends("heads", "many") // alone, as it is more than may run
	ends("pair", "many")  // it was skipped while it waited
	ends("many", "cluster", "roll")
	ends("cluster", "roll")
	ends("roll")
	if nice := []int{all["keys"].nice, all["data"].nice, all["cluster"].nice}; !slices.Equal(nice, []int{asideNice, 0, 0}) {
		t.Errorf("keys, data and cluster have the niceness %v", nice)
	}
}
