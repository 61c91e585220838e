package command

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"masthead/node/wire"
)

// answerGrace is how much longer than its timeout a command may take until its node has said so: it kills the process
// group first gently, then not.
const answerGrace = 10 * time.Second

// Emit takes an event. It is called by one goroutine at a time, and may block: the commands whose output it does not
// take wait meanwhile. An error ends the run.
type Emit func(wire.CommandEvent) error

// Run has those targets that are attached here do something, fanout at a time, and gives each event to emit, Done last
// for each target. It returns when all are through, with the first error of emit, or when ctx ends: what runs then is
// killed.
func (d *Dispatcher) Run(ctx context.Context, targets []wire.Target, cmd wire.Command, in *Input, fanout int, emit Emit) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	tell := func(e wire.CommandEvent) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		if err := emit(e); err != nil {
			cancel(err)
		}
	}
	next := make(chan wire.Target)
	var workers sync.WaitGroup
	for range min(max(fanout, 1), len(targets)) {
		workers.Go(func() { // ends with next
			for t := range next {
				began := time.Now()
				r := d.one(ctx, t, cmd, in, tell)
				r.Head, r.Took = d.conf.Head, time.Since(began).Seconds()
				tell(wire.CommandEvent{Node: t.Name, Done: &r})
			}
		})
	}
	for _, t := range targets {
		select {
		case next <- t:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}

// one runs the command on one node, and gives how it ended.
func (d *Dispatcher) one(ctx context.Context, t wire.Target, cmd wire.Command, in *Input, tell func(wire.CommandEvent)) wire.CommandResult {
	c := d.channel(t.MAC)
	if c == nil {
		return wire.CommandResult{Error: "its connection to " + d.conf.Head + " was lost", Try: "masthead node why " + t.Name}
	}
	j := newJob(rand.Text())
	c.begin(j)
	defer c.end(j)
	run := wire.Frame{Kind: wire.FrameRun, ID: j.id, Command: &cmd}
	if in != nil && in.file == nil {
		run.Inline = in.small
	} else if in != nil {
		run.Input = in.size
		defer d.lend(j.id, t.MAC, in)()
	}
	if err := c.send(run); err != nil {
		return wire.CommandResult{Error: err.Error(), Try: "masthead node why " + t.Name}
	}
	late := time.NewTimer(time.Duration(cmd.Timeout*float64(time.Second)) + answerGrace)
	defer late.Stop()
	for gone := false; ; {
		select {
		case <-j.more:
		case <-c.gone:
			gone = true // but what came before counts
		case <-ctx.Done():
			_ = c.send(wire.Frame{Kind: wire.FrameCancel, ID: j.id}) // a node that does not hear it kills it at its timeout
			return wire.CommandResult{Error: "cancelled"}
		case <-late.C:
			_ = c.send(wire.Frame{Kind: wire.FrameCancel, ID: j.id})
			return wire.CommandResult{Error: fmt.Sprintf("no answer within %v", time.Duration(cmd.Timeout*float64(time.Second))+answerGrace), Try: "masthead node why " + t.Name}
		}
		frames, grant := j.take()
		for _, f := range frames {
			if f.Kind == wire.FrameExit {
				if f.Result == nil {
					return wire.CommandResult{Error: "it does not say how the command ended"}
				}
				return *f.Result
			}
			tell(wire.CommandEvent{Node: t.Name, Stdout: f.Stdout, Stderr: f.Stderr})
		}
		if gone {
			return wire.CommandResult{Error: wire.CommandLost, Try: "masthead node why " + t.Name}
		}
		_ = c.send(wire.Frame{Kind: wire.FrameGrant, ID: j.id, Grant: grant}) // what it fails with ends the channel
	}
}
