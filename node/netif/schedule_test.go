package netif

import (
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	const s = time.Second
	hour := Lease{Acquired: 100 * s, T1: 1800 * s, T2: 3150 * s, Length: 3600 * s}
	short := Lease{Acquired: 100 * s, T1: 60 * s, T2: 105 * s, Length: 120 * s}
	tests := []struct {
		name  string
		lease Lease
		now   time.Duration
		do    deed
		again time.Duration
	}{
		{"fresh", hour, 100 * s, keep, 1900 * s},
		{"just before T1", hour, 1900*s - 1, keep, 1900 * s},
		{"T1: half of what is left to T2", hour, 1900 * s, renew, 2575 * s},
		{"later", hour, 2575 * s, renew, 2912*s + 500*time.Millisecond},
		{"not below a minute", hour, 3160 * s, renew, 3220 * s},
		{"and not past T2", hour, 3249 * s, renew, 3250 * s},
		{"T2", hour, 3250 * s, rebind, 3475 * s},
		{"and not past the end", hour, 3690 * s, rebind, 3700 * s},
		{"over", hour, 3700 * s, rediscover, 3730 * s},
		{"long over", hour, 90000 * s, rediscover, 90030 * s},
		{"short: T1", short, 160 * s, renew, 205 * s},
		{"short: T2", short, 205 * s, rebind, 220 * s},
		{"infinite", Lease{Acquired: 5 * s, T1: Infinite, T2: Infinite, Length: Infinite}, 90000 * s, keep, Infinite},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if do, again := next(tt.lease, tt.now); do != tt.do || again != tt.again {
				t.Errorf("got %v, %v, want %v, %v", do, again, tt.do, tt.again)
			}
		})
	}
}

// However a lease looks, the schedule goes forward.
func FuzzNext(f *testing.F) {
	f.Add(int64(100), int64(60), int64(105), int64(120), int64(161))
	f.Fuzz(func(t *testing.T, acquired, t1, t2, length, now int64) {
		const limit = int64(1) << 60
		for _, n := range []int64{acquired, t1, t2, length, now} {
			if n < 0 || n > limit {
				return
			}
		}
		l := Lease{Acquired: time.Duration(acquired), T1: time.Duration(t1), T2: time.Duration(t2), Length: time.Duration(length)}
		if do, again := next(l, time.Duration(now)); again <= time.Duration(now) {
			t.Errorf("%v: again at %v, now is %v", do, again, now)
		}
	})
}

func TestRetransmit(t *testing.T) {
	var got time.Duration
	for n := range 100 {
		got += retransmit(n)
		if j := jitter(retransmit(n)); j < retransmit(n) || j > retransmit(n)*9/8 {
			t.Errorf("jitter %v of %v", j, retransmit(n))
		}
	}
	if want := (1 + 2 + 98*4) * time.Second; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
