package ownership

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"masthead/appliance/failover"
	"masthead/appliance/vip"
	"masthead/images"
)

// Options are how a daemon runs on its machine. DefaultOptions gives everything but the logger.
type Options struct {
	Dir    string // of the configuration and of the record
	RunDir string // of what a restart of the daemon may use and a restart of the machine must not
	Socket string // of its API, for root; empty: none
	Log    *slog.Logger
	// BootID names this boot of the machine. Empty: the kernel's.
	BootID string
	// Reset resets the machine at once and does not return. nil: the kernel's sysrq.
	Reset func(reason string)
	// Realtime asks the kernel for real-time priority and locked memory.
	Realtime bool
	// Watchdog opens the machine's watchdog. Tests that share a machine must not.
	Watchdog bool
	// Ports of heartbeats and of lease requests; 0: the usual ones.
	HeartbeatPort, WitnessPort, RaftPort uint16
}

// Ports.
const (
	PortHeartbeat = 7947
	PortWitness   = 7948
	PortRaft      = 7949
)

// DefaultOptions are those of a head.
func DefaultOptions() Options {
	return Options{
		Dir: filepath.Join(images.StateDir, "owner"), RunDir: filepath.Join(images.RunDir, "owner"), Socket: images.OwnerSocket,
		Realtime: true, Watchdog: true,
		HeartbeatPort: PortHeartbeat, WitnessPort: PortWitness, RaftPort: PortRaft,
	}
}

// Daemon is the owner daemon of one head. All of its fields belong to the goroutine of Run.
type Daemon struct {
	opts   Options
	log    *slog.Logger
	zero   time.Time
	bootID string
	record *recordFile // of the cluster that config names; nil before there is one
	events *eventLog

	config   Config
	parts    *parts
	memory   failover.Memory
	operator operator
	last     failover.Decision
	write    *write // a record that the disk does not have yet; nil: none
	recErr   string // why the last record could not be written
	stopping bool   // the daemon is to end
	removed  bool   // the head is none of the cluster any more: to hand over, and then to do nothing
	started  bool   // a decision was performed
	dog      dog

	data      dataState
	prepared  *vip.VIP // whose addresses are there, behind the gate
	bridge    *bridge  // nil: none is crossed
	shutFor   *vip.VIP // whose gate was shut by us
	announced announcement

	trouble map[string]string // by part: what keeps it from working
	history history

	calls   chan func() // run by the loop
	serving *serving    // set when Run begins
}

// New prepares a daemon. It touches the machine only in Run.
func New(opts Options) (*Daemon, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.BootID == "" {
		var err error
		if opts.BootID, err = BootID(); err != nil {
			return nil, err
		}
	}
	if opts.Reset == nil {
		opts.Reset = resetMachine
	}
	d := &Daemon{
		opts: opts, log: opts.Log, zero: time.Now(), bootID: opts.BootID,
		events: newEventLog(""), calls: make(chan func()), trouble: map[string]string{},
	}
	return d, nil
}

// now is the daemon's monotonic time.
func (d *Daemon) now() failover.Instant { return time.Since(d.zero) }

// at is an Instant as people read it.
func (d *Daemon) at(i failover.Instant) time.Time { return d.zero.Add(i).UTC() }

// tick is how often the daemon decides where nothing happens: several times in the shortest timing.
const tick = 20 * time.Millisecond

// stopWithin bounds an orderly end: what does not stop until then is left to the reset.
const stopWithin = 60 * time.Second

// Run owns, or waits to, until ctx ends; then it hands over what it holds and stops what runs, and returns.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.closeRecord()
	defer d.goRealtime()()
	ctx, serve := d.background(ctx)
	defer serve.wait()
	d.loadModules()
	d.parts = newParts(d)
	defer d.parts.close()
	d.reload()

	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	reread := time.NewTicker(rereadEvery)
	defer reread.Stop()
	threads := time.NewTicker(threadsEvery)
	defer threads.Stop()
	again := time.NewTicker(againEvery)
	defer again.Stop()
	ending := ctx.Done()
	var deadline <-chan time.Time
	for {
		if idle := d.step(); idle && d.stopping {
			return d.end(nil)
		} else if idle && d.removed {
			d.forget()
		}
		select {
		case <-ending:
			ending, d.stopping = nil, true
			deadline = time.After(stopWithin)
		case <-deadline:
			return d.end(errors.New("the services did not stop in time"))
		case call := <-d.calls:
			call()
		case <-reread.C:
			d.reload()
		case <-again.C:
			if d.parts.failed {
				d.parts.apply(d.config)
			}
		case <-threads.C:
			d.newThreads()
		case <-d.parts.renamed:
			d.reload()
		case <-d.parts.changed:
		case <-ticker.C:
		}
	}
}

// rereadEvery is how often the configuration is looked at without having been told: a poke may get lost.
const rereadEvery = 2 * time.Second

// againEvery is how soon a part that could not be made is tried again: the ports of a daemon that was killed are free a
// moment later, and its lease lasts for half a second.
const againEvery = 100 * time.Millisecond

// do runs f in the daemon's own goroutine, and waits for it.
func (d *Daemon) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	call := func() { f(); close(done) }
	select {
	case d.calls <- call:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end closes what must be closed in order. err says what is left.
func (d *Daemon) end(err error) error {
	return errors.Join(err, d.dog.close(err == nil))
}

func (d *Daemon) event(kind, text string, bad bool) {
	level := slog.LevelInfo
	if bad {
		level = slog.LevelWarn
	}
	d.log.Log(context.Background(), level, kind, "event", text)
	d.events.add(time.Now().UTC(), kind, text, bad)
}

// troubled keeps what is wrong with a part of the daemon, and tells it once.
func (d *Daemon) troubled(part string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if d.trouble[part] == text {
		return
	}
	d.trouble[part] = text
	if text == "" {
		delete(d.trouble, part)
		d.event(part, "works again", false)
		return
	}
	d.event(part, text, true)
}
