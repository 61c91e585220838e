package failover

import (
	"strings"
	"testing"
	"time"
)

// What happens to the cluster; head1 owns it before, and head2 follows.
const (
	fine   = "up"
	cut    = "cut"
	none   = "none"
	hangs  = "hangs" // stopped, its machine goes on
	oneNIC = "one NIC of two"
	toward = "one way, towards the standby" // what the owner sends is lost
	away   = "one way, towards the owner"

	stays    = "the owner stays"
	takes    = "the standby takes over"
	handsOn  = "the owner hands over"
	blocked  = "blocked"
	fences   = "the standby fences and takes over"
	ownerHit = "the owner fences and stays"
	lone     = "the owner alone stays, the other is blocked"
)

type row struct {
	name    string
	kind    AuthorityKind
	heads   int    // 0: two
	owner   string // none: its power is gone; hangs: its daemon is stopped
	network string
	serial  string // none: no cable
	uplinks string // "owner", "standby": of whom it is down
	fence   string // none, "proof", "fails"
	voters  string // cut: of both; "owner", "standby": of whom the way to them is cut
	data    Data   // of the standby; other than NoData: replicated
	loss    Loss
	fast    bool
	want    string
	within  time.Duration
	why     string // in the standby's reason
	try     string
}

func TestTable(t *testing.T) {
	const ms = time.Millisecond
	for _, r := range []row{
		// A pair without fencing.
		{name: "pair: nothing fails", want: stays, why: "follows head1"},
		{name: "pair: power cut, safe", owner: none, network: cut, want: blocked, within: 3000 * ms, why: "nothing proves that head1 is off", try: "masthead fence confirm-dead head1"},
		{name: "pair: power cut, available", owner: none, network: cut, loss: Available, want: takes, within: 900 * ms},
		{name: "pair: power cut with a serial cable, available", owner: none, network: cut, serial: cut, loss: Available, want: takes, within: 900 * ms},
		{name: "pair: the owner's daemon hangs, available", owner: hangs, loss: Available, want: blocked, within: 3000 * ms, why: "its kernel answers", try: "masthead fence confirm-dead head1"},
		{name: "pair: LAN cut, serial alive", network: cut, serial: fine, want: stays, why: "the serial link says that the peer is alive"},
		{name: "pair: LAN cut, serial alive, available all the same", network: cut, serial: fine, loss: Available, want: stays, why: "the serial link says that the peer is alive"},
		{name: "pair: LAN cut at the owner, serial alive", network: cut, serial: fine, uplinks: "owner", want: handsOn, within: 900 * ms},
		{name: "pair: LAN cut at the standby, serial alive", network: cut, serial: fine, uplinks: "standby", want: stays},
		{name: "pair: serial cut, LAN alive", network: fine, serial: cut, want: stays, why: "follows head1"},
		{name: "pair: one NIC of two", network: oneNIC, want: stays, why: "follows head1"},
		{name: "pair: one NIC of two, and serial", network: oneNIC, serial: cut, want: stays},
		{name: "pair: all cables, safe", network: cut, serial: cut, want: lone, why: "nothing proves that head1 is off", try: "masthead fence confirm-dead head1"},
		{name: "pair: all silent, the own uplink down, available", network: cut, uplinks: "standby", loss: Available, want: lone, why: "own uplink is down", try: "masthead fence confirm-dead head1"},
		{name: "pair: one way, the owner is not heard, available", network: toward, loss: Available, want: handsOn, within: 900 * ms},
		{name: "pair: one way, the owner is not heard, safe", network: toward, want: lone, why: "nothing proves that head1 is off", try: "masthead fence confirm-dead head1"},
		{name: "pair: one way, the standby is not heard", network: away, want: stays, why: "follows head1"},
		{name: "pair: power cut, data outdated, available", owner: none, network: cut, data: DataOutdated, loss: Available, want: blocked, within: 3000 * ms, why: "its data is outdated", try: "masthead promote --force"},
		{name: "pair: power cut, data up to date, available", owner: none, network: cut, data: DataUpToDate, loss: Available, want: takes, within: 900 * ms},
		{name: "pair: power cut, data diverged, available", owner: none, network: cut, data: DataDiverged, loss: Available, want: "quarantine", why: "both heads have written", try: "masthead data status"},

		// A pair with fencing.
		{name: "fencing: power cut", owner: none, network: cut, fence: "proof", want: fences, within: 1200 * ms},
		{name: "fencing: the owner's daemon hangs", owner: hangs, fence: "proof", want: fences, within: 1300 * ms},
		{name: "fencing: all cables cut", network: cut, fence: "proof", want: ownerHit},
		{name: "fencing: all cables cut, owner's uplink down", network: cut, uplinks: "owner", fence: "proof", want: fences, within: 1300 * ms},
		{name: "fencing: one way, the owner is not heard", network: toward, fence: "proof", want: fences, within: 1300 * ms},
		{name: "fencing: one way, the standby is not heard", network: away, fence: "proof", want: ownerHit},
		{name: "fencing: power cut, the device fails", owner: none, network: cut, fence: "fails", want: blocked, within: 3000 * ms, why: "could not be fenced", try: "masthead fence confirm-dead head1"},
		{name: "fencing: LAN cut, serial alive", network: cut, serial: fine, fence: "proof", want: stays, why: "the serial link says that the peer is alive"},
		{name: "fencing: power cut, the own uplink is down", owner: none, network: cut, uplinks: "standby", fence: "proof", want: blocked, within: 3000 * ms, why: "own uplink is down"},
		{name: "fencing: power cut, data outdated", owner: none, network: cut, fence: "proof", data: DataOutdated, want: blocked, within: 3000 * ms, why: "its data is outdated", try: "masthead promote --force"},

		// Two heads and a panel.
		{name: "panel: power cut", kind: Panel, owner: none, network: cut, want: takes, within: 900 * ms},
		{name: "panel: power cut, fast", kind: Panel, owner: none, network: cut, fast: true, want: takes, within: 600 * ms},
		{name: "panel: power cut, safe data", kind: Panel, owner: none, network: cut, data: DataUpToDate, want: takes, within: 900 * ms},
		{name: "panel: the owner's daemon hangs", kind: Panel, owner: hangs, want: takes, within: 900 * ms},
		{name: "panel: all cables between the heads", kind: Panel, network: cut, serial: cut, want: stays, why: "the voters say that head1 has the lease"},
		{name: "panel: the owner is cut off", kind: Panel, network: cut, voters: "owner", uplinks: "owner", want: takes, within: 900 * ms},
		{name: "panel: the owner is cut off, serial alive", kind: Panel, network: cut, serial: fine, voters: "owner", uplinks: "owner", want: takes, within: 1100 * ms},
		{name: "panel: the standby is cut off", kind: Panel, network: cut, voters: "standby", uplinks: "standby", want: lone, why: "too few voters", try: "masthead promote --force"},
		{name: "panel: no witness answers, the heads hear one another", kind: Panel, network: fine, voters: cut, want: blocked, within: 4000 * ms, why: "too few voters"},
		{name: "panel: no witness answers and the owner is dead", kind: Panel, owner: none, network: cut, voters: cut, want: blocked, within: 4000 * ms, why: "too few voters", try: "masthead promote --force"},
		{name: "panel: one NIC of two", kind: Panel, network: oneNIC, want: stays},
		{name: "panel: one way, the owner is not heard", kind: Panel, network: toward, want: stays, why: "the voters say that head1 has the lease"},
		{name: "panel: power cut, data outdated", kind: Panel, owner: none, network: cut, data: DataOutdated, want: blocked, within: 3000 * ms, why: "its data is outdated", try: "masthead promote --force"},
		{name: "panel: power cut, data diverged", kind: Panel, owner: none, network: cut, data: DataDiverged, want: "quarantine"},
		{name: "panel: power cut, the own uplink is down", kind: Panel, owner: none, network: cut, uplinks: "standby", want: blocked, within: 4000 * ms, why: "own uplink is down"},

		// Three heads.
		{name: "raft: power cut", kind: Raft, heads: 3, owner: none, network: cut, want: takes, within: 1200 * ms},
		{name: "raft: the owner's daemon hangs", kind: Raft, heads: 3, owner: hangs, want: takes, within: 1200 * ms},
		{name: "raft: the owner is cut off", kind: Raft, heads: 3, network: cut, voters: "owner", uplinks: "owner", want: takes, within: 1200 * ms},
		{name: "raft: no majority", kind: Raft, heads: 3, owner: none, network: cut, voters: cut, want: blocked, within: 4000 * ms, why: "too few voters", try: "masthead promote --force"},
		{name: "raft: one NIC of two", kind: Raft, heads: 3, network: oneNIC, want: stays},
	} {
		t.Run(r.name, func(t *testing.T) { r.check(t) })
	}
}

