package failover

import (
	"fmt"
	"time"
)

// box is a head: the machine, its daemon, its kernel, its disk.
type box struct {
	*lab
	View
	off, frozen, killed bool
	voters              Reading
	links               []string
	last                Decision
	events              []Event
	fenceEnds           FencingState // how fencing the other one ends
	fenceTakes          time.Duration
	noStart, noStop     bool
	deaf                bool    // cannot write its record
	probing             Instant // when the round of probes began; negative: none
	asked, turned       Instant
	boots               int
	activeAt            Instant
	shutAt              Instant
}

// start switches the machine on, with what its disk holds.
func (b *box) start() {
	b.boots++
	b.off, b.frozen, b.killed = false, false, false
	b.Self.BootID = fmt.Sprintf("%s-%d", b.Self.Name, b.boots)
	b.Services, b.Gate = ServicesStopped, Gate{}
	b.daemon()
}

// daemon starts the daemon: its memory is new, the kernel and the disk are as they were.
func (b *box) daemon() {
	b.killed = false
	b.Memory, b.last, b.probing = Memory{}, Decision{}, -1
	b.Probe, b.Fencing.State, b.Fencing.Target = Probe{}, FenceIdle, ""
	b.Authority = Authority{Kind: b.Authority.Kind}
	b.asked = -time.Hour
	for i := range b.Peers {
		p := &b.Peers[i]
		p.Said, p.Links = Said{}, nil
		for _, name := range b.links {
			k := LinkNIC
			if name == tty {
				k = LinkSerial
			}
			p.Links = append(p.Links, Link{Name: name, Kind: k, Heard: -1})
		}
	}
}

func (b *box) powerOff() { b.off, b.Gate, b.Services = true, Gate{}, ServicesStopped }

func (b *box) phase() Phase { return b.Memory.Phase }

func (b *box) tick() {
	if b.Gate.Open && b.Gate.Until <= b.now {
		b.Gate, b.shutAt = Gate{}, b.now
	}
	if b.off || b.frozen || b.killed {
		return
	}
	b.hear()
	b.ask()
	b.look()
	b.decide()
}

// hear takes the others' heartbeats in: every 50 ms on a NIC, every 100 ms on a serial line.
func (b *box) hear() {
	for i := range b.Peers {
		p := &b.Peers[i]
		from := b.head(p.Name)
		if from.off || from.frozen || from.killed || from.last.Say.BootID == 0 {
			continue
		}
		for k := range p.Links {
			l := &p.Links[k]
			every := 50 * time.Millisecond
			if l.Kind == LinkSerial {
				every *= 2
			}
			if (b.now-l.Heard >= every || p.Said != from.last.Say) && b.reaches(p.Name, l.Name, b.Self.Name) {
				l.Heard, p.Said = b.now, from.last.Say
			}
		}
	}
}

// ask renews the lease with the voters, or gives it back.
func (b *box) ask() {
	a, t := &b.Authority, &b.Policy.Timing
	if a.Kind < Panel {
		return
	}
	if a.Held != 0 && a.Until <= b.now {
		a.Held = 0
	}
	if b.now-b.asked < t.Renew && b.last.Want == b.lastWant() {
		return
	}
	b.asked = b.now
	a.Quorum = b.voters
	if b.voters != Up {
		a.Owner, a.Refused = "", ""
		return
	}
	s := &b.lab.lease
	live := s.holder != "" && s.until > b.now
	switch {
	case b.last.Want == 0 && s.holder == b.Self.Name:
		s.holder, a.Held = "", 0
	case b.last.WantTerm && a.Grant <= s.known && (!live || s.holder == b.Self.Name):
		a.Grant = s.known.Next(b.Self.ID)
		s.known = a.Grant
	}
	a.Refused = ""
	switch e := b.last.Want; {
	case e == 0:
	case e < s.known:
		a.Refused = "old epoch"
	case live && s.holder != b.Self.Name:
		a.Refused = s.holder + " has the lease"
	default:
		s.epoch, s.known, s.holder, s.until = e, e, b.Self.Name, b.now+t.TTL
		a.Held, a.Until = e, b.now+t.TTL-t.Margin
	}
	a.Known, a.Vouches, a.Owner = s.known, b.vouches, ""
	if s.until > b.now {
		a.Owner = s.holder
	}
}

