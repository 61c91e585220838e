package simulation

import (
	"time"

	"masthead/appliance/data"
	"masthead/appliance/failover"
)

// keeper is what the daemon of a head knows of its copy, and does about it: package data's Set. What is decided is decided
// by that package's own functions, and by the word of Decide.
type keeper struct {
	look   data.Look
	ready  bool
	losses int
	word   failover.Word
	lost   failover.Instant // DataLost of the decision that gave the word
	viewed failover.Instant // that of the view which is being decided about
	boots  data.Attested[[maxWitnesses]uint64]

	asked      failover.Instant // when the handler's question came in; negative: it has not
	wasPrimary bool
	answered   bool

	busy  bool
	step  data.Step
	did   data.Step // the last one that ended
	again time.Duration
}

// startKeeper is a daemon that starts: it has its notes, and learns what the kernel has.
func (w *World) startKeeper(i int) {
	if !w.hasCopy(i) {
		return
	}
	s := &w.data.side[i]
	k := &s.keeper
	note, busy, step := k.look.Note, k.busy, k.step
	*k = keeper{asked: -1, busy: busy, step: step}
	k.look = data.Look{Volume: "data", Note: note, Meta: data.MetaThere, Tuned: true}
	w.in(w.rnd.between(2*time.Millisecond, 30*time.Millisecond), evSeen, i, w.heads[i].daemonGen)
	if s.asks.on { // the handler asks again
		w.in(100*time.Millisecond, evAsk, i, s.asks.gen)
	}
}

// changed tells the daemon after a moment that the kernel's state is another one.
func (w *World) changed(i int) {
	d := &w.data
	if a, b := &d.side[0].copy, &d.side[1].copy; a.Connection == connected && b.Connection == connected {
		a.PeerRole, b.PeerRole, a.PeerDisk, b.PeerDisk = b.Role, a.Role, b.Disk, a.Disk
	}
	w.in(w.rnd.between(time.Millisecond, 12*time.Millisecond), evSeen, i, w.heads[i].daemonGen)
}

// copyView is what the daemon knows, as far as its copy is concerned: see ownership.Daemon.copyView.
func (w *World) copyView(i int) data.View {
	h := &w.heads[i]
	p := &h.peers[0] // the other one with a copy
	heard := failover.Instant(-1)
	for _, l := range p.Links {
		heard = max(heard, l.Heard)
	}
	now := w.instant(i)
	known := h.view.Authority.Owned
	if known.Head() == i {
		known = 0
	}
	return data.View{
		Self: headNames[i], Record: h.disk.record, Known: known, Word: w.data.side[i].keeper.word, Elsewhere: p.Said.Have,
		Peer: data.PeerView{Name: p.Name, Alive: heard >= 0 && now-heard < w.policy.Timing.Suspect, Heard: heard, Said: p.Said},
		Now:  now,
	}
}

// seen takes what the kernel says.
func (w *World) seen(i int) {
	s, h := &w.data.side[i], &w.heads[i]
	k := &s.keeper
	if k.ready && s.losses != k.losses {
		k.look.Lost = w.instant(i)
	}
	k.ready, k.losses = true, s.losses
	k.look.Copy = s.copy
	k.look.Note = k.look.Noted(w.copyView(i))
	if sv := &h.services; sv.state == failover.ServicesStopped && s.copy.Role == primary && k.look.Want != data.WantPrimary {
		sv.state = failover.ServicesStarted // a promotion that an earlier daemon began: its services find it
	}
	w.answerAsk(i)
	w.keep(i)
	w.in(0, evPoke, i, h.loopGen)
}

// reading is what the daemon is told of its data.
func (w *World) reading(i int) failover.Data {
	switch {
	case !w.sc.Data:
		return failover.NoData
	case i >= copies: // a head without a copy
		return failover.DataOutdated
	case !w.data.side[i].keeper.ready:
		return failover.DataUnknown
	}
	return w.data.side[i].keeper.look.Reading(w.copyView(i))
}

