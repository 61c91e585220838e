package arbiter

import (
	"math"
	"time"

	"masthead/appliance/failover"
	"masthead/node/witness"
)

// never is before every Instant.
const never = failover.Instant(math.MinInt64 / 2)

const (
	// retries are asked for in a fraction of Timing.Renew, while the answer to the last ask is missing or was no.
	retryPart = 4
	// quickRetries: a voter that has not answered so many asks is asked no faster than those that do.
	quickRetries = 4
	// pollTimes Timing.Renew, voters are asked how they stand by a head that wants nothing of them.
	pollTimes = 2
	// releaseTries bounds how often a voter is told that a lease is over: it ends by itself as well.
	releaseTries = 5
)

// LeaseConfig is what a Lease must know.
type LeaseConfig struct {
	Self    int // id of this head
	Cluster uint64
	Gen     uint64
	Timing  failover.Timing
}

// Lease asks voters for a lease, keeps it, and gives it back. It is pure: it says what is to be asked, is told what was
// answered, and takes the time as an argument. It is not safe for concurrent use: Panel is.
type Lease struct {
	config  LeaseConfig
	rosters rosters
	coming  *Roster // asked as well, and not needed yet; nil: none
	voters  map[string]*standing
	epoch   failover.Epoch // wanted; 0: none
	gone    failover.Epoch // given back: never wanted again
	known   failover.Epoch // the highest that any voter ever named
	facts   witness.Facts
	nonce   uint64
	started failover.Instant
	open    failover.Instant // end of what Authority has said that is held
}

// standing is how one voter stands.
type standing struct {
	voter   Voter
	boot    uint64 // as it last said
	pending map[uint64]question
	missing int              // asks since the last answer
	next    failover.Instant // when it is asked again
	// When the newest ask was sent that it granted for Lease.epoch; never: none. The renewals, and all.
	renewed, granted failover.Instant
	// soloSent is when the newest renewal was sent that it granted and that told it of Lease.facts.Solo.
	soloSent failover.Instant
	last     witness.Answer
	heard    failover.Instant // when last came in
	release  failover.Epoch   // it is to be told that this is over; 0: nothing
	releases int              // how often it was told
}

type question struct {
	kind  witness.Kind
	epoch failover.Epoch
	sent  failover.Instant
	solo  time.Time // what the voter was told with it
}

// Question is an ask that is to be sent now.
type Question struct {
	To  Voter
	Ask witness.Ask
}

// NewLease starts with the lists of voters that were kept. Nonces are counted from seed, which is random.
func NewLease(c LeaseConfig, rs Rosters, seed uint64, now failover.Instant) (*Lease, error) {
	if err := rs.validate(); err != nil {
		return nil, err
	}
	l := &Lease{config: c, rosters: rs.Needed, coming: rs.Coming, voters: map[string]*standing{}, nonce: seed, started: now}
	l.open = now + c.Timing.TTL // of the daemon before, for all that is known
	l.meet(now)
	return l, nil
}

// Want says which epoch's lease is wanted, and what voters are to remember of the owner; 0 gives back what is held. An epoch
// that was given back is not asked for again: voters refuse it for good. So 0 is for when the gate is shut.
func (l *Lease) Want(e failover.Epoch, solo time.Time, data string, now failover.Instant) {
	facts := witness.Facts{Gen: l.config.Gen, Solo: solo, DataUUID: witness.UUID(data)}
	told := e == 0 || facts.Gen == l.facts.Gen && facts.Solo.Equal(l.facts.Solo) && facts.DataUUID == l.facts.DataUUID
	if !facts.Solo.Equal(l.facts.Solo) {
		for _, st := range l.voters {
			st.soloSent = never
		}
	}
	l.facts = facts
	if e == l.epoch {
		if !told { // the others should not have to wait for the next renewal
			l.hurry(now)
		}
		return
	}
	old := l.epoch
	l.epoch = e
	l.gone = max(l.gone, old)
	for _, st := range l.voters {
		st.renewed, st.granted, st.soloSent = never, never, never
		if e == 0 {
			st.release, st.releases = old, 0
		}
	}
	if e == 0 {
		l.open = min(l.open, now)
	}
	l.hurry(now)
}

// hurry asks all voters at once.
func (l *Lease) hurry(now failover.Instant) {
	for _, st := range l.voters {
		st.next, st.missing = now, 0
	}
}

// Next is what is to be asked at now, and when Next is to be called again at the latest. What it returns counts as sent at
// now, so it has to be called right before.
func (l *Lease) Next(now failover.Instant) (out []Question, again failover.Instant) {
	again = now + pollTimes*l.config.Timing.Renew
	kind := l.kind(now)
	for _, v := range l.asks() {
		st := l.voters[v.Name]
		if st.next <= now {
			out = append(out, Question{To: v, Ask: l.ask(st, kind, now)})
		}
		again = min(again, st.next)
	}
	return out, again
}

