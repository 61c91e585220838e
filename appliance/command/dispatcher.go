// Package command has nodes run commands. Each node's agent keeps one connection, its command channel, to the head that
// it reports to; a Dispatcher holds those of one head, hands commands down and takes output. A command for many nodes is
// spread over the heads that reach them.
//
// It knows machines by their MAC and heads by function fields: who may give commands, what a node set is, and how heads
// reach one another is decided elsewhere. What a node does with a command is in node/agent.
package command

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"masthead/node/wire"

	"golang.org/x/sync/errgroup"
)

// Config is what a Dispatcher is made of.
type Config struct {
	Head  string // this head's name
	Spool string // folder for inputs that are too large for memory; empty: that of the system
	// Heads is the list of heads that a machine should have; nil: whatever it has. It is asked at each sign of life of each
	// machine, and must be cheap.
	Heads func(mac string) []wire.Head
	// Vote is what a machine must know that is a witness; nil for others. It is asked as often.
	Vote func(mac string) *wire.Vote
	Log  *slog.Logger
}

// Dispatcher holds the command channels of one head. Its methods may be called by several goroutines.
type Dispatcher struct {
	conf Config

	mu       sync.Mutex
	channels map[string]*channel // by MAC
	inputs   map[string]lent     // by the id of the command
}

// lent is an input that a machine may fetch.
type lent struct {
	mac   string
	input *Input
}

// New prepares a Dispatcher.
func New(conf Config) *Dispatcher {
	if conf.Log == nil {
		conf.Log = slog.New(slog.DiscardHandler)
	}
	return &Dispatcher{conf: conf, channels: map[string]*channel{}, inputs: map[string]lent{}}
}

// Attached tells which of these machines have a command channel here, and how long ago each was heard.
func (d *Dispatcher) Attached(macs []string) map[string]time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[string]time.Duration{}
	for _, mac := range macs {
		if c := d.channels[mac]; c != nil {
			out[mac] = c.silence()
		}
	}
	return out
}

// Count is the number of machines that are attached.
func (d *Dispatcher) Count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.channels)
}

// Announce tells every machine that is attached its list of heads, without waiting for its next ping. It returns when all
// have been told or have failed.
func (d *Dispatcher) Announce() {
	if d.conf.Heads == nil {
		return
	}
	d.mu.Lock()
	all := slices.Collect(maps.Values(d.channels))
	d.mu.Unlock()
	var g errgroup.Group
	g.SetLimit(wire.DefaultFanout)
	for _, c := range all {
		g.Go(func() error {
			if f := d.pong(c.mac, ""); len(f.Heads) > 0 || d.conf.Vote != nil {
				_ = c.send(f) // one that is gone attaches anew, and is told then
			}
			return nil
		})
	}
	_ = g.Wait() // no one fails
}

// attach enters a channel. A machine has one: an earlier one of it is dead, or soon will be.
func (d *Dispatcher) attach(c *channel) {
	d.mu.Lock()
	before := d.channels[c.mac]
	d.channels[c.mac] = c
	d.mu.Unlock()
	if before != nil {
		before.close()
	}
}

func (d *Dispatcher) detach(c *channel) {
	d.mu.Lock()
	if d.channels[c.mac] == c {
		delete(d.channels, c.mac)
	}
	d.mu.Unlock()
	c.close()
}

func (d *Dispatcher) channel(mac string) *channel {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.channels[mac]
}

// lend lets one machine fetch the input of one command, until the returned function is called.
func (d *Dispatcher) lend(id, mac string, in *Input) (takeBack func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inputs[id] = lent{mac, in}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.inputs, id)
	}
}

// ErrNoInput is asking for an input that there is not.
var ErrNoInput = errors.New("no command that waits for an input has this id")

// Lent gives the input of a command to the machine that the command is for; the empty MAC is for any.
func (d *Dispatcher) Lent(id, mac string) (*Input, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l, ok := d.inputs[id]
	if !ok || (mac != "" && l.mac != mac) {
		return nil, fmt.Errorf("input %.40q: %w", id, ErrNoInput)
	}
	return l.input, nil
}
