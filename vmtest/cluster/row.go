package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"masthead/vmtest/prober"
)

// Row is what became of a scenario.
type Row struct {
	Scenario string  `json:"scenario"`
	Injected string  `json:"injected"`
	Before   string  `json:"before"`            // who owned
	After    string  `json:"after"`             // who owns
	Epoch    string  `json:"epoch"`             // after it
	Gap      float64 `json:"gap_ms"`            // the longest silence of the virtual address until the owner was found, by the prober
	Return   float64 `json:"return_gap_ms"`     // the longest while the fault was mended and the other head came back
	Goal     float64 `json:"goal_ms,omitempty"` // on real hardware
	Double   int     `json:"double"`            // times that both heads answered
	Mails    int     `json:"mails"`
	Refenced int     `json:"refenced,omitempty"` // times that a head was switched off again while it came back
	Took     float64 `json:"took"`               // seconds, with the return of both heads
	Skipped  string  `json:"skipped,omitempty"`  // why it was not run
	Failed   string  `json:"failed,omitempty"`   // what was not as it must be
}

// OverGoal tells whether the silence was longer than it may be on real hardware.
func (r Row) OverGoal() bool { return r.Goal > 0 && r.Gap > r.Goal }

// What is added to each goal where the machines' processors are emulated: a guest then stands still for a second when the host has
// something else to do, and systemd takes five to stop a unit and start it elsewhere.
const (
	emulatedSlack = 5 * time.Second
	movingSlack   = 20 * time.Second
)

// Run puts the cluster through one scenario and leaves both heads whole. The error is one of the cluster that the next
// scenario cannot begin with; what the scenario itself found wrong is in the row.
func (t *Takeover) Run(ctx context.Context, s Scenario) (Row, error) {
	row := Row{Scenario: s.Name, Injected: s.What, Goal: ms(s.Goal)}
	if row.Skipped = s.Impossible(t.Config()); row.Skipped != "" {
		return row, nil
	}
	if s.Quick && Emulated() {
		s.Ends = Either
	}
	began := time.Now()
	for _, head := range t.heads {
		if t.isOff(ctx, head) { // nothing has been done to it since both were whole
			row.Refenced++
		}
	}
	owner, before, refenced, err := t.Whole(ctx)
	row.Refenced += refenced
	if err != nil {
		row.Failed = err.Error()
		return row, fmt.Errorf("before %s: %w", s.Name, err)
	}
	row.Before = owner
	mails, from := len(t.mailbox.Mails()), t.Record.Now()
	var bad []string
	failed := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }

	err = s.inject(ctx, t, owner, t.Other(owner))
	want := owner
	switch {
	case err != nil:
		failed("%v", err)
	case s.Ends == Either:
	default:
		if s.Ends == Moves {
			want = t.Other(owner)
		}
		if err := t.AwaitTaken(ctx, want, takenIn); err != nil {
			failed("%v", err)
		}
	}
	found := t.Record.Now()

	last, after, refenced, err := t.Whole(ctx)
	end := t.Record.Now()
	row.After, row.Epoch, row.Took = last, after.text, time.Since(began).Seconds()
	if err != nil {
		failed("%v", err)
	}
	if row.Refenced += refenced; row.Refenced > 0 && !Emulated() { // I11
		failed("a head that booted was switched off %d times", row.Refenced)
	}
	if len(bad) == 0 {
		t.judge(s, row, want, before, after, failed)
	}
	all := t.Record.Answers(from - 4*t.every) // the last answer before is where a silence begins
	row.Gap, row.Return = ms(longest(all, 0, found)), ms(longest(all, found, end))
	bound := s.Goal
	if Emulated() {
		if s.Ends == Stays {
			bound += emulatedSlack
		} else {
			bound += movingSlack
		}
	}
	if s.Goal > 0 && row.Gap > ms(bound) {
		failed("silent for %.0f ms, at most %.0f", row.Gap, ms(bound))
	}
	doubles := prober.Doubles(all, 4*t.every)
	row.Double = len(doubles)
	for _, d := range doubles {
		failed("two owners: %s answered from %v to %v between answers of the other", t.NameOf(d.MAC), d.First, d.Last)
	}
	if s.Mail && t.awaitMail(ctx, mails) != nil {
		failed("nobody was told by mail")
	}
	row.Mails = len(t.mailbox.Mails()) - mails
	row.Failed = strings.Join(bad, "; ")
	return row, err
}

// mailWithin bounds the way of a mail: those about one thing that come fast are sent as one.
const mailWithin = 3 * time.Minute

// awaitMail waits until there are more mails than before.
func (t *Takeover) awaitMail(ctx context.Context, before int) error {
	return await(ctx, mailWithin, "a mail", func(context.Context) error {
		if len(t.mailbox.Mails()) == before {
			return errors.New("none has come")
		}
		return nil
	})
}

// judge holds the end of a scenario against what must be.
func (t *Takeover) judge(s Scenario, row Row, want string, before, after epoch, failed func(string, ...any)) {
	if s.Ends != Either && row.After != want {
		failed("%s owns in the end, want %s", row.After, want) // nobody falls back by himself (R4)
	}
	if s.Ends == Stays && after.number != before.number { // I7
		failed("%s has given up, and owns again: the epoch went from %s to %s", row.After, before.text, after.text)
	}
	if after.number < before.number || row.After != row.Before && after.number == before.number { // I3
		failed("the epoch went from %s to %s", before.text, after.text)
	}
}

// longest is the longest silence of a record that ended between two times.
func longest(all []prober.Answer, from, to time.Duration) time.Duration {
	var d time.Duration
	for _, g := range prober.Gaps(all, 0) {
		if g.To > from && g.To <= to {
			d = max(d, g.Length())
		}
	}
	return d
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