// kind is what voters are asked: a head says that it owns only while it does.
func (l *Lease) kind(now failover.Instant) witness.Kind {
	switch {
	case !l.wants():
		return witness.Query
	case l.grantedUntil() > now:
		return witness.Renew
	}
	return witness.Claim
}

// wants reports whether the epoch is worth asking for. Below one that somebody had it is not, even if voters have forgotten
// that since: epochs never go down.
func (l *Lease) wants() bool { return l.epoch > l.gone && l.epoch >= l.known }

func (l *Lease) ask(st *standing, kind witness.Kind, now failover.Instant) witness.Ask {
	t := l.config.Timing
	epoch := l.epoch
	if kind == witness.Query && st.release != 0 {
		kind, epoch = witness.Release, st.release
		st.releases++
		if st.releases >= releaseTries {
			st.release = 0
		}
	}
	l.nonce++
	for n, q := range st.pending { // an answer that late is worth nothing
		if q.sent+t.TTL < now {
			delete(st.pending, n)
		}
	}
	st.pending[l.nonce] = question{kind: kind, epoch: epoch, sent: now, solo: l.facts.Solo}
	st.missing++
	st.next = now + t.Renew/retryPart
	if st.missing > quickRetries {
		st.next = now + t.Renew
	}
	return witness.Ask{
		Cluster: l.config.Cluster, Kind: kind, Holder: uint8(l.config.Self), Epoch: uint64(epoch), TTL: t.TTL,
		Nonce: l.nonce, Voter: st.boot, Roster: l.rosters.newest(), Facts: l.facts,
	}
}

// Heard is told an answer of the voter with that name. Answers to nothing that was asked are ignored.
func (l *Lease) Heard(name string, a witness.Answer, now failover.Instant) {
	st, ok := l.voters[name]
	if !ok {
		return
	}
	q, ok := st.pending[a.Nonce]
	if !ok {
		return
	}
	delete(st.pending, a.Nonce)
	before := l.grantedUntil() > now
	st.missing, st.boot, st.last, st.heard = 0, a.Boot, a, now
	l.known = max(l.known, failover.Epoch(a.Epoch), failover.Epoch(a.Owned))
	t := l.config.Timing
	switch {
	case q.kind == witness.Release && (a.Granted || a.Reason == witness.Restarted):
		if q.epoch == st.release { // one that has restarted has nothing to give back to
			st.release = 0
		}
		st.next = now + pollTimes*t.Renew
	case q.kind == witness.Query && !l.wants():
		st.next = now + pollTimes*t.Renew
	case q.kind == witness.Query || q.epoch != l.epoch || !l.wants():
		// What matters of it is in last.
	case a.Granted:
		st.granted = max(st.granted, q.sent)
		if q.kind == witness.Renew {
			st.renewed = max(st.renewed, q.sent)
			if q.solo.Equal(l.facts.Solo) {
				st.soloSent = max(st.soloSent, q.sent)
			}
		}
		st.next = q.sent + t.Renew
	case a.Reason == witness.Restarted:
		st.next = now
	case a.Reason == witness.Held, a.Reason == witness.Abstains:
		st.next = now + min(a.Left+time.Millisecond, t.Renew/retryPart)
	default:
		st.next = now + pollTimes*t.Renew // only another epoch helps
	}
	if !before && l.wants() && l.grantedUntil() > now {
		l.hurry(now) // granted; now the voters are to know what the owner is, before it acts
	}
	if st.voter.Head != Witness && st.voter.Head != l.config.Self {
		l.heardRoster(a.Roster, now)
	}
}

// end gives when a lease ends for its holder, by when the newest ask was sent that the voter granted.
func (l *Lease) end(sent func(*standing) failover.Instant) func(Voter) failover.Instant {
	return func(v Voter) failover.Instant {
		st, ok := l.voters[v.Name]
		if !ok || sent(st) == never {
			return never
		}
		return sent(st) + l.config.Timing.TTL - l.config.Timing.Margin
	}
}

func (st *standing) renewal() failover.Instant { return st.renewed }
func (st *standing) grant() failover.Instant   { return st.granted }

// grantedUntil is the end of the lease that a quorum has granted.
func (l *Lease) grantedUntil() failover.Instant { return l.rosters.quorum(l.end((*standing).grant)) }

// heldUntil is the end of the lease for which a quorum also knows what the owner is.
func (l *Lease) heldUntil() failover.Instant { return l.rosters.quorum(l.end((*standing).renewal)) }

// Due is when Next has something to ask.
func (l *Lease) Due() failover.Instant {
	due := failover.Instant(math.MaxInt64)
	for _, st := range l.voters {
		due = min(due, st.next)
	}
	return due
}

// asked is the voter that was asked with that nonce.
func (l *Lease) asked(nonce uint64) (name string, ok bool) {
	for name, st := range l.voters {
		if _, ok := st.pending[nonce]; ok {
			return name, true
		}
	}
	return "", false
}
