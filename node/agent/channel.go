package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"masthead/node/wire"
)

const (
	// openTimeout is for the command channel to be opened.
	openTimeout = 15 * time.Second
	// maxJobs bounds the commands of a machine at a time.
	maxJobs = 64
)

// attach keeps the command channel to the parent open: the connection by which heads reach this machine. Nothing listens
// on the machine for it, and nobody but the parent, whose CA is pinned, can be at its other end.
func (a *Agent) attach(ctx context.Context) error {
	if a.cfg.MAC == "" {
		return nil // a machine without a network is nobody's node
	}
	retry, said := retryFirst, ""
	for {
		client, parent, over := a.connection()
		if client == nil {
			return nil // as with reports
		}
		began := time.Now()
		err := a.serve(ctx, client, over)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if over.Err() != nil {
			retry = retryFirst
			continue // another parent: at once
		}
		if text := fmt.Sprint(parent.URL, err); text != said { // a head that is off for days is one line
			said = text
			a.log.Info("no command channel", "head", parent.URL, "err", err)
		}
		if time.Since(began) > wire.ChannelSilence {
			retry = retryFirst
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-over.Done():
		case <-time.After(jitter(retry, a.random())):
		}
		retry = min(2*retry, retryMost)
	}
}

// channel is one connection to the parent.
type channel struct {
	life  context.Context // of the agent, and of what it runs
	conn  io.ReadWriteCloser
	write sync.Mutex

	mu    sync.Mutex
	jobs  map[string]*job // by id
	ended chan struct{}   // one token: a job has ended and the head was told
}

// farewell is how long a channel to a parent that is none any more stays open for the commands under way: that which
// changed the parent wants to tell how it went.
const farewell = 5 * time.Second

// drain waits until no command is under way, but no longer than farewell.
func (c *channel) drain(ctx context.Context) {
	late := time.After(farewell)
	for {
		c.mu.Lock()
		n := len(c.jobs)
		c.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-c.ended:
		case <-late:
			return
		case <-ctx.Done():
			return
		}
	}
}

// serve opens the channel and does what comes through it until it breaks, ctx ends, or over does. Commands under way go
// on without it, to their end or their timeout: half of an upgrade is worse than one that nobody watches.
func (a *Agent) serve(ctx context.Context, client Head, over context.Context) error {
	life := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opening, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(over, stop)()
	conn, err := open(opening, client)
	if err != nil {
		return err
	}
	c := &channel{life: life, conn: conn, jobs: map[string]*job{}, ended: make(chan struct{}, 1)}
	defer c.close()
	defer context.AfterFunc(over, func() { c.drain(ctx); cancel() })()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := c.send(wire.Frame{Kind: wire.FrameAttach, MAC: a.cfg.MAC, Boot: a.cfg.Boot, List: a.list()}); err != nil {
		return err
	}
	silence := time.AfterFunc(wire.ChannelSilence, cancel)
	defer silence.Stop()
	pings := make(chan struct{})
	defer func() { cancel(); <-pings }()
	go func() { // ends with ctx
		defer close(pings)
		a.ping(ctx, c)
	}()
	in := bufio.NewReader(conn)
	for {
		f, err := wire.ReadFrame(in, wire.MaxHeadFrame)
		if err != nil {
			return err
		}
		silence.Reset(wire.ChannelSilence)
		a.obey(c, client, f)
	}
}

// open is Head.Channel with a time limit for the opening alone.
func open(ctx context.Context, client Head) (io.ReadWriteCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	return client.Channel(ctx)
}

// ping says again and again that the machine lives, and which list of heads it has.
func (a *Agent) ping(ctx context.Context, c *channel) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(jitter(wire.ChannelPing, a.random())):
		}
		if c.send(wire.Frame{Kind: wire.FramePing, List: a.list()}) != nil {
			return // the reader sees it too
		}
	}
}

// obey does what a frame says. It does not wait for anything.
func (a *Agent) obey(c *channel, client Head, f wire.Frame) {
	switch f.Kind {
	case wire.FramePong:
		a.adopted(f.Heads)
		a.votes(f.Vote)
	case wire.FrameRun:
		if f.Command != nil {
			a.start(c, client, f)
		}
	case wire.FrameGrant:
		if j := c.job(f.ID); j != nil {
			j.out.grant(f.Grant)
		}
	case wire.FrameCancel:
		if j := c.job(f.ID); j != nil {
			j.out.close()
			j.cancel(errors.New("cancelled"))
		}
	}
}

// job is a command under way.
type job struct {
	out    *outlet
	cancel context.CancelCauseFunc
}

func (c *channel) job(id string) *job {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.jobs[id]
}

// start begins a command, which ends by itself, when it is cancelled, or with the agent.
func (a *Agent) start(c *channel, client Head, f wire.Frame) {
	ctx, cancel := context.WithCancelCause(c.life)
	j := &job{out: newOutlet(f.ID, f.Command.Output, c.send), cancel: cancel}
	c.mu.Lock()
	if len(c.jobs) >= maxJobs {
		c.mu.Unlock()
		cancel(nil)
		_ = c.send(wire.Frame{Kind: wire.FrameExit, ID: f.ID, Result: &wire.CommandResult{Error: fmt.Sprintf("it runs %d commands already", maxJobs)}})
		return
	}
	c.jobs[f.ID] = j
	c.mu.Unlock()
	a.runs.Go(func() { // ends with the command, whose timeout is bounded
		defer cancel(nil)
		result := a.perform(ctx, client, f, j.out)
		result.Truncated = j.out.truncated()
		_ = c.send(wire.Frame{Kind: wire.FrameExit, ID: f.ID, Result: &result}) // a head that has gone is not told
		c.mu.Lock()
		delete(c.jobs, f.ID)
		c.mu.Unlock()
		select {
		case c.ended <- struct{}{}:
		default:
		}
	})
}

func (c *channel) send(f wire.Frame) error {
	c.write.Lock()
	defer c.write.Unlock()
	return wire.WriteFrame(c.conn, f)
}

// close ends the connection. What the commands under way still say is dropped.
func (c *channel) close() {
	_ = c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range c.jobs {
		j.out.close()
	}
}
