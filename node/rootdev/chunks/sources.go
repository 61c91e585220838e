package chunks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"masthead/images"
	"masthead/node/wire"
)

// quietWait is how long no source may answer before anybody is told: a head that restarts is not news.
const quietWait = time.Second

// ErrClosed is what Fetch returns after Close.
var ErrClosed = errors.New("the sources are closed")

var (
	errNone   = errors.New("no source is configured")
	errBeaten = errors.New("another source was faster")
)

// Sources fetches chunks from several sources, the first that works in their order, and verifies them. A source that
// fails is set aside for a while (see health); one that is slow gets a second one beside it. When none works, Fetch
// waits for as long as it takes.
//
// Its methods may be called by several goroutines at once.
type Sources struct {
	notify   func(wire.Event)
	life     context.Context // ends with Close
	end      context.CancelFunc
	attempts sync.WaitGroup

	mu      sync.Mutex
	list    []*member     // in the order of preference
	changed chan struct{} // closed, and replaced, whenever a waiting Fetch should look again
	current string        // name of the source in use; empty: none has answered
	since   time.Time     // when no source was left; zero: one answers
	waiting int           // Fetches that wait for a source
	told    bool          // that they wait
	last    error
	fetched int64 // bytes that verified
	errors  int
}

// member is a source with what is known of it.
type member struct {
	Source
	health  health
	probing bool // an attempt is finding out whether it is back
}

// NewSources makes Sources of a list in the order of preference. notify, which may be nil, is told when no source
// answers, when one does again, when another one is used and when one lies; it must not block and must not call back.
func NewSources(list []Source, notify func(wire.Event)) *Sources {
	s := &Sources{notify: notify, changed: make(chan struct{}), last: errNone}
	s.life, s.end = context.WithCancel(context.Background())
	s.Replace(list)
	return s
}

// Replace takes a new list of sources. What was known of the old ones is forgotten: new addresses or a new token may
// be just what was missing. Attempts under way go on.
func (s *Sources) Replace(list []Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeIdle()
	s.list = nil
	for _, src := range list {
		s.list = append(s.list, &member{Source: src})
	}
	s.wake()
}

// Close ends every Fetch with ErrClosed and returns when the attempts under way have ended.
func (s *Sources) Close() {
	s.end()
	s.attempts.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeIdle()
}

func (s *Sources) closeIdle() {
	for _, m := range s.list {
		if c, ok := m.Source.(io.Closer); ok {
			c.Close()
		}
	}
}

// wake makes every waiting Fetch look again.
func (s *Sources) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Fetch gives the verified stored bytes of a chunk that is not a hole; they must not be changed. It blocks until it
// has them, for ever if need be, and fails only when ctx ends or the Sources are closed.
func (s *Sources) Fetch(ctx context.Context, c images.Chunk) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.life, func() { cancel(ErrClosed) })()

	waits := false
	defer func() {
		if waits {
			s.mu.Lock()
			s.waiting--
			s.mu.Unlock()
		}
	}()
	for {
		use, probe := s.await(ctx, &waits)
		if use == nil {
			return nil, context.Cause(ctx)
		}
		if probe != nil {
			// A better source may be back. This finds out with a chunk that comes from elsewhere anyway, so that no
			// read waits for a source that is still dead.
			s.start(s.life, c, probe, nil)
		}
		if data := s.race(ctx, c, use); data != nil {
			return data, nil
		}
	}
}

// await blocks until there is a source to use, or returns nil when ctx has ended. It also returns one to probe, or
// nil. waits tells whether the calling Fetch is counted as waiting.
func (s *Sources) await(ctx context.Context, waits *bool) (use, probe *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if ctx.Err() != nil {
			return nil, nil
		}
		now := time.Now()
		use, probe, next := pick(s.list, now)
		if use != nil && !use.health.aside {
			return use, probe
		}
		if s.since.IsZero() {
			s.since = now
		}
		if !*waits {
			*waits = true
			s.waiting++
		}
		if tell := s.since.Add(quietWait); now.Before(tell) {
			next = earlier(next, tell)
		} else if !s.told {
			s.told = true
			s.current = ""
			s.say(true, "no source of the root answers: reads wait (%v)", s.last)
		}
		if use != nil {
			return use, nil
		}
		s.sleep(ctx, next)
	}
}

