package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"masthead/node/wire"
	"masthead/vmtest"
)

func plannedSwitch(ctx context.Context, t *Takeover, owner, standby string) error {
	_, err := t.clients[owner].Switch(ctx, wire.SwitchRequest{To: standby, Why: "scenario"})
	return err
}

func kill(ctx context.Context, t *Takeover, owner, _ string) error {
	if err := t.signal(ctx, owner, "KILL"); err != nil && !t.isOff(ctx, owner) { // fenced before it could answer
		return err
	}
	return hold(ctx, holdFor)
}

func serialCut(ctx context.Context, t *Takeover, owner, standby string) error {
	if err := t.CutSerial(owner, standby); err != nil {
		return err
	}
	return hold(ctx, holdFor)
}

func loss(ctx context.Context, t *Takeover, owner, _ string) error {
	if err := t.Loss(owner, 0, vmtest.Both, 10); err != nil {
		return err
	}
	return hold(ctx, holdFor)
}

func standbyCut(ctx context.Context, t *Takeover, _, standby string) error {
	if err := t.PowerCut(standby); err != nil {
		return err
	}
	return hold(ctx, holdFor)
}

func powerCut(_ context.Context, t *Takeover, owner, _ string) error { return t.PowerCut(owner) }

func reset(ctx context.Context, t *Takeover, owner, _ string) error { return t.Reset(ctx, owner) }

func kernelPanic(ctx context.Context, t *Takeover, owner, _ string) error {
	_, err := t.sh(ctx, owner, "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger", take)
	return fate(ctx, err)
}

func stop(ctx context.Context, t *Takeover, owner, standby string) error {
	if err := t.signal(ctx, owner, "STOP"); err != nil {
		return err
	}
	if err := t.AwaitTaken(ctx, standby, takenIn); err != nil {
		return err
	}
	if t.isOff(ctx, owner) { // fenced
		return nil
	}
	return t.signal(ctx, owner, "CONT")
}

func pauseAndResume(ctx context.Context, t *Takeover, owner, _ string) error {
	if err := t.Pause(ctx, owner); err != nil {
		return err
	}
	if err := hold(ctx, pauseFor); err != nil {
		return err
	}
	if err := t.Resume(ctx, owner); err != nil && !errors.Is(err, vmtest.ErrOff) { // fenced meanwhile
		return err
	}
	return nil
}

func lanCut(_ context.Context, t *Takeover, owner, _ string) error {
	return t.CutLink(owner, 0, vmtest.Both)
}

func allCut(_ context.Context, t *Takeover, owner, standby string) error {
	return errors.Join(t.CutLink(owner, 0, vmtest.Both), t.CutSerial(owner, standby))
}

func flap(ctx context.Context, t *Takeover, owner, _ string) error {
	for range flaps {
		if err := t.CutLink(owner, 0, vmtest.Both); err != nil {
			return err
		}
		if err := hold(ctx, flapEvery/2); err != nil {
			return err
		}
		if err := t.HealLink(owner, 0); err != nil {
			return err
		}
		if err := hold(ctx, flapEvery/2); err != nil {
			return err
		}
	}
	return nil
}

// deadFence takes a machine's power and that of its controller: nothing proves that it is off before the controller is back.
func deadFence(ctx context.Context, t *Takeover, owner, standby string) error {
	if err := t.Machine(owner).HangManagement(true); err != nil {
		return err
	}
	if err := t.PowerCut(owner); err != nil {
		return err
	}
	if err := t.awaitBlocked(ctx, standby, takenIn); err != nil {
		return err
	}
	return t.Machine(owner).HangManagement(false)
}

// bitten stops a daemon whose machine nobody can switch off: its hardware watchdog must reset it.
func bitten(ctx context.Context, t *Takeover, owner, _ string) error {
	m := t.Machine(owner)
	if err := m.HangManagement(true); err != nil {
		return err
	}
	bites := func() int {
		n := 0
		for _, e := range m.Events.All() {
			if e.Name == "WATCHDOG" {
				n++
			}
		}
		return n
	}
	before := bites()
	if err := t.signal(ctx, owner, "STOP"); err != nil {
		return err
	}
	return await(ctx, takenIn, owner+" is reset", func(context.Context) error {
		if bites() == before {
			return errNotBitten
		}
		return nil
	})
}

func coldBoot(ctx context.Context, t *Takeover, owner, standby string) error {
	if err := errors.Join(t.PowerCut(owner), t.PowerCut(standby)); err != nil {
		return err
	}
	if err := hold(ctx, time.Second); err != nil {
		return err
	}
	return errors.Join(t.PowerOn(ctx, owner), t.PowerOn(ctx, standby))
}

// staleMaster lets the standby become the owner and die, and boots the first owner alone: what it remembers is old, and it
// must not act. The other one, which owned last, is the owner when it is back.
func staleMaster(ctx context.Context, t *Takeover, owner, standby string) error {
	if err := t.PowerCut(owner); err != nil {
		return err
	}
	if err := t.AwaitTaken(ctx, standby, takenIn); err != nil {
		return err
	}
	if err := t.PowerCut(standby); err != nil {
		return err
	}
	if err := t.PowerOn(ctx, owner); err != nil {
		return err
	}
	if err := t.awaitBlocked(ctx, owner, bootWithin); err != nil {
		return err
	}
	if err := t.PowerOn(ctx, standby); err != nil {
		return err
	}
	return t.AwaitTaken(ctx, standby, bootWithin)
}

// awaitBlocked waits until a head says that it may not own the cluster without a person, and makes sure that it does not.
func (t *Takeover) awaitBlocked(ctx context.Context, head string, within time.Duration) error {
	err := await(ctx, within, head+" is blocked", func(ctx context.Context) error {
		s, err := t.owner(ctx, head)
		if err == nil && s.Why.Phase != "blocked" {
			err = fmt.Errorf("it is in phase %s: %s", s.Why.Phase, s.Why.Summary)
		}
		return err
	})
	if err != nil {
		return err
	}
	if who := t.Answering(); who != "" {
		return fmt.Errorf("%s answers for the address, and nothing proves that the other head is off", who)
	}
	return nil
}
