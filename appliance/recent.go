package appliance

import (
	"sync"
	"time"
)

// recent is a value that is costly to make and may be a little old. Whoever asks while it is being made waits for it.
type recent[T any] struct {
	mu    sync.Mutex
	made  time.Time
	value T
}

// recentEnough is how old it may be: what was imported is there after that time.
const recentEnough = 2 * time.Second

func (r *recent[T]) get(remake func() (T, error)) (T, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.made.IsZero() && time.Since(r.made) < recentEnough {
		return r.value, nil
	}
	value, err := remake()
	if err == nil {
		r.made, r.value = time.Now(), value
	}
	return value, err
}