// lastWant is what the voters have been asked for.
func (b *box) lastWant() Epoch { return b.Authority.Held }

// look probes the network while it is told to.
func (b *box) look() {
	if !b.last.Probe {
		b.probing, b.Probe = -1, Probe{}
		return
	}
	if b.probing < 0 {
		b.probing = b.now
	}
	if b.now-b.probing < b.Policy.Timing.ProbeEvery {
		return
	}
	b.probing = b.now
	b.Probe.VIP, b.Probe.Peer = false, false
	for _, p := range b.Peers {
		o := b.head(p.Name)
		if o.off || !b.lan(b, o) {
			continue
		}
		b.Probe.Peer = true
		b.Probe.VIP = b.Probe.VIP || o.Gate.Open
	}
	if b.Probe.Rounds++; b.Probe.VIP || b.Probe.Peer || b.Uplink == Down {
		b.Probe.Rounds = 0
	}
}

func (b *box) decide() {
	b.Wall = time.Unix(1_700_000_000, 0).Add(b.now)
	b.RecordErr = ""
	if b.deaf {
		b.RecordErr = "no space left on device"
	}
	before := b.View
	d := Decide(b.View, b.now)
	b.Memory, b.last = d.Memory, d
	b.events = append(b.events, d.Events...)
	if b.phase() == Active && before.Memory.Phase != Active {
		b.activeAt = b.now
	}
	if d.Reset != "" {
		b.powerOff()
		return
	}
	b.serve(d.Services == Run)
	if !d.Gate.Open && b.Gate.Open {
		b.Gate, b.shutAt = Gate{}, b.now
	}
	if d.Record != b.Record {
		if b.deaf {
			return
		}
		if d.Record.Epoch < b.Record.Epoch {
			b.t.Fatalf("the epoch goes down: %+v, then %+v", b.Record, d.Record)
		}
		b.Record = d.Record
	}
	if d.Gate.Open {
		if b.Record.Epoch != d.Gate.Epoch || b.Record.Owner != b.Self.Name || d.Gate.Until <= b.now {
			b.t.Fatalf("%v: a gate %+v opens on the record %+v", b.now, d.Gate, b.Record)
		}
		b.Gate = d.Gate
	}
	b.fencing(d.Fence)
	if d.Done.Switch != "" {
		b.Operator.Switch = ""
	}
	if d.Done.Promote != "" {
		b.Operator.Promote, b.Operator.Force = false, false
	}
	if d.Done.ConfirmDead != "" {
		b.Operator.ConfirmDead = ""
	}
}

// serve brings the services closer to what they are to be: each step takes two rounds.
func (b *box) serve(run bool) {
	if b.now-b.turned < 2*step {
		return
	}
	was := b.Services
	switch {
	case run && b.noStart:
		b.Services = ServicesFailed
	case run && b.Services == ServicesStopped:
		b.Services = ServicesStarting
	case run && b.Services == ServicesStarting:
		b.Services = ServicesStarted
	case !run && b.noStop && b.Services != ServicesStopped:
		b.Services = ServicesStopFailed
	case !run && b.Services == ServicesStopping:
		b.Services = ServicesStopped
	case !run && b.Services != ServicesStopped:
		b.Services = ServicesStopping
	}
	if b.Services != was {
		b.turned = b.now
	}
}

func (b *box) fencing(target string) {
	f := &b.View.Fencing
	switch {
	case target != "" && (f.State == FenceIdle || f.Target != target):
		f.State, f.Target, f.Since = FenceRunning, target, b.now
	case f.State == FenceFailed && target != "" && b.now-f.Since >= b.Policy.Timing.FenceRetry:
		f.State, f.Since = FenceRunning, b.now
	case f.State == FenceRunning && b.now-f.Since >= b.fenceTakes:
		f.State, f.Since = b.fenceEnds, b.now
		if f.State == FenceProof {
			b.head(f.Target).powerOff()
		} else {
			f.Detail = "bmc1: 401 Unauthorized"
		}
	}
}
