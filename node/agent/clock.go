package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/beevik/ntp"
	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/node/wire"
)

const (
	// clockInterval is the time between two looks at a head's clock. A quartz is off by up to 100 ppm, so 30 ms in that
	// time, which a slew of 500 ppm takes back within a minute.
	clockInterval = 5 * time.Minute
	// clockSoon is for what is to be seen again: after a step, and when nobody answered.
	clockSoon = 30 * time.Second
	// clockSpread is the time over which machines that start together ask for the first time.
	clockSpread = 5 * time.Second
	// clockSamples is how many answers are compared: the one that was quickest on its way is the truest.
	clockSamples = 3
	// sampleTimeout is for one answer. On a LAN it takes a millisecond.
	sampleTimeout = 2 * time.Second

	// stepAbove is the offset that is set at once instead of made up for: a slew would take more than a quarter of an hour.
	stepAbove = 500 * time.Millisecond
	// clockNoise is what is not worth a change: the scheduling of both machines.
	clockNoise = time.Millisecond
)

// sample is one comparison with a head's clock.
type sample struct {
	offset time.Duration // to be added to our clock
	way    time.Duration // there and back; the offset may be wrong by half of it
}

// clockDeed is what is done about the clock.
type clockDeed int

const (
	clockLeave clockDeed = iota
	clockSlew
	clockStep
	clockLookAgain // the offset is believed only if it is seen twice
)

// clockMind is what the agent remembers of earlier samples. Its zero value is that of a machine that has just started.
type clockMind struct {
	settled bool          // the clock has been right once
	suspect time.Duration // an offset that no clock gets by itself; 0: none
}

// decide is pure. A machine that starts takes the head's time whatever it is: many have no clock that goes on while they
// are off. Later a jump may be the fault of the head, and disturbs what runs, so it has to be seen twice.
func (m clockMind) decide(s sample) (clockDeed, clockMind) {
	off := s.offset.Abs()
	switch {
	case off <= max(clockNoise, s.way/2):
		return clockLeave, clockMind{settled: true}
	case off < stepAbove:
		return clockSlew, clockMind{settled: true}
	case !m.settled, m.suspect != 0 && (s.offset-m.suspect).Abs() < stepAbove:
		return clockStep, clockMind{settled: true}
	}
	return clockLookAgain, clockMind{settled: true, suspect: s.offset}
}

// best is the sample with the shortest way.
func best(samples []sample) sample {
	return slices.MinFunc(samples, func(a, b sample) int { return int(a.way - b.way) })
}

// timeDaemons are the programs that keep clocks, by the names that the kernel gives their processes (15 bytes).
var timeDaemons = []string{"chronyd", "ntpd", "systemd-timesyn", "ptp4l", "phc2sys"}

// clockKeeper names who keeps this machine's clock already; empty: nobody. One who keeps it takes away the kernel's mark
// that it is not synchronised (adjtimex(2)); one who has just been started has not come to that.
func clockKeeper(status int32, processes []string) string {
	for _, p := range processes {
		if slices.Contains(timeDaemons, p) {
			return p
		}
	}
	if status&unix.STA_UNSYNC == 0 {
		return "somebody: the kernel says that it is synchronised"
	}
	return ""
}

// clock keeps the machine's clock near its heads'. Its fields are the world; a test has its own.
type clock struct {
	heads func() []string // addresses, the parent's first
	ask   func(ctx context.Context, head string) (sample, error)
	other func() string // who keeps the clock instead; empty: nobody
	slew  func(time.Duration) error
	step  func(time.Duration) error
	wait  func(context.Context, time.Duration) error
	log   *slog.Logger

	mind clockMind
}

// keepClock blocks until ctx ends. The clock of a head is not ours to set: other machines follow it. A machine without a
// network has nobody to follow.
func (a *Agent) keepClock(ctx context.Context) error {
	if a.cfg.Role == images.RoleHead || a.cfg.Net == nil {
		return nil
	}
	heads := func() []string {
		a.mu.Lock()
		defer a.mu.Unlock()
		return headHosts(a.heads)
	}
	if err := tellTimeDaemons("/run", heads()); err != nil {
		a.log.Warn("tell the root's time daemon of the heads", "err", err)
	}
	c := clock{heads: heads, ask: askTime, other: otherKeeper, slew: slewClock, step: stepClock, wait: waitFor, log: a.log}
	return c.run(ctx)
}

