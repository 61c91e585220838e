package chunks

import (
	"context"
	"errors"
	"sync"

	"masthead/images"
)

// flights has each chunk worked on once, however many want it at the same time.
type flights struct {
	mu sync.Mutex
	m  map[images.Digest]*flight
}

type flight struct {
	done chan struct{}
	data []byte
	err  error
}

// do returns what fn makes of d: of this call, or of one under way. fn runs in the goroutine of one of those who
// wait; if that one's context ends, another one begins anew.
func (f *flights) do(ctx context.Context, d images.Digest, fn func() ([]byte, error)) ([]byte, error) {
	for {
		f.mu.Lock()
		other, busy := f.m[d]
		if !busy {
			mine := &flight{done: make(chan struct{})}
			if f.m == nil {
				f.m = map[images.Digest]*flight{}
			}
			f.m[d] = mine
			f.mu.Unlock()

			mine.data, mine.err = fn()
			f.mu.Lock()
			delete(f.m, d)
			f.mu.Unlock()
			close(mine.done)
			return mine.data, mine.err
		}
		f.mu.Unlock()
		select {
		case <-other.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if other.err == nil || !isContextError(other.err) {
			return other.data, other.err
		}
	}
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
