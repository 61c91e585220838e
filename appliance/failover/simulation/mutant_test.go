package simulation

import (
	"slices"
	"strings"
	"testing"
	"time"

	"masthead/appliance/failover"
)

// mutants are versions of Decide in which a rule is dropped or a timer shifted, made from outside: what it is shown is other
// than what is there, or what it says is changed. The simulation has to find each of them, by a promise that the rule is for.
var mutants = []struct {
	name   string
	where  string // part of the names of the scenarios in which it is looked for: where the rule matters
	breaks string // one of these
	decide Decide
}{
	{"a higher epoch is ignored", "available", "I1 I9", seeing(func(v *failover.View, _ failover.Instant) {
		if !v.Memory.Phase.Holds() {
			return
		}
		v.Authority.Known = 0
		for i := range v.Peers {
			v.Peers[i].Said.Epoch, v.Peers[i].Said.Acting, v.Peers[i].Said.Phase = 0, 0, failover.Standby
		}
	})},
	{"the end of the old lease is not waited for", "panel", "I1 I9", seeing(func(v *failover.View, now failover.Instant) {
		if a := &v.Authority; v.Memory.Phase == failover.Claim && v.Memory.Epoch != 0 && a.Kind == failover.Panel {
			a.Held, a.Until = v.Memory.Epoch, now+v.Policy.Timing.TTL
		}
	})},
	{"a lease that was lost is renewed", "", "R1", seeing(func(v *failover.View, now failover.Instant) {
		if a := &v.Authority; v.Memory.Phase == failover.Active && a.Kind >= failover.Panel {
			a.Held, a.Until = v.Memory.Epoch, now+v.Policy.Timing.TTL
		}
	})},
	{"an owner goes on from memory after a boot", "", "R1 I1 I9", seeing(func(v *failover.View, now failover.Instant) {
		if v.Memory.Phase == failover.Boot && v.Record.Owner == v.Self.Name {
			v.Record.BootID = v.Self.BootID
			v.Gate = failover.Gate{Open: true, Epoch: v.Record.Epoch, Until: now + v.Policy.Timing.Gate}
		}
	})},
	{"writes go on whenever the lease is live", "panel", "I2 R5", saying(func(v *failover.View, d *failover.Decision, now failover.Instant) {
		if v.Data == failover.DataAlone && d.Services == failover.Run && v.Authority.Held == d.Memory.Epoch && v.Authority.Until > now {
			d.Word = failover.Word{Go: true, How: "a lease"}
		}
	})},
	{"voters that have restarted count", "panel of 3, data", "I2 R5", seeing(func(v *failover.View, now failover.Instant) {
		if v.Authority.Held != 0 && !v.Record.SoloSince.IsZero() {
			v.Authority.SoloKnown = now
		}
	})},
	{"who has a granted lease may write", "raft, 3 heads, data", "I2 R5", seeing(func(v *failover.View, now failover.Instant) {
		if v.Authority.Held != 0 && !v.Record.SoloSince.IsZero() {
			v.Authority.SoloKnown = now
		}
	})},
	{"a peer that is silent is taken for dead", "pair, fencing, data", "I2 R5", saying(func(v *failover.View, d *failover.Decision, _ failover.Instant) {
		if v.Data == failover.DataAlone && d.Services == failover.Run {
			d.Word = failover.Word{Go: true, How: "silence"}
		}
	})},
	// That it is unknown bars a head, and so does what the voters know of an owner without it: either is enough.
	{"unknown data reads as up to date", "data", "R5", seeing(func(v *failover.View, _ failover.Instant) {
		if v.Data != failover.DataUnknown {
			return
		}
		v.Data, v.Authority.Solo = failover.DataUpToDate, time.Time{}
		if v.Memory.Phase.Holds() {
			v.Data = failover.DataAlone
		}
	})},
	{"claims with outdated data", "data", "R5", func(v failover.View, now failover.Instant) failover.Decision {
		v.Authority.Solo = time.Time{}
		old := v.Data == failover.DataOutdated || v.Data == failover.DataSyncing
		if old && v.Self.ID < copies {
			v.Data = failover.DataUpToDate
		}
		d := failover.Decide(v, now)
		if old && d.Services == failover.Run { // the copy refuses as well
			d.Word = failover.Word{Go: true, Forced: true, How: "outdated data"}
		}
		return d
	}},
	{"probes are skipped", "LAN alone", "I1", seeing(func(v *failover.View, _ failover.Instant) {
		v.Probe = failover.Probe{Rounds: 99}
	})},
	{"what a fencing came to is ignored", "fencing", "I1 I2 I9 I11", seeing(func(v *failover.View, _ failover.Instant) {
		if f := &v.Fencing; f.State == failover.FenceFailed || f.State == failover.FenceRunning {
			f.State = failover.FenceProof
		}
	})},
	{"acts before the record is on the disk", "", "R1", func(v failover.View, now failover.Instant) failover.Decision {
		disk := v.Record
		if v.Memory.Phase == failover.Promote || v.Memory.Phase == failover.Active {
			v.Record.Epoch, v.Record.Owner = v.Memory.Epoch, v.Self.Name
		}
		d := failover.Decide(v, now)
		if d.Record.Owner == v.Self.Name {
			d.Record = disk
		}
		return d
	}},
	{"an epoch is taken back after a claim that failed", "", "I3", saying(func(_ *failover.View, d *failover.Decision, _ failover.Instant) {
		if d.Memory.Phase == failover.Standby && d.Record.Epoch > failover.MaxHeads {
			d.Record.Epoch -= failover.MaxHeads
		}
	})},
	{"the gate is opened for longer than the lease", "", "R1", saying(func(_ *failover.View, d *failover.Decision, _ failover.Instant) {
		d.Gate.Until += 300 * time.Millisecond
	})},
	{"the second head takes ownership whenever it is there", "", "I7", seeing(func(v *failover.View, _ failover.Instant) {
		if v.Self.ID == 0 && v.Memory.Phase == failover.Active {
			v.Operator.Switch = headNames[1]
		}
	})},
	{"silence is believed at once", "", "I11", seeing(func(v *failover.View, _ failover.Instant) {
		v.Policy.Timing.Suspect, v.Policy.Timing.Silence, v.Policy.Timing.FenceDelay = 60*time.Millisecond, 60*time.Millisecond, 0
	})},
	{"a head that boots alone is sure of itself", "safe", "I1 I9", seeing(func(v *failover.View, _ failover.Instant) { v.Policy.AloneAtBoot = true })},
	{"the policy safe takes over as well", "safe", "I1 I9", seeing(func(v *failover.View, _ failover.Instant) { v.Policy.Loss = failover.Available })},
	{"a stop that failed is not a reset", "", "I5 I8 I9", saying(func(_ *failover.View, d *failover.Decision, _ failover.Instant) { d.Reset = "" })},
	{"services are not stopped", "", "I9", saying(func(v *failover.View, d *failover.Decision, _ failover.Instant) {
		if v.Services == failover.ServicesStarted {
			d.Services = failover.Run
		}
	})},
	{"nobody is told", "", "I5", saying(func(_ *failover.View, d *failover.Decision, _ failover.Instant) { d.Events = nil })},
	{"never claims after a loss", "", "I5", saying(func(v *failover.View, d *failover.Decision, _ failover.Instant) {
		if v.Memory.Phase == failover.Suspect && d.Memory.Phase != failover.Standby {
			d.Memory.Phase = failover.Suspect
		}
	})},
}

