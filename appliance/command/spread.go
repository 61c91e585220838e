package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"masthead/node/wire"
)

// Peer is another head.
type Peer struct {
	Name string
	// Attached tells which of these machines the head reaches, and how long ago each was heard.
	Attached func(ctx context.Context, macs []string) (map[string]time.Duration, error)
	// Run has the head run a command on its own machines, as Dispatcher.Run does.
	Run func(ctx context.Context, req wire.PeerRequest, input io.Reader, emit Emit) error
}

const (
	// fresh is the silence of a machine whose channel surely lives: more than one sign of life was not lost. One that has
	// been silent for longer may have gone to another head, which is asked then.
	fresh = wire.ChannelPing * 3 / 2
	// peerPatience is how long another head may take to say whom it reaches.
	peerPatience = 3 * time.Second
)

// Route is which head reaches which target.
type Route struct {
	Plan  wire.CommandPlan
	Notes []string // heads that could not be asked

	here   []wire.Target
	away   []share
	absent []wire.Target
}

// share is what one other head has to do.
type share struct {
	peer    Peer
	targets []wire.Target
}

// Find asks which heads reach the targets now. Each is reached by the head that heard it last.
func (d *Dispatcher) Find(ctx context.Context, targets []wire.Target, peers []Peer) Route {
	macs := make([]string, len(targets))
	for i, t := range targets {
		macs[i] = t.MAC
	}
	here := d.Attached(macs)
	macs = slices.DeleteFunc(macs, func(mac string) bool {
		heard, ok := here[mac]
		return ok && heard < fresh
	})
	var r Route
	if len(macs) == 0 {
		peers = nil
	}
	answers, errs := make([]map[string]time.Duration, len(peers)), make([]error, len(peers))
	ctx, cancel := context.WithTimeout(ctx, peerPatience)
	defer cancel()
	var asked sync.WaitGroup
	for i, p := range peers {
		asked.Go(func() { answers[i], errs[i] = p.Attached(ctx, macs) }) // ends within peerPatience
	}
	asked.Wait()
	for i, err := range errs {
		if err != nil {
			r.Notes = append(r.Notes, fmt.Sprintf("head %s does not answer: %v", peers[i].Name, err))
		}
	}
	r.assign(d.conf.Head, targets, here, peers, answers)
	return r
}

// assign decides who reaches whom.
func (r *Route) assign(self string, targets []wire.Target, here map[string]time.Duration, peers []Peer, answers []map[string]time.Duration) {
	away := make([][]wire.Target, len(peers))
	r.Plan = wire.CommandPlan{Heads: map[string][]string{}, Absent: map[string]string{}}
	for _, t := range targets {
		best, found := -1, false
		heard, ok := here[t.MAC]
		found = ok
		for i, answer := range answers {
			if ago, ok := answer[t.MAC]; ok && (!found || ago < heard) {
				best, heard, found = i, ago, true
			}
		}
		r.Plan.Nodes = append(r.Plan.Nodes, t.Name)
		switch {
		case !found:
			r.Plan.Absent[t.Name] = t.Absent
			r.absent = append(r.absent, t)
		case best < 0:
			r.Plan.Heads[self] = append(r.Plan.Heads[self], t.Name)
			r.here = append(r.here, t)
		default:
			r.Plan.Heads[peers[best].Name] = append(r.Plan.Heads[peers[best].Name], t.Name)
			away[best] = append(away[best], t)
		}
	}
	for i, list := range away {
		if len(list) > 0 {
			r.away = append(r.away, share{peer: peers[i], targets: list})
		}
	}
}

// part is what one head does: this one if peer is nil.
type part struct {
	peer    *Peer
	targets []wire.Target
	fanout  int
}

// parts shares the fan-out between the heads by the number of their nodes. Where it does not give each head one node at
// a time they do their parts one after the other (serial), each with all of it.
func (r *Route) parts(fanout int) (parts []part, serial bool) {
	if len(r.here) > 0 {
		parts = append(parts, part{targets: r.here})
	}
	total := len(r.here)
	for i := range r.away {
		parts = append(parts, part{peer: &r.away[i].peer, targets: r.away[i].targets})
		total += len(r.away[i].targets)
	}
	serial = fanout < len(parts)
	for i := range parts {
		parts[i].fanout = fanout
		if !serial && len(parts) > 1 {
			// One for each head, and the rest by size: never more than fanout together.
			parts[i].fanout = 1 + (fanout-len(parts))*len(parts[i].targets)/total
		}
	}
	return parts, serial
}

// RunAll runs a command along a route: here what this head reaches, and the parts of others through them. A head that
// does not answer, or breaks off, is a result for each of its nodes, and the rest goes on. The plan and the notes are
// the first events.
func (d *Dispatcher) RunAll(ctx context.Context, r Route, cmd wire.Command, in *Input, fanout int, emit Emit) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	tell := func(e wire.CommandEvent) error {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := emit(e)
		if err != nil {
			cancel(err)
		}
		return err
	}
	_ = tell(wire.CommandEvent{Plan: &r.Plan}) // what it fails with ends ctx
	for _, note := range r.Notes {
		_ = tell(wire.CommandEvent{Note: note})
	}
	for _, t := range r.absent {
		_ = tell(wire.CommandEvent{Node: t.Name, Done: r.unreached(t)})
	}
	parts, serial := r.parts(fanout)
	var running sync.WaitGroup
	for _, p := range parts {
		running.Go(func() { d.runPart(ctx, p, cmd, in, tell) }) // ends with its part, or ctx
		if serial {
			running.Wait()
		}
	}
	running.Wait()
	return context.Cause(ctx)
}

// unreached says why a target has no part in it.
func (r *Route) unreached(t wire.Target) *wire.CommandResult {
	words := []string{"no head reaches it"}
	if len(r.Notes) > 0 {
		words[0] = "no head that answers reaches it"
	}
	if t.Absent != "" {
		words = append(words, "it "+t.Absent)
	}
	return &wire.CommandResult{Error: strings.Join(words, "; "), Try: "masthead node why " + t.Name}
}

func (d *Dispatcher) runPart(ctx context.Context, p part, cmd wire.Command, in *Input, tell Emit) {
	if p.peer == nil {
		_ = d.Run(ctx, p.targets, cmd, in, p.fanout, tell) // what tell fails with ends ctx
		return
	}
	done := map[string]bool{}
	mine := map[string]bool{}
	for _, t := range p.targets {
		mine[t.Name] = true
	}
	var input io.Reader
	if in != nil {
		input = in.Reader()
	}
	err := p.peer.Run(ctx, wire.PeerRequest{Targets: p.targets, Command: cmd, Fanout: p.fanout}, input, func(e wire.CommandEvent) error {
		if !mine[e.Node] || done[e.Node] {
			return nil // not what it was asked for
		}
		if e.Done != nil {
			done[e.Node] = true
		}
		return tell(e)
	})
	if err == nil {
		err = errors.New("it did not say how the command ended")
	}
	for _, t := range p.targets {
		if !done[t.Name] {
			_ = tell(wire.CommandEvent{Node: t.Name, Done: &wire.CommandResult{
				Head: p.peer.Name, Error: fmt.Sprintf("head %s: %v", p.peer.Name, err), Try: "masthead head list",
			}})
		}
	}
}
