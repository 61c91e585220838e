package simulation

import (
	"time"

	"masthead/appliance/failover"
)

// power is how a machine stands.
type power uint8

const (
	off power = iota
	booting
	up
	hung // its kernel has panicked: silent, and its gate with it
)

// head is a machine, its kernel, and its owner daemon.
type head struct {
	// The machine.
	power      power
	paused     bool
	heldOff    bool // a person keeps it from being switched on
	keepOff    int  // faults that keep it without power
	machineGen uint32
	boots      int
	drift      time.Duration // of its clock, in parts per million
	mono       time.Duration // monotonic clock at since
	since      time.Duration
	dog        bool // it has a watchdog
	dogGen     uint32
	disk       disk
	services   services
	fence      fencing
	fenceWay   fenceWay // how the device that switches this machine off behaves

	// The kernel's gate. until is in machine time, as the kernel's timer.
	gateUntil time.Duration
	gateEpoch failover.Epoch
	gateAt    time.Duration // true time of the last opening from shut

	// The daemon.
	running   bool
	stopped   bool   // SIGSTOP
	daemonGen uint32 // of this run of the daemon
	loopGen   uint32 // of its timers: another one after each stop or pause
	zero      time.Duration
	starved   time.Duration // until then the loop gets no processor
	view      failover.View
	peers     [maxHeads - 1]failover.Peer
	links     [maxHeads - 1][ways]failover.Link
	said      [32]failover.Said // its last words; heartbeats name them by number
	saying    uint32            // number of the newest
	beats     uint8
	from      [maxHeads]heard
	last      failover.Decision
	uplink    failover.Reading
	misses    int
	probe     probing
	panel     panel
	mailed    time.Duration // true time of the last mail in this phase; negative: none
	troubled  time.Duration // true time at which the daemon or the machine last stood still
	bootID    string
	bootNum   uint64
	operator  failover.Operator
	unhealthy int  // faults
	quit      bool // it is to end in order
	quitFor   time.Duration
	leased    failover.Epoch // what the arbiter said before the last decision
	leaseEnd  failover.Instant
	gateWas   failover.Instant // until then the kernel had the gate open before
	inherited failover.Instant // until then an earlier run of the daemon had opened it
}

// heard is what a head has of another one's heartbeats.
type heard struct {
	any    time.Duration // true time of the last good one on any link; negative: none
	before time.Duration // the last one that came in more than reaction before that
	seq    int64         // when the newest was sent
	// The first that was sent since the other one opened its gate came in at knownAt; knownGate is which opening that was.
	knownGate, knownAt time.Duration
	ver                uint32
	waiting            bool // some came while the daemon stood still
	last               [ways]event
}

// current says whether an event of the daemon's timers still concerns it.
func (h *head) current(e *event) bool {
	return h.loopGen == e.gen && h.running && !h.stopped && !h.paused && h.power == up
}

// alive says whether the machine's kernel answers.
func (h *head) alive() bool { return h.power == up && !h.paused }

// thinks says whether the daemon can do anything now.
func (h *head) thinks() bool { return h.alive() && h.running && !h.stopped }

// machineTime is the machine's monotonic clock, which stands while it is paused.
func (h *head) machineTime(now time.Duration) time.Duration {
	if h.paused {
		return h.mono
	}
	d := now - h.since
	return h.mono + d + d*h.drift/1_000_000
}

// open says whether the kernel lets anything of the VIP through.
func (h *head) open(now time.Duration) bool {
	return h.alive() && h.gateUntil > h.machineTime(now)
}

// powerOff takes the power away: what was in memory is gone, what was being written is torn.
func (w *World) powerOff(i int, why string) {
	h := &w.heads[i]
	if h.power == off {
		return
	}
	if w.story != nil {
		w.tell(i, "the machine is off: %s", why)
	}
	w.tearDown(i)
	h.power = off
	w.law.power = w.now
}

// tearDown is what all ends of a machine have in common.
func (w *World) tearDown(i int) {
	h := &w.heads[i]
	h.machineGen++
	h.dogGen++
	h.disk.tear(&w.rnd)
	w.killDaemon(i)
	h.gateUntil = 0
	h.services = services{gen: h.services.gen + 1}
	w.dataOff(i)
	h.mono, h.since = 0, w.now
	h.paused, h.quit = false, false
	h.troubled = w.now
}

// powerOn boots a machine, if nothing keeps it off.
func (w *World) powerOn(i int) {
	h := &w.heads[i]
	if h.power != off || h.keepOff > 0 || h.heldOff {
		return
	}
	h.power = booting
	w.in(w.rnd.between(200*time.Millisecond, 600*time.Millisecond), evBoot, i, h.machineGen)
}

// reset boots it again.
func (w *World) reset(i int, why string) {
	if w.heads[i].power == off {
		return
	}
	w.powerOff(i, why)
	w.powerOn(i)
}

func (w *World) booted(i int) {
	h := &w.heads[i]
	if h.power == up || h.power == hung || h.power == off && (h.keepOff > 0 || h.heldOff) {
		return // of two who switched it on, one was earlier; or it is kept off
	}
	w.law.power = w.now
	h.power = up
	h.boots++
	h.mono, h.since = w.rnd.between(time.Second, 3*time.Second), w.now
	h.bootID = bootIDs[i][h.boots%len(bootIDs[i])]
	h.bootNum = uint64(i+1)<<32 | uint64(h.boots)
	if w.story != nil {
		w.tell(i, "the machine has booted")
	}
	h.daemonGen++
	w.startDaemon(i)
}

// pause stops a virtual machine with all its clocks.
func (w *World) pause(i int) {
	h := &w.heads[i]
	if h.power != up || h.paused {
		return
	}
	h.mono = h.machineTime(w.now)
	h.paused = true
	h.loopGen++
	h.dogGen++
	h.troubled = w.now
}

func (w *World) resume(i int) {
	h := &w.heads[i]
	if !h.paused {
		return
	}
	h.paused, h.since = false, w.now
	h.troubled = w.now
	w.law.resumed[i] = w.now
	w.feed(i)
	w.resumeServices(i)
	if h.disk.writing {
		w.in(h.disk.left(w), evDisk, i, h.machineGen)
	}
	w.gateOpened(i)
	if h.running && !h.stopped {
		w.wake(i)
	}
}

// watchdogTimeout is for how long a daemon may stand still before the watchdog resets the machine.
const watchdogTimeout = 10 * time.Second

// feed gives the watchdog its time anew, whenever a daemon begins or ends to stand still.
func (w *World) feed(i int) {
	h := &w.heads[i]
	h.dogGen++
	if h.dog && !h.thinks() && h.power == up && !h.paused {
		w.in(watchdogTimeout, evWatchdog, i, h.dogGen)
	}
}

func (w *World) watchdog(i int, gen uint32) {
	h := &w.heads[i]
	if h.dogGen == gen && h.power == up && !h.paused {
		w.reset(i, "the watchdog was not fed")
	}
}

// bootIDs are names of boots, made once.
var bootIDs = func() (ids [maxHeads][16]string) {
	for i := range ids {
		for n := range ids[i] {
			ids[i][n] = headNames[i] + " boot " + string(rune('a'+n))
		}
	}
	return ids
}()
