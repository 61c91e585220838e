package netif

import "time"

// deed is what a lease calls for.
type deed int

const (
	keep       deed = iota // nothing yet
	renew                  // ask the server that gave it
	rebind                 // ask any server
	rediscover             // it is over: begin anew
)

// Pauses between attempts.
const (
	minRetry      = time.Minute      // RFC 2131, 4.4.5
	discoverRetry = 30 * time.Second // after the lease is over: sooner, since the machine lives on an address it lost
)

// next is what to do about a lease at a time, and when to look again if that fails. A deed that succeeds makes a new
// lease, and with it a new schedule.
func next(l Lease, now time.Duration) (do deed, again time.Duration) {
	if l.Length == Infinite {
		return keep, Infinite
	}
	t1, t2, end := l.Acquired+l.T1, l.Acquired+l.T2, l.Expires()
	// RFC 2131, 4.4.5: half of what is left to the next step, but not less than a minute.
	retry := func(limit time.Duration) time.Duration {
		return min(limit, now+max((limit-now)/2, minRetry))
	}
	switch {
	case now < t1:
		return keep, t1
	case now < t2:
		return renew, retry(t2)
	case now < end:
		return rebind, retry(end)
	}
	return rediscover, now + discoverRetry
}