func (c *clock) run(ctx context.Context) error {
	pause := rand.N(clockSpread)
	told := ""
	for {
		if err := c.wait(ctx, pause); err != nil {
			return err
		}
		pause = clockInterval*3/4 + rand.N(clockInterval/2)
		if who := c.other(); who != "" {
			if who != told {
				c.log.Info("the clock is left alone", "keeper", who)
				told = who
			}
			continue
		}
		s, head, err := c.measure(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			c.log.Warn("compare clocks", "err", err)
			pause = clockSoon
			continue
		}
		var deed clockDeed
		deed, c.mind = c.mind.decide(s)
		if err := c.do(deed, s, head); errors.Is(err, unix.EPERM) {
			c.log.Warn("the clock may not be set here", "err", err)
			return nil // a container: its host's business
		} else if err != nil {
			c.log.Error("set the clock", "err", err)
		}
		if deed == clockStep || deed == clockLookAgain {
			pause = clockSoon
		}
	}
}

func (c *clock) do(deed clockDeed, s sample, head string) error {
	log := c.log.With("head", head, "offset", s.offset, "way", s.way)
	switch deed {
	case clockSlew:
		log.Debug("the clock is brought near the head's")
		return c.slew(s.offset)
	case clockStep:
		log.Info("the clock is set to the head's")
		return c.step(s.offset)
	case clockLookAgain:
		log.Warn("the head's clock is another than before: looking again")
	}
	return nil
}

// measure asks the first head that answers.
func (c *clock) measure(ctx context.Context) (sample, string, error) {
	errs := []error{errors.New("no head answered")}
	for _, head := range c.heads() {
		var samples []sample
		for range clockSamples {
			s, err := c.ask(ctx, head)
			if ctx.Err() != nil {
				return sample{}, "", ctx.Err()
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", head, err))
				break
			}
			samples = append(samples, s)
		}
		if len(samples) > 0 {
			return best(samples), head, nil
		}
	}
	return sample{}, "", errors.Join(errs...)
}

// headHosts are the hosts of heads' URLs; one that is no URL of the network is left out.
func headHosts(heads []wire.Head) (hosts []string) {
	for _, h := range heads {
		if u, err := url.Parse(h.URL); err == nil && u.Hostname() != "" {
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts
}

// askTime compares our clock with that of an NTP server, HOST or HOST:PORT.
func askTime(ctx context.Context, host string) (sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := ntp.QueryWithOptions(host, ntp.QueryOptions{Timeout: sampleTimeout, Dialer: func(_, remote string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "udp", remote)
		if err == nil {
			context.AfterFunc(ctx, func() { conn.Close() }) // the library has no context
		}
		return conn, err
	}})
	if err == nil {
		err = r.Validate()
	}
	if err != nil {
		return sample{}, err
	}
	return sample{offset: r.ClockOffset, way: r.RTT}, nil
}

// otherKeeper looks for one who keeps the clock.
func otherKeeper() string {
	tx := unix.Timex{}
	if _, err := unix.Adjtimex(&tx); err != nil {
		tx.Status = unix.STA_UNSYNC
	}
	var processes []string
	files, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, f := range files {
		if name, err := os.ReadFile(f); err == nil { // else it has just ended
			processes = append(processes, strings.TrimSpace(string(name)))
		}
	}
	return clockKeeper(tx.Status, processes)
}

// slewClock makes the kernel's clock run 500 ppm faster or slower until the offset is made up for (adjtime(3)). It is not
// the kernel's phase-locked loop, which would take the mark away that the clock is nobody's.
func slewClock(by time.Duration) error {
	_, err := unix.Adjtimex(&unix.Timex{Modes: unix.ADJ_OFFSET_SINGLESHOT, Offset: by.Microseconds()})
	return err
}

func stepClock(by time.Duration) error {
	ts := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
	return unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
}

func waitFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// tellTimeDaemons leaves the heads where the daemons of distributions look for servers when they start
// (timesyncd.conf(5); chrony's sourcedir as Debian and its children set it): the agent starts before them.
func tellTimeDaemons(run string, heads []string) error {
	if len(heads) == 0 {
		return nil
	}
	var errs []error
	for file, content := range timeDaemonFiles(heads) {
		file = filepath.Join(run, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, renameio.WriteFile(file, []byte(content), 0o644))
	}
	return errors.Join(errs...)
}

func timeDaemonFiles(heads []string) map[string]string {
	var sources strings.Builder
	for _, h := range heads {
		fmt.Fprintf(&sources, "server %s iburst\n", h)
	}
	return map[string]string{
		"systemd/timesyncd.conf.d/masthead.conf": "[Time]\nNTP=" + strings.Join(heads, " ") + "\n",
		"chrony-dhcp/masthead.sources":           sources.String(),
	}
}
