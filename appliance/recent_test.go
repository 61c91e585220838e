package appliance

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recent[int]
		made := 0
		remake := func() (int, error) { made++; return made, nil }
		if _, err := r.get(func() (int, error) { return 0, errors.New("no") }); err == nil {
			t.Error("an error is lost")
		}
		for _, tt := range []struct {
			wait time.Duration
			want int
		}{{0, 1}, {recentEnough, 2}, {0, 2}, {recentEnough, 3}} {
			time.Sleep(tt.wait)
			if got, err := r.get(remake); err != nil || got != tt.want {
				t.Errorf("after %v: %d, %v, want %d", tt.wait, got, err, tt.want)
			}
		}
	})
}