// viewData adds how the data stands: see ownership.Daemon.viewData, and data.Set.Standing.
func (w *World) viewData(i int) {
	v := &w.heads[i].view
	v.Data = w.reading(i)
	if !w.hasCopy(i) {
		return
	}
	k := &w.data.side[i].keeper
	c := &k.look.Copy
	v.DataLost, v.DataWaits = k.look.Lost, c.Frozen()
	v.Parted, v.Older, v.Have = 0, 0, 0
	if bit := k.look.Bit(); k.ready {
		if asks := w.data.side[i].asks.on && k.asked >= 0 && !k.answered; asks || k.look.Parted(w.copyView(i)) {
			v.Parted = bit
		}
		if k.look.Older() {
			v.Older = bit
		}
		if data.HasData(v.Data) {
			v.Have = bit
		}
	}
	v.Mirrored = failover.Up
	switch {
	case !k.ready:
		v.Mirrored = failover.Unknown
	case !c.Connected() || c.PeerDisk != upToDate:
		v.Mirrored = failover.Down
	}
	if w.sc.Kind == failover.Panel {
		p := &w.heads[i].panel
		k.boots.See(k.ready && c.Connected(), func() [maxWitnesses]uint64 { return p.present(w, i) }, w.instant(i))
		v.Authority.SoloKnown = p.soloKnown(w, &k.boots.Last)
	}
	if w.sc.Kind == failover.Raft {
		v.Authority.SoloKnown = w.raft.soloKnown(w, i)
	}
	k.viewed = v.DataLost
}

// see takes what was decided.
func (w *World) see(i int, d *failover.Decision) {
	if !w.hasCopy(i) {
		return
	}
	k := &w.data.side[i].keeper
	k.word, k.lost = d.Word, k.viewed
	k.look.Note = k.look.Noted(w.copyView(i))
	w.answerAsk(i)
	w.keep(i)
}

// askData is the handler's question to the daemon: see data.Set.Ask.
func (w *World) askData(i int, gen uint32) {
	s, h := &w.data.side[i], &w.heads[i]
	if !s.asks.on || s.asks.gen != gen || h.power != up {
		return
	}
	if !h.thinks() || !s.keeper.ready {
		w.in(100*time.Millisecond, evAsk, i, gen)
		return
	}
	k := &s.keeper
	k.asked, k.answered = w.instant(i), false
	k.look.Lost = max(k.look.Lost, k.asked)
	k.wasPrimary = k.look.Copy.Role == primary
	w.answerAsk(i)
	w.in(0, evPoke, i, h.loopGen)
}

// answerAsk answers it as soon as there is an answer.
func (w *World) answerAsk(i int) {
	s := &w.data.side[i]
	k := &s.keeper
	if !s.asks.on || k.asked < 0 || k.answered {
		return
	}
	code, c := data.ExitUnknown, &k.look.Copy
	switch {
	case k.lost >= k.asked && data.Answer(k.word) != data.ExitUnknown:
		code = data.Answer(k.word)
	case c.Together() && s.copy.Together():
	case k.wasPrimary && c.Role == secondary:
	case !k.wasPrimary && k.look.Want != data.WantPrimary:
	default:
		return
	}
	k.answered = true
	w.post(event{at: w.now + w.rnd.between(time.Millisecond, 10*time.Millisecond), kind: evFenced, head: uint8(i), gen: s.asks.gen, x: int64(code)})
}

// keep begins the next step, if there is one: see data.Set.turn.
func (w *World) keep(i int) {
	h := &w.heads[i]
	k := &w.data.side[i].keeper
	if !w.hasCopy(i) || !h.thinks() || !k.ready || k.busy {
		return
	}
	step, _ := k.look.Next(w.copyView(i))
	if step == data.Wait || w.now < k.again && (step == k.did || step == data.Connect) {
		return
	}
	k.busy, k.step = true, step
	w.in(w.rnd.between(3*time.Millisecond, 25*time.Millisecond), evStep, i, h.machineGen)
}

// stepEnds is a command that reaches the kernel.
func (w *World) stepEnds(i int) {
	if done, pending := w.performStep(i, w.data.side[i].keeper.step); !pending {
		w.stepped(i, done)
	}
}

// stepped is the end of a command.
func (w *World) stepped(i int, done bool) {
	k := &w.data.side[i].keeper
	k.busy, k.did, k.again = false, k.step, w.now+time.Second
	if !done && k.step == data.Promote {
		k.again = w.now + 200*time.Millisecond
	}
}
