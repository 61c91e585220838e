package data

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A volume whose device does not answer holds up who asks for its snapshots, and nobody else.
func TestSnapshotsOfADeviceThatDoesNotAnswer(t *testing.T) {
	b := following(t)
	b.drbd.become(func(c *Copy) { *c = connected(primary, secondary) })
	b.until(t, "owns", func() bool { return b.look().Copy.Role == primary })
	asked, answers := make(chan struct{}, 1), make(chan struct{})
	defer close(answers)
	b.cfg.Tools.InUse = func(string) bool {
		notify(asked)
		<-answers
		return true
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan error, 1)
	go func() {
		_, err := b.Snapshots(ctx, "data")
		done <- err
	}()
	<-asked
	b.Standing(b.view) // returns
	cancel()
	if err := <-done; !errors.Is(err, errStuck) {
		t.Errorf("got %v", err)
	}
}