func (r row) check(t *testing.T) {
	links := []string{nic0}
	if r.network == oneNIC {
		links = append(links, nic1)
	}
	if r.serial != "" && r.serial != none {
		links = append(links, tty)
	}
	if r.heads == 0 {
		r.heads = 2
	}
	if r.kind == Single {
		r.kind = Pair
	}
	l := newLab(t, r.kind, r.heads, links...)
	for _, b := range l.heads {
		b.Policy.Loss = r.loss
		if r.fast {
			b.Policy.Timing = Fast()
		}
		b.View.Fencing.Possible = r.fence != ""
		if r.fence == "fails" {
			b.fenceEnds = FenceFailed
		}
		if r.data != NoData {
			b.Data = DataUpToDate
		}
	}
	l.settle()
	r.fail(l)
	began := l.now
	l.run(6 * time.Second)
	r.expect(l, began)
}

// fail makes what the row says happen, to head1 and all others.
func (r row) fail(l *lab) {
	for _, b := range l.heads[1:] {
		if r.data != NoData {
			b.Data = r.data
		}
		switch r.network {
		case cut:
			l.part("head1", nic0, b.Self.Name)
		case oneNIC:
			l.part("head1", nic1, b.Self.Name)
		case toward:
			l.deafen("head1", nic0, b.Self.Name)
		case away:
			l.deafen(b.Self.Name, nic0, "head1")
		}
		if r.serial == cut {
			l.part("head1", tty, b.Self.Name)
		}
		if r.uplinks == "standby" {
			b.Uplink = Down
		}
		if r.voters == cut || r.voters == "standby" {
			b.voters = Down
		}
	}
	if r.uplinks == "owner" {
		l.heads[0].Uplink = Down
	}
	if r.voters == cut || r.voters == "owner" {
		l.heads[0].voters = Down
	}
	switch r.owner {
	case none:
		l.heads[0].powerOff()
	case hangs:
		l.heads[0].frozen = true
	}
}

