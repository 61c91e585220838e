package ndp

import "time"

const (
	// askTime is how long a router has to answer our own solicitation: it may wait 0.5 s, and 3 s after its last
	// advertisement (RFC 4861, 6.2.6). A host too gives it 4 s (RTR_SOLICITATION_INTERVAL).
	askTime = 4 * time.Second

	// pollSoon is how often the link-local address is looked for, while duplicate address detection (1 s) holds it
	// back; after patience the reason is another one, IPv6 switched off for instance, and pollLate is enough.
	pollSoon = 100 * time.Millisecond
	pollLate = 10 * time.Second
	patience = 5 * time.Second
)

// phase is how far a Responder is: looking for an address, asking for routers, answering.
type phase struct {
	since     time.Time // the search for an address began; zero: there is one
	told      bool      // that there is none
	asked     time.Time // for routers; zero: not yet
	silent    time.Time // until when a router speaks here
	answering bool      // as it was last told
}

// lost begins the search for an address. A cable in another network has other routers: they are asked for again.
func (p *phase) lost(now time.Time) {
	if p.since.IsZero() {
		p.since, p.asked = now, time.Time{}
	}
}

// heard takes in what a router advertised.
func (p *phase) heard(now time.Time, lasts time.Duration) {
	if until := now.Add(lasts); until.After(p.silent) {
		p.silent = until
	}
}

// answers reports whether solicitations are answered now.
func (p *phase) answers(now time.Time) bool {
	return p.since.IsZero() && !p.asked.IsZero() && now.Sub(p.asked) >= askTime && !now.Before(p.silent)
}

// wake is when something changes by time alone; zero: nothing does.
func (p *phase) wake(now time.Time) time.Time {
	switch {
	case !p.since.IsZero() && now.Sub(p.since) < patience:
		return now.Add(pollSoon)
	case !p.since.IsZero():
		return now.Add(pollLate)
	case now.Sub(p.asked) < askTime:
		return p.asked.Add(askTime)
	case now.Before(p.silent):
		return p.silent
	}
	return time.Time{}
}
