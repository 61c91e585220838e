package chunks

import (
	"fmt"
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := start
	var h health
	var got []time.Duration
	for range 8 { // fails each time it is tried, without jitter
		h = h.failed(now, now, 0.5)
		got = append(got, h.until.Sub(now))
		if h.due(h.until.Add(-1)) || !h.due(h.until) {
			t.Errorf("due at the wrong time")
		}
		now = h.until
	}
	want := "[100ms 200ms 400ms 800ms 1.6s 3.2s 5s 5s]"
	if fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %v", got, want)
	}

	tests := []struct {
		name   string
		from   health
		began  time.Time
		now    time.Time
		jitter float64
		want   time.Duration // set aside from now
	}{
		{"least jitter", health{}, start, start, 0, 75 * time.Millisecond},
		{"most jitter", health{}, start, start, 1, 125 * time.Millisecond},
		{"works now and then", health{failures: 5, at: start}.succeeded(time.Second), start.Add(time.Second), start.Add(time.Second), 0.5, 3200 * time.Millisecond},
		{"long after", health{failures: 5, at: start}, start.Add(time.Minute), start.Add(time.Minute), 0.5, 100 * time.Millisecond},
		{"was under way when it was set aside", health{aside: true, failures: 1, at: start, until: start.Add(time.Second)},
			start.Add(-time.Second), start.Add(100 * time.Millisecond), 0.5, 900 * time.Millisecond},
	}
	for _, test := range tests {
		h := test.from.failed(test.began, test.now, test.jitter)
		if got := h.until.Sub(test.now); got != test.want || !h.aside {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

func TestHedge(t *testing.T) {
	tests := []struct {
		took []time.Duration
		want time.Duration
	}{
		{nil, 2 * time.Second},
		{[]time.Duration{time.Millisecond}, 250 * time.Millisecond},
		{[]time.Duration{100 * time.Millisecond}, 400 * time.Millisecond},
		{[]time.Duration{100 * time.Millisecond, 180 * time.Millisecond}, 440 * time.Millisecond},
		{[]time.Duration{time.Minute}, 2 * time.Second},
	}
	for _, test := range tests {
		var h health
		for _, d := range test.took {
			h = h.succeeded(d)
		}
		if got := h.hedge(); got != test.want {
			t.Errorf("after %v: got %v, want %v", test.took, got, test.want)
		}
	}
}

func TestPick(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	good := health{}
	due := health{aside: true, until: now}
	aside := health{aside: true, until: now.Add(time.Second)}
	tests := []struct {
		name       string
		list       []health
		probing    int // index of a member that is being probed; -1: none
		avoid      int // of one that has the chunk wrong; -1: none
		use, probe int // -1: none
		next       time.Duration
	}{
		{"first of two", []health{good, good}, -1, -1, 0, -1, 0},
		{"first is aside", []health{aside, good}, -1, -1, 1, -1, 0},
		{"first may be back", []health{due, good}, -1, -1, 1, 0, 0},
		{"first is being probed", []health{due, good}, 0, -1, 1, -1, 0},
		{"a worse one that is due is left alone", []health{good, due}, -1, -1, 0, -1, 0},
		{"all aside", []health{aside, aside}, -1, -1, -1, -1, time.Second},
		{"all aside, one due", []health{aside, due}, -1, -1, 1, -1, time.Second},
		{"all aside, the due one being probed", []health{aside, due}, 1, -1, -1, -1, time.Second},
		{"first has the chunk wrong", []health{good, good}, -1, 0, 1, -1, 0},
		{"both are bad in their way", []health{good, due}, -1, 0, 1, -1, 0},
		{"the only one has the chunk wrong", []health{good}, -1, 0, -1, -1, time.Second},
		{"none", nil, -1, -1, -1, -1, 0},
	}
	for _, test := range tests {
		var list []*member
		for i, h := range test.list {
			list = append(list, &member{health: h, probing: i == test.probing})
		}
		avoid := map[*member]health{}
		if test.avoid >= 0 {
			avoid[list[test.avoid]] = aside
		}
		index := func(m *member) int {
			for i := range list {
				if list[i] == m {
					return i
				}
			}
			return -1
		}
		use, probe, next := pick(list, avoid, now)
		var wait time.Duration
		if !next.IsZero() {
			wait = next.Sub(now)
		}
		// When one is used, next does not matter.
		if index(use) != test.use || index(probe) != test.probe || test.use < 0 && wait != test.next {
			t.Errorf("%s: use %d, probe %d, next %v, want %d, %d, %v", test.name, index(use), index(probe), wait, test.use, test.probe, test.next)
		}
	}
}
