package vip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"masthead/appliance/failover"
)

// VIP is the virtual addresses of one head. Its methods may be called by many goroutines.
type VIP struct {
	c     Config
	vips  map[netip.Addr]bool
	gate  *gate
	addrs *addresses
	nics  *nics

	keep, step, relink, recheck chan struct{} // wake the goroutines of Run; each holds one

	mu        sync.Mutex // never held while the kernel works
	mode      mode
	clean     bool // the gate is shut and the addresses are gone, as far as this process knows
	left      opened
	refreshed failover.Instant // the last Open
	until     failover.Instant // of the last Open
	answer    []netip.Addr     // of the last Open
	epoch     uint64           // of the last Open
	announcer announcer
	prober    prober
	conflict  conflict
	gateway   gateway
	ports     map[string]*port
	carriers  map[string]failover.Reading
	own       map[[6]byte]bool // hardware addresses of this machine
}

// mode is who keeps the addresses alive.
type mode uint8

const (
	away     mode = iota // nobody
	prepared             // Run does
	leased               // each Open does
)

// New installs the gate, shut, and removes what an earlier run has left, unless that run's gate is still open: see Left.
func New(c Config) (*VIP, error) {
	c, err := c.checked()
	if err != nil {
		return nil, err
	}
	found := &nics{number: map[string]int{}}
	v := &VIP{
		c: c, vips: map[netip.Addr]bool{}, nics: found,
		gate: &gate{list: c.Addresses, most: c.Gate, now: c.Now}, addrs: &addresses{list: c.Addresses, nics: found, now: c.Now, renewed: -1},
		keep: make(chan struct{}, 1), step: make(chan struct{}, 1), relink: make(chan struct{}, 1), recheck: make(chan struct{}, 1),
		ports: map[string]*port{}, carriers: map[string]failover.Reading{},
	}
	for _, a := range c.Addresses {
		v.vips[a.Prefix.Addr()] = true
		v.gate.vips = append(v.gate.vips, a.Prefix.Addr())
		if !slices.Contains(v.gate.nics, a.NIC) {
			v.gate.nics = append(v.gate.nics, a.NIC)
		}
	}
	v.prober = prober{vips: v.vips, peers: map[netip.Addr]bool{}, began: -1}
	for _, p := range c.Peers {
		v.prober.peers[p] = true
	}
	left, answer, old := v.gate.left()
	if err := v.gate.adopt(left, v.known(answer)); err != nil {
		return nil, err
	}
	v.left = v.gate.state()
	v.clean = v.left == opened{}
	if v.clean {
		old = append(old, v.gate.vips...)
	} else { // only those that are no VIPs any more
		old = slices.DeleteFunc(old, func(a netip.Addr) bool { return v.vips[a] })
	}
	permanent, err := removeAll(old)
	if err != nil {
		return nil, errors.Join(err, v.gate.shut())
	}
	for _, p := range permanent {
		v.event(fmt.Sprintf("removed virtual address %s: it was added by hand or by another program, without a lifetime", p), true)
	}
	return v, nil
}

// Left is what the kernel still held open when New looked: the epoch it was opened for, and until when. Not open: it was
// shut, has shut by itself since, or this process has opened or shut it.
func (v *VIP) Left() (open bool, epoch uint64, until failover.Instant) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.left.until <= v.c.Now() {
		return false, 0, 0
	}
	return true, v.left.epoch, v.left.until
}

// Prepare adds the addresses behind the shut gate, and Run keeps them there until Open or Shut. It does nothing where that
// is so or the gate is open. An interface that is missing keeps only its own addresses away: the error names it once, and
// Run goes on trying.
func (v *VIP) Prepare(context.Context) error {
	v.mu.Lock()
	idle := v.mode == prepared || v.mode == leased && v.until > v.c.Now()
	v.mu.Unlock()
	if idle {
		return nil
	}
	was, err := v.gate.repair()
	if err != nil {
		return err // no address without its gate
	}
	v.tellMissing(was)
	v.mu.Lock()
	v.mode, v.clean = prepared, false
	v.mu.Unlock()
	wake(v.keep)
	_, err = v.addrs.renew(func(failover.Instant) bool { return v.kept() == prepared })
	return err
}

func (v *VIP) kept() mode {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mode
}

