package monitor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// A key's first mails go at once, then what comes is collected: at most keyBurst + 96 mails a day about a link that flaps.
	keyBurst  = 3
	keyRefill = 15 * time.Minute
	// Who owns the cluster is what an administrator is woken for: a takeover after some switches and cut cables of the last
	// quarter of an hour is news.
	urgentBurst  = 10
	urgentRefill = time.Minute
	// All keys together: what an administrator can read, and a mail server accepts.
	allBurst  = 30
	allRefill = time.Minute

	retryFirst = 10 * time.Second
	retryMost  = 10 * time.Minute
	keepTrying = 24 * time.Hour

	maxWaiting   = 100 // mails; what comes beyond goes into one
	maxCollected = 20  // messages told in one mail: the first, and the last ones
)

// outbox is what waits to be sent, and when it may be. It does nothing by itself.
type outbox struct {
	waiting map[string]*parcel
	quota   map[string]bucket
	all     bucket
}

// parcel is the messages about one thing to the same people.
type parcel struct {
	id       string
	order    int // of arrival
	messages []Message
	left     int // messages that were left out
	since    time.Time
	tries    int
	paid     bool // it has been counted by the buckets
	retry    time.Time
	sending  bool
}

func newOutbox() *outbox {
	return &outbox{waiting: map[string]*parcel{}, quota: map[string]bucket{}}
}

// add takes a message in. The one that it displaced, if any, is returned: it will not be sent.
func (o *outbox) add(m Message, now time.Time) (displaced Message, ok bool) {
	if m.Time.IsZero() {
		m.Time = now
	}
	id := m.Key + "\x00" + strings.Join(m.To, ",")
	p := o.waiting[id]
	for p != nil && p.sending {
		id += "\x00next"
		p = o.waiting[id]
	}
	if p == nil && len(o.waiting) >= maxWaiting {
		id = "\x00many"
		m.To = nil
		p = o.waiting[id]
		for p != nil && p.sending {
			id += "\x00next"
			p = o.waiting[id]
		}
	}
	if p == nil {
		p = &parcel{id: id, since: now, order: o.last() + 1}
		o.waiting[id] = p
	}
	p.messages = append(p.messages, m)
	if len(p.messages) > maxCollected {
		displaced, ok = p.messages[1], true
		p.messages = slices.Delete(p.messages, 1, 2)
		p.left++
	}
	return displaced, ok
}

func (o *outbox) last() int {
	n := 0
	for _, p := range o.waiting {
		n = max(n, p.order)
	}
	return n
}

// next is the mail to send now, or how long to wait for one; nil and 0: there is none.
func (o *outbox) next(now time.Time) (*parcel, time.Duration) {
	var wait time.Duration
	for _, id := range slices.SortedFunc(maps.Keys(o.waiting), func(a, b string) int { return o.waiting[a].order - o.waiting[b].order }) {
		p := o.waiting[id]
		if p.sending {
			continue
		}
		at := o.due(p)
		if !at.After(now) {
			if !p.paid {
				p.paid = true
				key := p.messages[0].Key
				o.quota[key] = o.quota[key].take(now, p.limits())
				o.all = o.all.take(now, all)
			}
			p.sending = true
			return p, 0
		}
		if d := at.Sub(now); wait == 0 || d < wait {
			wait = d
		}
	}
	return nil, wait
}

func (o *outbox) due(p *parcel) time.Time {
	at := p.retry
	if !p.paid {
		for _, t := range []time.Time{o.quota[p.messages[0].Key].at(p.limits()), o.all.at(all)} {
			if t.After(at) {
				at = t
			}
		}
	}
	return at
}

// sent forgets a parcel: it was sent, or given up.
func (o *outbox) sent(p *parcel, now time.Time) {
	delete(o.waiting, p.id)
	maps.DeleteFunc(o.quota, func(_ string, b bucket) bool { return b.full(now, keys) && b.full(now, urgent) })
}

// failed puts a parcel back. Not ok: it has been tried for long enough and is forgotten.
func (o *outbox) failed(p *parcel, now time.Time) bool {
	if now.Sub(p.since) >= keepTrying {
		o.sent(p, now)
		return false
	}
	p.sending = false
	p.retry = now.Add(min(retryMost, retryFirst<<min(p.tries, 10)))
	p.tries++
	return true
}

// mail is the parcel as one mail: with several messages, a list of them and the whole text of the last.
func (p *parcel) mail() Message {
	last := p.messages[len(p.messages)-1]
	if len(p.messages) == 1 {
		return last
	}
	n := len(p.messages) + p.left
	var b strings.Builder
	fmt.Fprintf(&b, "%d messages in one, so that they do not flood you:\n\n", n)
	for i, m := range p.messages {
		if i == 1 && p.left > 0 {
			fmt.Fprintf(&b, "  … %d more\n", p.left)
		}
		fmt.Fprintf(&b, "  %s  %s\n", m.Time.Format(time.DateTime), m.Subject)
	}
	fmt.Fprintf(&b, "\nThe last of them:\n\n%s", last.Text)
	return Message{Key: last.Key, To: last.To, Time: last.Time, Subject: fmt.Sprintf("%s (and %d before)", last.Subject, n-1), Text: b.String()}
}

// limits are those of the bucket from which the parcel is paid.
func (p *parcel) limits() limits {
	if p.messages[0].Urgent {
		return urgent
	}
	return keys
}

// limits are how many tokens a bucket holds, and how long it takes to get one more.
type limits struct {
	burst  int
	refill time.Duration
}

var (
	keys   = limits{keyBurst, keyRefill}
	urgent = limits{urgentBurst, urgentRefill}
	all    = limits{allBurst, allRefill}
)

// bucket is a token bucket. One token comes each refill; the last one was taken, or would have come, at empty.
type bucket struct{ empty time.Time }

func (b bucket) at(l limits) time.Time {
	if b.empty.IsZero() {
		return time.Time{}
	}
	return b.empty.Add(l.refill)
}

func (b bucket) take(now time.Time, l limits) bucket {
	// Never more than burst tokens are saved up.
	if first := now.Add(-time.Duration(l.burst) * l.refill); b.empty.Before(first) {
		b.empty = first
	}
	return bucket{b.empty.Add(l.refill)}
}

func (b bucket) full(now time.Time, l limits) bool {
	return now.Sub(b.empty) >= time.Duration(l.burst)*l.refill
}
