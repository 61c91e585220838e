package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/images/disk"
	"masthead/node/slot"
	"masthead/node/wire"
)

// memoryEnv is GRUB's block in a test.
type memoryEnv struct{ disk.Env }

func (e *memoryEnv) Read() (disk.Env, error)  { return e.Env, nil }
func (e *memoryEnv) Write(env disk.Env) error { e.Env = env; return nil }

// The guard of a trial is told only when the head was found healthy; else the machine restarts at the deadline, with the
// block as GRUB left it, and the record says what was lacking.
func TestTrial(t *testing.T) {
	well := slot.Observation{Member: wire.Membership{State: wire.MemberSolo}}
	ill := slot.Observation{HeadErr: errors.New("no answer")}
	onTrial := disk.Env{Slot: disk.SlotA, Tried: disk.SlotB}
	type outcome struct {
		Env       disk.Env
		Told      bool
		Restarted time.Duration
		Reason    string
	}
	for _, tt := range []struct {
		name   string
		before disk.Env
		wellAt time.Duration
		want   outcome
	}{
		{"not on trial", disk.Env{Slot: disk.SlotB}, 0, outcome{Env: disk.Env{Slot: disk.SlotB}}},
		{"healthy at once", onTrial, 0, outcome{Env: disk.Env{Slot: disk.SlotB}, Told: true}},
		{"healthy in time", onTrial, 50 * time.Second, outcome{Env: disk.Env{Slot: disk.SlotB}, Told: true}},
		{"healthy too late", onTrial, 2 * time.Minute, outcome{Env: onTrial, Restarted: time.Minute + healthLook, Reason: "head run does not answer: no answer"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				state, began := t.TempDir(), time.Now()
				if err := (slot.Record{Trial: &slot.Trial{Slot: disk.SlotB, Deadline: time.Minute}}).Write(state); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				uptime := func() time.Duration { return time.Since(began) }
				env, got := &memoryEnv{tt.before}, outcome{}
				err := (&trial{
					running: disk.SlotB, env: env, state: state, uptime: uptime, say: func(string) {},
					tell: func() error { got.Told = true; return nil },
					look: func(context.Context) slot.Observation {
						if uptime() < tt.wellAt {
							return ill
						}
						return well
					},
					restart: func(context.Context) error { got.Restarted = uptime(); cancel(); return nil },
				}).run(ctx)
				if err != nil {
					t.Fatal(err)
				}
				r, err := slot.ReadRecord(state)
				if err != nil {
					t.Fatal(err)
				}
				if r.Trial != nil {
					got.Reason = r.Trial.Reason
				}
				got.Env = env.Env
				if d := cmp.Diff(tt.want, got); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
			})
		})
	}
}
