package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestAsk asks a head that comes up, one that never does, one whose answer the end of the time cuts off, and is ended itself.
func TestAsk(t *testing.T) {
	unknown, starts := errors.New("no node has this name"), errors.New("it starts")
	for _, tt := range []struct {
		name    string
		answers []error // the last one goes on
		hangs   bool    // after the answers, until the time is up
		ended   time.Duration
		want    []error // nil: asked with success
		said    string
	}{
		{name: "at once", answers: []error{nil}},
		{name: "comes up", answers: []error{unknown, unknown, starts, nil}, said: "head2: is not reached\nhead2: it starts\n"},
		{name: "never", answers: []error{unknown, starts}, want: []error{starts}, said: "head2: is not reached\nhead2: it starts\n"},
		{name: "hangs", answers: []error{unknown}, hangs: true, want: []error{unknown}, said: "head2: is not reached\n"},
		{name: "ended", answers: []error{unknown}, ended: 3 * time.Second, want: []error{context.DeadlineExceeded, unknown}, said: "head2: is not reached\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said bytes.Buffer
				patience := time.Hour
				if tt.ended > 0 {
					patience = tt.ended
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				began, asked := time.Now(), 0
				err := (&app{err: &said}).ask(ctx, upgradeReach, "head2", func(ctx context.Context) (string, error) {
					n := asked
					if asked++; n >= len(tt.answers) && tt.hangs {
						<-ctx.Done()
						return "is cut off", ctx.Err()
					}
					answer := tt.answers[min(n, len(tt.answers)-1)]
					if answer == unknown { // it has a number that changes, which is not to be said each time
						return notReached, fmt.Errorf("asked %d times: %w", n, answer)
					}
					return fmt.Sprint(answer), answer
				})
				if (err == nil) != (tt.want == nil) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				for _, want := range tt.want {
					if !errors.Is(err, want) {
						t.Errorf("got %v, want %v in it", err, want)
					}
				}
				if tt.ended == 0 && err != nil && strings.Contains(err.Error(), "deadline") {
					t.Errorf("the end of the time hides the reason: %v", err)
				}
				if got := said.String(); got != tt.said {
					t.Errorf("said:\n%s\nwant:\n%s", got, tt.said)
				}
				if took := time.Since(began); took > upgradeReach+watchEvery {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}