func seeing(change func(*failover.View, failover.Instant)) Decide {
	return func(v failover.View, now failover.Instant) failover.Decision {
		v.Peers = slices.Clone(v.Peers)
		change(&v, now)
		return failover.Decide(v, now)
	}
}

func saying(change func(*failover.View, *failover.Decision, failover.Instant)) Decide {
	return func(v failover.View, now failover.Instant) failover.Decision {
		d := failover.Decide(v, now)
		change(&v, &d, now)
		return d
	}
}

// TestMutants asserts that the simulation sees something: every mutant is found, within a bounded number of schedules, by one
// that Decide itself passes.
func TestMutants(t *testing.T) {
	const most = 20_000
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			p, sound := NewPlayer(m.decide), NewPlayer(failover.Decide)
			all := slices.DeleteFunc(Scenarios(), func(s Scenario) bool { return !strings.Contains(s.Name, m.where) })
			for seed := uint64(1); seed <= most; seed++ {
				r := p.Play(all[seed%uint64(len(all))], seed)
				if f := r.Failure; slices.Contains(strings.Fields(m.breaks), f.Invariant) && sound.Play(r.Scenario, seed).Failure.Invariant == "" {
					t.Logf("%d schedules: %s (%s): %s", seed, f.Invariant, r.Scenario.Name, f.Text)
					return
				}
			}
			t.Errorf("no break of %s found in %d schedules", m.breaks, most)
		})
	}
}
