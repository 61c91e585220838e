package chunks

import "time"

// How long a source is left alone after a failure.
const (
	firstBackoff = 100 * time.Millisecond // a head that restarts its listener is back in less
	maxBackoff   = 5 * time.Second        // what a machine waits at most once its head is back
	forgetAfter  = 30 * time.Second       // failures further apart than this have nothing to do with one another
)

// Limits of one attempt.
const (
	firstHedge = 2 * time.Second        // before anything is known of a source
	minHedge   = 250 * time.Millisecond // below this, two sources would do the work of one on every hiccup
	maxHedge   = 2 * time.Second
	hedgeSlack = 4 // times the usual time

	attemptTime = 10 * time.Second
	attemptRate = 32 << 10 // bytes a second that the slowest link worth using carries
)

// health is what is known of one source. It is a value: each outcome makes a new one.
type health struct {
	aside    bool          // the last outcome was a failure
	failures int           // lately; successes in between do not clear them, so that a source that works now and then is not tried all the time
	at       time.Time     // of the last failure
	until    time.Time     // not to be asked before, while aside
	usual    time.Duration // smoothed time of a success; 0: none yet
}

// due reports whether a source that is set aside may be tried again.
func (h health) due(now time.Time) bool { return h.aside && !now.Before(h.until) }

// succeeded is the health after a chunk came in that time.
func (h health) succeeded(took time.Duration) health {
	h.aside = false
	if h.usual == 0 {
		h.usual = took
	} else {
		h.usual += (took - h.usual) / 8 // as TCP smooths its round trips (RFC 6298, section 2)
	}
	return h
}

// failed is the health after an attempt that began at began failed. Attempts that were under way when the
// source was set aside say nothing new. jitter, from 0 to 1, keeps machines that lost their head at the same moment
// from coming back at the same moment.
func (h health) failed(began, now time.Time, jitter float64) health {
	if h.aside && began.Before(h.at) {
		return h
	}
	if now.Sub(h.at) > forgetAfter {
		h.failures = 0
	}
	h.failures++
	wait := min(firstBackoff<<min(h.failures-1, 10), maxBackoff)
	h.aside = true
	h.at = now
	h.until = now.Add(time.Duration(float64(wait) * (0.75 + 0.5*jitter)))
	return h
}

// hedge is how long an attempt may take before another source is asked for the same chunk.
func (h health) hedge() time.Duration {
	if h.usual == 0 {
		return firstHedge
	}
	return min(max(hedgeSlack*h.usual, minHedge), maxHedge)
}

// attemptLimit is the longest that one attempt at size bytes may take, even if bytes keep coming.
func attemptLimit(size int64) time.Duration {
	return attemptTime + time.Duration(size)*time.Second/attemptRate
}
