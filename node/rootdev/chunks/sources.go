package chunks

import (
	"context"
	"errors"
	"fmt"
	"io"
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
// fails is set aside for a while (see health); one that is slow gets a second one beside it; one that has a chunk
// wrong, or not at all, is left alone for that chunk. When none is left, Fetch waits for as long as it takes.
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
	told    bool          // that none is
	waiting map[*fetch]bool
	last    error
	fetched int64 // bytes that verified
	errors  int
}

// member is a source with what is known of it.
type member struct {
	Source
	health  health
	faults  int  // chunks in a row that it had wrong or not at all
	probing bool // an attempt is finding out whether it is back
}

// fetch is one Fetch under way.
type fetch struct {
	chunk images.Chunk
	since time.Time          // when it began to wait, if it does
	avoid map[*member]health // sources that have its chunk wrong or not at all
}

// NewSources makes Sources of a list in the order of preference. notify, which may be nil, is told when no source
// answers, when one does again, when another one is used and when one lies; it must not block and must not call back.
func NewSources(list []Source, notify func(wire.Event)) *Sources {
	s := &Sources{notify: notify, changed: make(chan struct{}), last: errNone, waiting: map[*fetch]bool{}}
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
	s.mu.Lock()
	s.end() // no attempt begins after this
	s.mu.Unlock()
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

	f := &fetch{chunk: c, avoid: map[*member]health{}}
	defer func() {
		s.mu.Lock()
		delete(s.waiting, f)
		s.mu.Unlock()
	}()
	for {
		use, probe := s.await(ctx, f)
		if use == nil {
			if err := context.Cause(ctx); err != nil {
				return nil, err
			}
			return nil, ErrClosed
		}
		if probe != nil {
			// A better source may be back. This finds out with a chunk that comes from elsewhere anyway, so that no
			// read waits for a source that is still dead.
			s.start(s.life, f, probe, nil)
		}
		if data := s.race(ctx, f, use); data != nil {
			return data, nil
		}
	}
}

// await blocks until there is a source to use, or returns nil when ctx or the Sources have ended. It also returns one
// to probe, or nil.
func (s *Sources) await(ctx context.Context, f *fetch) (use, probe *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if ctx.Err() != nil || s.life.Err() != nil {
			return nil, nil
		}
		now := time.Now()
		use, probe, next := pick(s.list, f.avoid, now)
		if use != nil && !use.health.aside && f.avoid[use].failures == 0 {
			return use, probe
		}
		if !s.waiting[f] {
			s.waiting[f] = true
			f.since = now
		}
		if s.firstGood(nil) == nil { // not only for this chunk
			if s.since.IsZero() {
				s.since = now
			}
			if tell := s.since.Add(quietWait); now.Before(tell) {
				next = earlier(next, tell)
			} else if !s.told {
				s.told = true
				s.current = ""
				s.say(true, "no source of the root answers: reads wait (%v)", s.last)
			}
		}
		if use != nil {
			return use, probe
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
// their back-off is over are marked as being probed. Members in avoid are passed over until their time there is over.
func pick(list []*member, avoid map[*member]health, now time.Time) (use, probe *member, next time.Time) {
	for _, m := range list {
		if bad := avoid[m]; bad.aside && !bad.due(now) {
			next = earlier(next, bad.until)
			continue
		}
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
	for f := range s.waiting {
		st.Waiting = max(st.Waiting, time.Since(f.since).Seconds())
	}
}