// sleep waits, without the lock, for a change, for ctx, or until then unless that is zero.
func (s *Sources) sleep(ctx context.Context, then time.Time) {
	changed := s.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	var after <-chan time.Time
	if !then.IsZero() {
		t := time.NewTimer(time.Until(then))
		defer t.Stop()
		after = t.C
	}
	select {
	case <-changed:
	case <-after:
	case <-ctx.Done():
	}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// pick chooses the source to use, the first that is not set aside, and one to probe beside it: a better one whose
// back-off is over. If all are set aside, the first whose back-off is over is used, by one attempt at a time; if there
// is none either, next is when that changes, zero if time alone does not change it. Members that are picked because
// their back-off is over are marked as being probed.
func pick(list []*member, now time.Time) (use, probe *member, next time.Time) {
	for _, m := range list {
		switch {
		case !m.health.aside:
			use = m
		case m.probing:
			continue
		case !m.health.due(now):
			next = earlier(next, m.health.until)
			continue
		case probe == nil:
			probe = m
		}
		if use != nil {
			break
		}
	}
	if probe != nil {
		probe.probing = true
	}
	if use == nil {
		use, probe = probe, nil
	}
	return use, probe, next
}

// race gets a chunk from m and, if m takes too long, from a second source as well; the first to have it wins. It
// returns nil if none has it.
func (s *Sources) race(ctx context.Context, c images.Chunk, m *member) []byte {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errBeaten)
	results := make(chan []byte, 2)
	s.mu.Lock()
	hedge := time.NewTimer(m.health.hedge())
	s.mu.Unlock()
	defer hedge.Stop()
	s.start(ctx, c, m, results)
	for running := 1; running > 0; {
		select {
		case data := <-results:
			if data != nil {
				return data
			}
			running--
		case <-hedge.C:
			if second := s.besides(m); second != nil {
				s.start(ctx, c, second, results)
				running++
			} else {
				hedge.Reset(minHedge) // one may come back
			}
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// besides is a source other than m that is not set aside or may be back, or nil.
func (s *Sources) besides(m *member) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	if good := s.firstGood(m); good != nil {
		return good
	}
	now := time.Now()
	for _, o := range s.list {
		if o != m && !o.probing && o.health.due(now) {
			o.probing = true
			return o
		}
	}
	return nil
}

func (s *Sources) firstGood(except *member) *member {
	for _, m := range s.list {
		if m != except && !m.health.aside {
			return m
		}
	}
	return nil
}

// start makes one attempt at a chunk. It does not block: the attempt ends with ctx, its limit or its source, and Close
// waits for it. results, unless nil, gets the verified bytes or nil, and has room for them.
func (s *Sources) start(ctx context.Context, c images.Chunk, m *member, results chan<- []byte) {
	s.attempts.Go(func() {
		began := time.Now()
		limit := attemptLimit(c.Size)
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		data, err := m.Fetch(limited, c)
		if err == nil {
			err = verify(c, data)
		} else if limited.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("%s: chunk %s did not come within %v: %w", m.Name(), c.Digest.Short(), limit, err)
		}
		if err != nil {
			data = nil
		}
		s.record(context.Cause(ctx), m, err, began, len(data))
		if results != nil {
			results <- data
		}
	})
}

// record notes the outcome of an attempt: n bytes, or err. ended is why nobody waits for it any more, if so.
func (s *Sources) record(ended error, m *member, err error, began time.Time, n int) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	took, slow := now.Sub(began), now.Sub(began) > m.health.hedge()
	probed := m.probing
	m.probing = false
	switch {
	case err == nil:
		s.fetched += int64(n)
		if probed && slow && s.firstGood(m) != nil {
			// Still as slow as when it was set aside: the others do better.
			m.health = m.health.failed(began, now, errBeaten, rand.Float64())
			return
		}
		m.health = m.health.succeeded(took)
		s.used(m)
	case ended == errBeaten && slow:
		m.health = m.health.failed(began, now, errBeaten, rand.Float64())
		s.last = fmt.Errorf("%s: nothing for %v", m.Name(), took.Round(time.Millisecond))
		s.errors++
	case ended != nil: // says nothing of the source
	default:
		m.health = m.health.failed(began, now, err, rand.Float64())
		s.last = err
		s.errors++
		if errors.Is(err, ErrLies) {
			s.say(true, "%s gave a damaged chunk: %v", m.Name(), err)
		}
	}
	s.wake()
}

// used notes that m gave a chunk.
func (s *Sources) used(m *member) {
	name := m.Name()
	s.since = time.Time{}
	switch {
	case s.told:
		s.told = false
		s.say(false, "the chunks of the root come again, from %s", name)
	case s.current == "":
	case s.current == name || s.firstGood(nil) != m: // or a second source that was faster once
		return
	default:
		s.say(false, "the chunks of the root come from %s now; last error: %v", name, s.last)
	}
	s.current = name
}

func (s *Sources) say(failed bool, format string, args ...any) {
	if s.notify != nil {
		s.notify(wire.Event{Time: time.Now(), Kind: "root", Text: fmt.Sprintf(format, args...), Failed: failed})
	}
}

// Status fills in what Sources know of how the root stands.
func (s *Sources) Status(st *wire.RootStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Source = s.current
	st.BytesFetched = s.fetched
	st.Errors = s.errors
	st.Waiting = 0
	if s.waiting > 0 && !s.since.IsZero() {
		st.Waiting = time.Since(s.since).Seconds()
	}
}
