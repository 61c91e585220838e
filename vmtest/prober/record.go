package prober

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Answer is one answer for the address.
type Answer struct {
	At  time.Duration // since the beginning of the record
	MAC string        // whose card answered
}

// Span is an unbroken row of answers of one card.
type Span struct {
	MAC         string
	First, Last time.Duration
	Answers     int
}

// Gap is a time without an answer, between two.
type Gap struct {
	From, To      time.Duration
	Before, After string // the cards that answered before and after
}

// Length is how long nobody answered.
func (g Gap) Length() time.Duration { return g.To - g.From }

// Record is who answered when. It may be used from several goroutines.
type Record struct {
	zero time.Time
	mu   sync.Mutex
	all  []Answer // in order
	echo []Answer // to ICMP, of the card that the neighbour's table named
	asks []time.Duration
}

// NewRecord begins now.
func NewRecord() *Record { return &Record{zero: time.Now()} }

// Now is the record's time.
func (r *Record) Now() time.Duration { return time.Since(r.zero) }

func (r *Record) add(to *[]Answer, mac string) {
	at := r.Now()
	r.mu.Lock()
	*to = append(*to, Answer{at, mac})
	r.mu.Unlock()
}

func (r *Record) asked() {
	at := r.Now()
	r.mu.Lock()
	r.asks = append(r.asks, at)
	r.mu.Unlock()
}

// Stall is the longest time between two questions in that time: while the prober itself stood still, a silence says nothing.
func (r *Record) Stall(from, to time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	longest, last := time.Duration(0), from
	for _, at := range r.asks {
		if at > from && at < to {
			longest, last = max(longest, at-last), at
		}
	}
	return max(longest, to-last)
}

// Answers are those to ARP since from.
func (r *Record) Answers(from time.Duration) []Answer { return r.since(&r.all, from) }

// Echoes are those to ICMP since from.
func (r *Record) Echoes(from time.Duration) []Answer { return r.since(&r.echo, from) }

func (r *Record) since(of *[]Answer, from time.Duration) []Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, _ := slices.BinarySearchFunc(*of, from, func(a Answer, t time.Duration) int { return int(a.At - t) })
	return slices.Clone((*of)[i:])
}

// Last is the card that answered last, and when; "" if none has.
func (r *Record) Last() (mac string, at time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return "", 0
	}
	last := r.all[len(r.all)-1]
	return last.MAC, last.At
}

// Spans are the rows of answers, by card. Pure.
func Spans(all []Answer) []Span {
	var spans []Span
	for _, a := range all {
		if n := len(spans); n > 0 && spans[n-1].MAC == a.MAC {
			spans[n-1].Last = a.At
			spans[n-1].Answers++
			continue
		}
		spans = append(spans, Span{a.MAC, a.At, a.At, 1})
	}
	return spans
}

// Gaps are the times of at least min without an answer. Pure.
func Gaps(all []Answer, min time.Duration) []Gap {
	var gaps []Gap
	for i := 1; i < len(all); i++ {
		if g := (Gap{all[i-1].At, all[i].At, all[i-1].MAC, all[i].MAC}); g.Length() >= min {
			gaps = append(gaps, g)
		}
	}
	return gaps
}

// Longest is the longest gap; zero if there is none. Pure.
func Longest(all []Answer) Gap {
	var longest Gap
	for _, g := range Gaps(all, 0) {
		if g.Length() > longest.Length() {
			longest = g
		}
	}
	return longest
}

// Doubles are the rows of answers of a card that came after another card had begun to answer and while that one still
// answered afterwards: two owners at once. A handover there and back again has a pause between; within says how short the
// pauses are that no handover can have. Pure.
func Doubles(all []Answer, within time.Duration) []Span {
	spans := Spans(all)
	var doubles []Span
	for i := 1; i+1 < len(spans); i++ {
		if spans[i+1].MAC == spans[i-1].MAC && spans[i+1].First-spans[i-1].Last < within {
			doubles = append(doubles, spans[i])
		}
	}
	return doubles
}

// Text is a record for people: the rows of answers, with names for cards.
func Text(all []Answer, name func(mac string) string) string {
	var b strings.Builder
	for _, s := range Spans(all) {
		fmt.Fprintf(&b, "%10.3f s to %10.3f s  %s, %d answers\n", s.First.Seconds(), s.Last.Seconds(), name(s.MAC), s.Answers)
	}
	return b.String()
}