// Open opens the gate for epoch until then, or for Config.Gate if that is shorter, and has Run renew the addresses'
// lifetime. Of the addresses those in answer may be used, and the others stay, or are at once, behind the shut gate. It is
// to be called again before that time is over. The error says that the gate is shut; trouble with an interface is an event
// only. It takes a few tenths of a millisecond and waits for no other part of the kernel's configuration than nftables.
func (v *VIP) Open(epoch uint64, until failover.Instant, answer []netip.Addr) error {
	answer = v.known(answer)
	if v.openEnough(epoch, until, answer) {
		return nil
	}
	wasShut, rebuilt, err := v.gate.refresh(epoch, until, answer)
	now := v.c.Now()
	v.mu.Lock()
	opening := v.until <= now || slices.ContainsFunc(answer, func(a netip.Addr) bool { return !slices.Contains(v.answer, a) })
	v.left, v.clean = opened{}, false
	if err == nil && opening { // somebody else may have had the addresses in between
		v.announcer.again()
	}
	if err == nil {
		v.mode, v.refreshed, v.until, v.epoch, v.answer = leased, now, min(until, now+v.c.Gate), epoch, answer
	}
	v.mu.Unlock()
	if rebuilt {
		v.event(missingRules, true)
	}
	if err != nil {
		return err
	}
	if wasShut > 0 {
		v.event(fmt.Sprintf("the gate of the virtual addresses had shut by itself for %v: it was renewed too late", wasShut.Round(time.Millisecond)), true)
	}
	wake(v.keep)
	if opening {
		wake(v.step)
	}
	return nil
}

// known are those of addrs that are VIPs here, in the order of Config, each once.
func (v *VIP) known(addrs []netip.Addr) []netip.Addr {
	var list []netip.Addr
	for _, a := range v.gate.vips {
		if slices.Contains(addrs, a) {
			list = append(list, a)
		}
	}
	return list
}

// answers reports whether a VIP is open now; called with v.mu held.
func (v *VIP) answers(a netip.Addr, now failover.Instant) bool {
	return v.until > now && slices.Contains(v.answer, a)
}

// openEnough reports that an Open would give the gate hardly more time than it has. Each takes a transaction of nftables,
// and the daemon decides 50 times a second: on a slow machine it would do little else.
func (v *VIP) openEnough(epoch uint64, until failover.Instant, answer []netip.Addr) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.c.Now()
	more := min(until, now+v.c.Gate) - v.until
	return v.mode == leased && v.epoch == epoch && v.until > now && more >= 0 && more < v.c.Gate/8 && slices.Equal(v.answer, answer)
}

// Shut shuts the gate at once, then removes the addresses and ends the announcements. It does nothing where that is so.
func (v *VIP) Shut(context.Context) error {
	v.mu.Lock()
	if v.clean && v.mode == away {
		v.mu.Unlock()
		return nil
	}
	v.mode, v.left, v.until, v.conflict = away, opened{}, 0, conflict{}
	v.announcer.want(false)
	v.mu.Unlock()
	err := errors.Join(v.gate.shut(), v.addrs.remove())
	v.mu.Lock()
	v.clean = err == nil && v.mode == away
	v.mu.Unlock()
	return err
}

// Announce tells the neighbours who has the addresses now, over and over, from when the gate is open, and again each time
// that it opens, be it for one of them. Shut ends it.
func (v *VIP) Announce() {
	v.mu.Lock()
	v.announcer.want(true)
	v.mu.Unlock()
	wake(v.step)
}

// Probe has Run ask for the virtual addresses and for the peers each 100 ms, beginning with no rounds.
func (v *VIP) Probe(on bool) {
	v.mu.Lock()
	v.prober.set(on)
	v.mu.Unlock()
	wake(v.step)
}

// Probed is what the probes have shown since Probe was switched on. A round without a carrier counts for nothing.
func (v *VIP) Probed() failover.Probe {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.prober.result
}

// Holder is the hardware address that answered last for a virtual address, and whether it is a peer's. Nil: nobody did
// since Probe was switched on.
func (v *VIP) Holder() (mac net.HardwareAddr, peer bool) {
	v.mu.Lock()
	mac = v.prober.holder
	v.mu.Unlock()
	return mac, mac != nil && v.isPeer(mac)
}

func (v *VIP) isPeer(mac net.HardwareAddr) bool {
	return slices.ContainsFunc(v.c.PeerMACs(), func(p net.HardwareAddr) bool { return p.String() == mac.String() })
}

// Conflict is the hardware address of a third machine that claimed a virtual address in the last 10 s while the gate here
// was open. Empty: there is none.
func (v *VIP) Conflict() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.conflict.told(v.c.Now())
}

// Uplink is the worst of the carriers of all interfaces with a virtual address, and of the gateway.
func (v *VIP) Uplink() failover.Reading {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.gate.nics) == 0 {
		return failover.Unknown
	}
	var all []failover.Reading
	for _, nic := range v.gate.nics {
		all = append(all, v.carriers[nic])
	}
	if v.c.Gateway.IsValid() {
		all = append(all, v.gateway.state)
	}
	return worst(all...)
}

// GatewaySilent is for how long the gateway has not answered; 0 where none is configured, or it was never asked.
func (v *VIP) GatewaySilent() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.c.Gateway.IsValid() {
		return 0
	}
	return v.gateway.silent(v.c.Now())
}

func (v *VIP) event(text string, bad bool) {
	if bad {
		v.c.Log.Warn(text)
	} else {
		v.c.Log.Info(text)
	}
	if v.c.Event != nil {
		v.c.Event(text, bad)
	}
}

// wake has a goroutine of Run look again.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // it will anyway
	}
}
