package gossip

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A head without a network runs, and the membership protocol waits for nothing.
func TestNoAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		asked := false
		l := newNetLink(&Config{Name: "head1", Port: 7946, Keys: func() [][]byte { asked = true; return [][]byte{make([]byte, 32)} }}, nil)
		if err := l.run(ctx); err != nil {
			t.Error(err)
		}
		if asked || l.members() != nil || ctx.Err() == nil {
			t.Errorf("it began: keys asked for %v, members %v, ended %v", asked, l.members(), ctx.Err())
		}
	})
}
