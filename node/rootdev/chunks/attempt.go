package chunks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"masthead/images"
	"masthead/node/wire"
)

// maxFaults is how many chunks in a row a source may have wrong or not at all before it is the source that is wrong:
// a disk with a bad block against a head without the image.
const maxFaults = 3

// race gets a chunk from m and, if m takes too long, from a second source as well; the first to have it wins. It
// returns nil if none has it.
func (s *Sources) race(ctx context.Context, f *fetch, m *member) []byte {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errBeaten)
	results := make(chan []byte, 2)
	s.mu.Lock()
	hedge := time.NewTimer(m.health.hedge())
	s.mu.Unlock()
	defer hedge.Stop()
	s.start(ctx, f, m, results)
	for running := 1; running > 0; {
		select {
		case data := <-results:
			if data != nil {
				return data
			}
			running--
		case <-hedge.C:
			if second := s.besides(f, m); second != nil {
				s.start(ctx, f, second, results)
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
func (s *Sources) besides(f *fetch, m *member) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var back *member
	for _, o := range s.list {
		switch {
		case o == m || f.avoid[o].aside:
		case !o.health.aside:
			return o
		case back == nil && !o.probing && o.health.due(now):
			back = o
		}
	}
	if back != nil {
		back.probing = true
	}
	return back
}

// firstGood is the first source that is not set aside, or nil.
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
func (s *Sources) start(ctx context.Context, f *fetch, m *member, results chan<- []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		if results != nil {
			results <- nil
		}
		return
	}
	s.attempts.Go(func() {
		began := time.Now()
		limit := attemptLimit(f.chunk.Size)
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		data, err := m.Fetch(limited, f.chunk)
		if err == nil {
			err = verify(f.chunk, data)
		} else if limited.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("%s: chunk %s did not come within %v: %w", m.Name(), f.chunk.Digest.Short(), limit, err)
		}
		if err != nil {
			data = nil
		}
		s.record(context.Cause(ctx), f, m, err, began, len(data))
		if results != nil {
			results <- data
		}
	})
}

// record notes the outcome of an attempt: n bytes, or err. ended is why nobody waits for it any more, if so.
func (s *Sources) record(ended error, f *fetch, m *member, err error, began time.Time, n int) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	took, slow := now.Sub(began), now.Sub(began) > m.health.hedge()
	probed := m.probing
	m.probing = false
	switch {
	case err == nil:
		s.fetched += int64(n)
		m.faults = 0
		if probed && slow && s.firstGood(m) != nil {
			// Still as slow as when it was set aside: the others do better.
			m.health = m.health.failed(began, now, rand.Float64())
			return
		}
		m.health = m.health.succeeded(took)
		s.used(m)
	case ended == errBeaten && slow:
		m.health = m.health.failed(began, now, rand.Float64())
		s.last = fmt.Errorf("%s: nothing for %v", m.Name(), took.Round(time.Millisecond))
		s.errors++
	case ended != nil: // says nothing of the source
	default:
		s.errors++
		s.last = err
		if isFault(err) {
			s.fault(f, m, err, now)
			m.faults++
		}
		if !isFault(err) || m.faults >= maxFaults || m.health.aside {
			m.health = m.health.failed(began, now, rand.Float64())
		}
	}
	s.wake()
}

// fault has f avoid m for a while.
func (s *Sources) fault(f *fetch, m *member, err error, now time.Time) {
	bad := f.avoid[m]
	if !bad.aside && m.faults < maxFaults { // once for each chunk, and not for all chunks of a head without the image
		s.say(true, "%s cannot give a chunk of the root: %v", m.Name(), err)
	}
	f.avoid[m] = bad.failed(now, now, rand.Float64())
}

// isFault reports whether err is about one chunk: the source is there, and has it wrong or not at all.
func isFault(err error) bool {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return false // the connection died
	}
	var p *wire.ProblemError
	return errors.Is(err, ErrLies) || errors.Is(err, ErrShort) || errors.Is(err, images.ErrNotFound) ||
		errors.As(err, &p) && p.Status == http.StatusNotFound
}
