package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"masthead/images"
	"masthead/images/disk"
	"masthead/node"
	"masthead/node/slot"
	"masthead/node/wire"
)

// slotConfirmCommand is what init starts on a machine that runs from a slot.
func (a *app) slotConfirmCommand() *cobra.Command {
	return &cobra.Command{
		Use: "confirm", Short: "Find the slot that is on trial healthy, or restart into the other one", Args: exactArgs(0), Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := slot.Find("/sys", "/proc", "/dev")
			if err != nil {
				return err
			}
			t := &trial{running: m.Running, env: m.Environment(), tell: slot.TellGuard, state: images.StateDir, say: func(text string) { fmt.Fprintln(a.err, "masthead slot: "+text) },
				look: observe, restart: func(ctx context.Context) error { return node.Restart(ctx, node.Firmware) }, uptime: uptime}
			return t.run(cmd.Context())
		},
	}
}

// grubEnvironment is where GRUB reads which slot starts.
type grubEnvironment interface {
	Read() (disk.Env, error)
	Write(disk.Env) error
}

// trial is the first start of a new image.
type trial struct {
	running disk.Slot
	env     grubEnvironment
	tell    func() error // the guard, that all is well
	state   string       // folder
	say     func(string)
	look    func(context.Context) slot.Observation
	restart func(context.Context) error
	uptime  func() time.Duration
}

// healthLook is the time between two looks at a head that is starting.
const healthLook = 2 * time.Second

// run ends when the slot is good, also one that is not on trial. When the deadline has passed it restarts the machine, and
// GRUB, which tries a slot once, starts the other one.
func (t *trial) run(ctx context.Context) error {
	env, err := t.env.Read()
	if err != nil {
		return err
	}
	if slot.Judge(env, t.running) != slot.OnTrial {
		return nil
	}
	r, err := slot.ReadRecord(t.state)
	if err != nil {
		return err
	}
	deadline := slot.DefaultDeadline
	if r.Trial != nil && r.Trial.Deadline > 0 {
		deadline = r.Trial.Deadline
	}
	t.say(fmt.Sprintf("slot %s is on trial, until %v after the start", t.running, deadline))
	for {
		lacks := slot.Lacks(t.look(ctx))
		if len(lacks) == 0 {
			return t.good()
		}
		reason := strings.Join(lacks, "; ")
		if err := t.note(&r, reason); err != nil {
			t.say(err.Error())
		}
		if t.uptime() > deadline {
			t.say("not healthy in time, restart into the other slot: " + reason)
			if err := t.restart(ctx); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(healthLook):
		}
	}
}

// note keeps what the slot lacks, so that the other one can say why it is back.
func (t *trial) note(r *slot.Record, reason string) error {
	if r.Trial == nil || r.Trial.Reason == reason {
		return nil
	}
	r.Trial.Reason = reason
	t.say("lacks: " + reason)
	return r.Write(t.state)
}

// good makes the slot the one that starts from now on.
func (t *trial) good() error {
	if err := t.env.Write(slot.MarkGood(t.running)); err != nil {
		return err
	}
	if err := t.tell(); err != nil {
		return err
	}
	r, err := slot.ReadRecord(t.state)
	if err == nil {
		r.Trial, r.Failed = nil, nil
		err = r.Write(t.state)
	}
	t.say(fmt.Sprintf("slot %s is healthy, after %.0f s, and starts from now on", t.running, t.uptime().Seconds()))
	return err
}

// observe looks at this head.
func observe(ctx context.Context) slot.Observation {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var o slot.Observation
	if text("/proc", "1/comm") == "systemd" {
		out, err := exec.CommandContext(ctx, "systemctl", "is-system-running").Output()
		o.Init = strings.TrimSpace(string(out))
		if o.Init == "" { // its exit code is not 0 while it starts, or is degraded
			o.InitErr = errors.Join(err, errors.New("no answer"))
		}
	}
	head := wire.NewUnixClient(images.APISocket)
	defer head.Close()
	o.Head, o.HeadErr = head.Status(ctx)
	if o.HeadErr == nil {
		o.Member, o.MemberErr = head.Membership(ctx)
	}
	owner := wire.NewUnixClient(images.OwnerSocket)
	defer owner.Close()
	_, o.OwnerErr = owner.Owner(ctx)
	return o
}

// uptime is the time since the kernel started.
func uptime() time.Duration {
	var seconds float64
	if _, err := fmt.Sscan(text("/proc", "uptime"), &seconds); err != nil {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}
