package maker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Step is one row of the way to a new head. Do may be called again after it was broken off at any point, also by a later
// run; Undo, if there is one, takes back what Do has changed on this head, and may find nothing to take back.
type Step struct {
	Name string
	What string // for people, before it is done
	Do   func(context.Context) error
	Undo func(context.Context) error
	// Final: once this is done nothing is taken back any more; a later run goes on behind it.
	Final bool
}

// Event is something that happens on the way.
type Event struct {
	Time  time.Time `json:"time"`
	Step  string    `json:"step"`
	State string    `json:"state"` // begins, goes, done, failed, taken back
	Text  string    `json:"text,omitempty"`
	Done  int64     `json:"done,omitempty"` // of Total, while it goes
	Total int64     `json:"total,omitempty"`
}

// States of an Event.
const (
	Begins    = "begins"
	Goes      = "goes"
	Done      = "done"
	Failed    = "failed"
	TakenBack = "taken back"
)

// undoTime is for all that is taken back when somebody has pressed Ctrl-C.
const undoTime = 30 * time.Second

// Run goes through the steps, behind the last final one that is noted as done. note is called when one is done, tell with
// all that happens. If one fails before a final one is done, what was done on this head is taken back, the last first.
func Run(ctx context.Context, steps []Step, done []string, note func(name string) error, tell func(Event)) error {
	from := 0
	for i, s := range steps {
		if s.Final && slices.Contains(done, s.Name) {
			from = i + 1
		}
	}
	final := from > 0
	for i := from; i < len(steps); i++ {
		s := steps[i]
		tell(Event{Step: s.Name, State: Begins, Text: s.What})
		err := ctx.Err()
		if err == nil {
			err = s.Do(ctx)
		}
		if err == nil {
			err = note(s.Name)
		}
		if err == nil {
			final = final || s.Final
			tell(Event{Step: s.Name, State: Done})
			continue
		}
		tell(Event{Step: s.Name, State: Failed, Text: err.Error()})
		err = &StepError{Step: s.Name, Final: final, Err: err}
		if final {
			return err
		}
		return errors.Join(err, undo(context.WithoutCancel(ctx), steps[from:i+1], tell))
	}
	return nil
}

func undo(ctx context.Context, steps []Step, tell func(Event)) error {
	ctx, cancel := context.WithTimeout(ctx, undoTime)
	defer cancel()
	var errs []error
	for _, s := range slices.Backward(steps) {
		if s.Undo == nil {
			continue
		}
		if err := s.Undo(ctx); err != nil {
			errs = append(errs, fmt.Errorf("take back step %s: %w", s.Name, err))
			continue
		}
		tell(Event{Step: s.Name, State: TakenBack})
	}
	return errors.Join(errs...)
}

// StepError is a step that failed.
type StepError struct {
	Step  string
	Final bool // what was done stays
	Err   error
}

func (e *StepError) Error() string {
	if e.Final {
		return fmt.Sprintf("step %s: %v; what was done stays", e.Step, e.Err)
	}
	return fmt.Sprintf("step %s: %v; this head is as it was", e.Step, e.Err)
}

func (e *StepError) Unwrap() error { return e.Err }
