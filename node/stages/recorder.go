// Package stages keeps how far a boot has come: each stage with its time and outcome, and what the head knows of it.
// Init begins the record, the agent goes on with it.
package stages

import (
	"encoding/json"
	"os"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"masthead/node/wire"
)

// Recorder keeps the stages of this boot, in order. It is safe for concurrent use.
type Recorder struct {
	// Uptime gives the kernel's time since boot. Nil is the real one.
	Uptime func() time.Duration

	mu     sync.Mutex
	stages []wire.StageResult
	sent   int // how many leading stages are known to have reached the head in their final form
}

func (r *Recorder) uptime() time.Duration {
	if r.Uptime != nil {
		return r.Uptime()
	}
	return Uptime()
}

// Uptime is the kernel's time since boot, suspended time included (CLOCK_BOOTTIME).
func Uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// Begin notes that a stage has started.
func (r *Recorder) Begin(stage wire.Stage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stages = append(r.stages, wire.StageResult{
		Stage: stage, Outcome: wire.OutcomeRunning, At: r.uptime().Seconds(), Time: time.Now().UTC(),
	})
}

// End notes how the stage that was begun last has ended. cause is nil where it went well.
func (r *Recorder) End(detail string, cause error, try string) wire.StageResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.stages[len(r.stages)-1]
	now := r.uptime().Seconds()
	s.Took, s.At, s.Detail, s.Time = now-s.At, now, detail, time.Now().UTC()
	s.Outcome = wire.OutcomeDone
	if cause != nil {
		s.Outcome, s.Cause, s.Try = wire.OutcomeFailed, cause.Error(), try
	}
	return *s
}

// Pending gives the stages that the head does not know yet, and the mark to pass to Sent once it does.
func (r *Recorder) Pending() (stages []wire.StageResult, mark int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	stages = append(stages, r.stages[r.sent:]...)
	mark = r.sent
	for _, s := range stages {
		if s.Outcome == wire.OutcomeRunning {
			break
		}
		mark++
	}
	return stages, mark
}

// Sent notes that the head has everything before mark.
func (r *Recorder) Sent(mark int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = max(r.sent, mark)
}

// All is every stage so far.
func (r *Recorder) All() []wire.StageResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]wire.StageResult(nil), r.stages...)
}

// Save writes the stages where the agent finds them.
func (r *Recorder) Save(file string) error {
	data, err := json.Marshal(r.All())
	if err != nil {
		return err
	}
	return renameio.WriteFile(file, data, 0o644)
}

// Load goes on with the stages that Save left. A missing file is an empty record.
func Load(file string) (*Recorder, error) {
	r := &Recorder{}
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &r.stages)
	}
	return r, err
}
