package command

import (
	"sync"

	"masthead/node/wire"
)

// job is one command on one node: what came of it and was not taken yet. The reader of the channel puts, and never
// waits; the one that runs the command takes.
type job struct {
	id   string
	more chan struct{} // has a value when there may be something to take

	mu     sync.Mutex
	frames []wire.Frame
	owed   int64 // cost of frames
	ended  bool
}

func newJob(id string) *job { return &job{id: id, more: make(chan struct{}, 1)} }

// put keeps a frame. It reports false if the machine sends more than its window allows.
func (j *job) put(f wire.Frame) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ended {
		return true // what comes after the end is dropped
	}
	j.ended = f.Kind == wire.FrameExit
	j.owed += f.Cost()
	if !j.ended && j.owed > wire.CommandWindow {
		return false
	}
	j.frames = append(j.frames, f)
	select {
	case j.more <- struct{}{}:
	default:
	}
	return true
}

// take gives what has come, in order, and what may come instead.
func (j *job) take() (frames []wire.Frame, grant int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	frames, grant = j.frames, j.owed
	j.frames, j.owed = nil, 0
	return frames, grant
}