func (r row) expect(l *lab, began Instant) {
	l.t.Helper()
	h1, h2 := l.heads[0], l.heads[1]
	for _, b := range l.heads[1:] {
		if b.Gate.Open {
			h2 = b
		}
	}
	ok := false
	switch r.want {
	case stays:
		ok = h1.phase() == Active && h2.phase() != Active && h1.activeAt < began
	case lone:
		ok = h1.phase() == Active && h1.activeAt < began && h2.phase() == Blocked
		if r.kind == Panel || r.network == toward {
			ok = h1.phase() == Active && h2.phase() != Active
		}
	case takes:
		ok = h2.phase() == Active && l.owner() == h2.Self.Name
	case fences:
		ok = h2.phase() == Active && h1.off
	case ownerHit:
		ok = h1.phase() == Active && h2.off
	case handsOn:
		ok = h2.phase() == Active && h1.phase() == Standby
	case blocked:
		ok = h2.phase() == Blocked && l.owner() == ""
		if !mailed(h2, "nobody may own the cluster without a person") {
			l.t.Errorf("blocked without mail: %+v", h2.events)
		}
	case "quarantine":
		ok = h2.phase() == Quarantine && l.owner() == ""
	}
	if !ok {
		l.t.Fatalf("not so: %s %s", r.want, l)
	}
	if h2.phase() == Active && r.within > 0 && h2.activeAt-began > r.within {
		l.t.Errorf("it took %v, want %v", h2.activeAt-began, r.within)
	}
	if h2.phase() == Active {
		l.t.Logf("%v", h2.activeAt-began)
	}
	w := h2.last.Why
	if all := w.Summary + " " + strings.Join(w.Against, " "); !strings.Contains(all, r.why) {
		l.t.Errorf("the reason %q lacks %q", all, r.why)
	}
	if r.try != "" && w.Try != r.try {
		l.t.Errorf("try %q, want %q", w.Try, r.try)
	}
	if w.Summary == "" || w.Phase == Blocked && w.Try == "" {
		l.t.Errorf("no reason, or nothing to try: %+v", w)
	}
}

// mailed reports whether a mail with that text was sent exactly once.
func mailed(b *box, text string) bool {
	n := 0
	for _, e := range b.events {
		if e.Mail && strings.Contains(e.Text, text) {
			n++
		}
	}
	return n == 1
}
