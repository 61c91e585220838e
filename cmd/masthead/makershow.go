package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"masthead/appliance/install"
	"masthead/appliance/maker"
	"masthead/node/wire"
)

// makerShow tells how the making of a head goes: for people, or as events for programs.
type makerShow struct {
	*app
	line stepLine
	bar  *installProgress
	last time.Time // of an event with numbers
	now  func() time.Time
}

func newMakerShow(a *app) *makerShow {
	return &makerShow{app: a, line: stepLine{out: a.err, tty: terminal(a.err)}, bar: newInstallProgress(a.err), now: time.Now}
}

// event shows a step.
func (s *makerShow) event(e maker.Event) {
	e.Time = s.now().UTC()
	if s.output == "json" {
		_ = json.NewEncoder(s.out).Encode(e) // nobody who could be told reads it then
		return
	}
	switch e.State {
	case maker.Begins:
		s.close()
		fmt.Fprintf(s.err, "%-9s %s\n", e.Step, e.Text)
	case maker.TakenBack:
		s.close()
		fmt.Fprintf(s.err, "%-9s taken back\n", e.Step)
	case maker.Done, maker.Failed:
		s.close()
	}
}

// say tells what a step does at the moment.
func (s *makerShow) say(step, text string) {
	if s.output == "json" {
		if text != s.line.last {
			s.line.last = text
			s.event(maker.Event{Step: step, State: maker.Goes, Text: text})
		}
		return
	}
	s.line.say("          " + text)
}

// waitingEvery is how often the log of somebody who is not at a terminal says that it still waits.
const waitingEvery = time.Minute

// waiting tells for how long something is waited for.
func (s *makerShow) waiting(step, text string, since time.Duration) {
	unit := waitingEvery
	if s.line.tty && s.output != "json" {
		unit = time.Second
	}
	if since = since.Truncate(unit); since > 0 {
		text += fmt.Sprintf(" (for %v)", since)
	}
	s.say(step, text)
}

// eventEvery keeps programs from being told more often than they can use.
const eventEvery = time.Second

// progress tells how far a step is.
func (s *makerShow) progress(step, what string, done, total int64) {
	if s.output == "json" {
		if now := s.now(); now.Sub(s.last) >= eventEvery || done == total {
			s.last = now
			s.event(maker.Event{Step: step, State: maker.Goes, Text: what, Done: done, Total: total})
		}
		return
	}
	s.bar.update("          "+what, done, total)
}

// copies tells how far a copy of a volume is: by numbers for programs, in words for people.
func (s *makerShow) copies(v wire.DataVolume) {
	if s.output == "json" {
		s.progress("data", v.Name, v.Size-v.OutOfSync, v.Size)
		return
	}
	if now := s.now(); s.line.tty || now.Sub(s.last) >= waitingEvery/4 {
		s.last = now
		s.say("data", v.Name+" "+progressOf(v))
	}
}

// close takes away what is shown of a step that has ended.
func (s *makerShow) close() {
	s.line.end()
	s.line.last = ""
	s.bar.close()
}

// showPlan says what becomes of the machine.
func (m *making) showPlan() {
	p, t := m.plan, m.target
	if m.output == "json" {
		_ = json.NewEncoder(m.out).Encode(struct {
			maker.Plan
			Target  maker.Target `json:"target"`
			Applied bool         `json:"applied"`
		}{p, t, !m.f.dryRun})
		return
	}
	m.show.close()
	fmt.Fprintf(m.out, "%s becomes head %s, %s, with the image of %s: %s %s, kernel %s\n", m.f.wishes.Host, p.Name, p.Address, m.master.Name,
		m.master.Source.Name, m.master.Source.Image.Short(), m.master.Source.Kernel)
	fmt.Fprintf(m.out, "  %s, %d MiB of memory, NIC %s\n", orElse(t.Firmware, "firmware unknown"), t.MemoryMB, p.MAC)
	fmt.Fprintf(m.out, "  disk %s  %s  %s  serial %s: %s\n", p.Disk.Path, install.Size(p.Disk.Size), orDash(p.Disk.Model), orDash(p.Disk.Serial), p.Disk.Holds())
	for _, s := range p.Install {
		mark := "will"
		if s.Done {
			mark = "done"
		}
		fmt.Fprintf(m.out, "  %s  %-9s  %s\n", mark, s.Name, s.What)
	}
	for _, k := range p.Keys {
		if len(m.keys) > 0 {
			fmt.Fprintf(m.out, "  keeps its SSH host key %s %s\n", k.Type, k.Fingerprint)
		}
	}
	for _, n := range p.Notes {
		fmt.Fprintf(m.out, "  %s\n", n)
	}
	if m.f.dryRun {
		fmt.Fprintln(m.out, "nothing was changed")
	}
}

// dryRun shows the plan, if the machine can be asked without changing anything.
func (m *making) dryRun(ctx context.Context) error {
	if m.way.name != byNetwork.name {
		err := m.login(ctx)
		if err == nil {
			err = m.checkSSH(ctx)
		}
		return errors.Join(err, m.logout(ctx))
	}
	for _, s := range slices.Concat(m.way.steps(m), m.cloneSteps(), m.pairSteps()) {
		fmt.Fprintf(m.out, "  would  %-9s %s\n", s.Name, s.What)
	}
	for _, given := range []struct{ flag, value string }{{"--disk", m.f.wishes.Disk}, {"--erase", m.f.wishes.Erase}} {
		if given.value != "" {
			fmt.Fprintf(m.out, "%s %s is compared with its disks when it has booted\n", given.flag, given.value)
		}
	}
	fmt.Fprintln(m.out, "its hardware is looked at, and the plan shown, when it has booted; nothing was changed")
	return nil
}

// summary is the end.
func (m *making) summary(context.Context) error {
	if m.output == "json" {
		return nil // the events have said it
	}
	for _, n := range m.notes {
		fmt.Fprintf(m.out, "%s\n", n)
	}
	fmt.Fprintf(m.out, "head %s has joined the cluster, and stands by: masthead status\n", m.journal.Name)
	return nil
}
