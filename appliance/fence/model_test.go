package fence

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"masthead/appliance/failover"
)

// TestNoProofWithoutOff draws levels of devices that do anything, and checks the one rule: a proof if and only if there
// is a level whose devices have all taken the order and then said off in their time, and none before it.
func TestNoProofWithoutOff(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type behaviour struct {
			orderEnds     time.Duration
			refuses, deaf bool
			offAfter      time.Duration // negative: never
			answers       []int         // 0 truth, 1 error, 2 hangs
		}
		draw := rapid.Custom(func(rt *rapid.T) behaviour {
			return behaviour{
				orderEnds: rapid.SampledFrom([]time.Duration{0, time.Second, 9 * time.Second, 12 * time.Second, time.Hour}).Draw(rt, "order ends"),
				refuses:   rapid.IntRange(0, 3).Draw(rt, "refuses") == 0,
				deaf:      rapid.IntRange(0, 3).Draw(rt, "deaf") == 0,
				offAfter:  rapid.SampledFrom([]time.Duration{-1, 0, 500 * time.Millisecond, 5 * time.Second, 30 * time.Second}).Draw(rt, "off after"),
				answers:   rapid.SliceOfN(rapid.SampledFrom([]int{0, 0, 0, 1}), 1, 4).Draw(rt, "answers"),
			}
		})
		drawn := rapid.SliceOfN(rapid.SliceOfN(draw, 1, 2), 1, 3).Draw(rt, "levels")
		var levels [][]*machine
		for _, l := range drawn {
			var level []*machine
			for _, d := range l {
				n := 0
				level = append(level, &machine{running: true,
					off: func(ctx context.Context, m *machine) error {
						if d.refuses {
							return errors.New("refused")
						}
						wait := ctx
						if d.deaf {
							wait = context.Background()
						}
						select {
						case <-time.After(d.orderEnds):
						case <-wait.Done():
							return wait.Err()
						}
						if d.offAfter >= 0 {
							time.AfterFunc(d.offAfter, func() { m.set(false) })
						}
						return nil
					},
					status: func(ctx context.Context, m *machine) (bool, error) {
						n++
						if d.answers[n%len(d.answers)] == 1 {
							return false, errors.New("no answer")
						}
						return m.on(), nil
					},
				})
			}
			levels = append(levels, level)
		}
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, levels...)
			b.Start("b")
			got := b.ended()
			proved := false
			for _, level := range levels {
				all := true
				for _, m := range level {
					all = all && !m.on()
				}
				proved = proved || all
			}
			if got.State == failover.FenceProof && !proved {
				rt.Errorf("a proof, and no level is off: %s", got.Detail)
			}
			if got.State != failover.FenceProof && got.State != failover.FenceFailed {
				rt.Errorf("it ended in %v: %s", got.State, got.Detail)
			}
			want := false
			for _, l := range drawn {
				all := true
				for _, d := range l {
					truthful := false
					for _, a := range d.answers {
						truthful = truthful || a == 0
					}
					// 10 s for all of it; statuses are a second apart at most, one in four may be an error at worst.
					sure := !d.refuses && d.orderEnds+max(d.offAfter, 0) <= 5*time.Second && d.offAfter >= 0 && truthful && len(d.answers) == 1
					all = all && sure
				}
				want = want || all
			}
			if want && got.State != failover.FenceProof {
				rt.Errorf("no proof, though a level obeys: %s", got.Detail)
			}
			b.end()
			time.Sleep(2 * time.Hour) // what was left behind ends
		})
	})
}
