package monitor

import (
	"slices"
	"time"

	"masthead/appliance/failover"
)

// State is what is remembered of a monitor between two checks.
type State struct {
	Reading failover.Reading // what it counts as; Down only after Monitor.Failures failures in a row
	Since   time.Time
	Checked time.Time
	Last    Result
	Because string // the monitor whose failure explains this one's; no alerts are sent

	Failing      int // failures since it was last up; checks that could not be done neither count nor end this
	Unknown      int // checks in a row that could not be done
	FirstFailure time.Time
	LastFailure  time.Time
	LastSuccess  time.Time
	Failure      Result // the last failure
	Alerts       int    // sent since it went down
	Asked        bool   // a failover was asked for since it went down
	Periods      []PeriodState
}

// PeriodState is what is remembered of the alerts of one period.
type PeriodState struct {
	Sent      int // since it was last up
	Unknown   bool
	LastAlert time.Time
	Failures  []time.Time // the last Period.AlertAfter ones, also from before it was up
}

// Type is the kind of an alert, as in mon's MON_ALERTTYPE; TypeUnknown is ours.
type Type string

const (
	TypeFailure Type = "failure"
	TypeUp      Type = "up"
	TypeUnknown Type = "unknown"
)

// Due is an alert that is to be sent now.
type Due struct {
	Type   Type
	Period string
	Alert  Alert
	Every  time.Duration // the period's AlertEvery
}

// Step takes in the result of a check that ended now. because names a failed monitor that explains a failure; empty: none.
// now is in the location that the periods are meant in. The monitor must have passed Check.
func (m Monitor) Step(s State, r Result, because string, now time.Time) (State, []Due) {
	s.Checked, s.Last = now, r
	s.Periods = slices.Clone(s.Periods)
	for len(s.Periods) < len(m.Periods) {
		s.Periods = append(s.Periods, PeriodState{})
	}
	switch r.Reading {
	case failover.Up:
		return m.up(s, now)
	case failover.Down:
		return m.down(s, because, now)
	default:
		return m.unknown(s, because, now)
	}
}

func (s *State) become(r failover.Reading, now time.Time) {
	if s.Reading != r || s.Since.IsZero() {
		s.Reading, s.Since = r, now
	}
}

func (m Monitor) down(s State, because string, now time.Time) (State, []Due) {
	before := s.Failure.Summary
	detail := s.Failure.Detail
	if s.Failing == 0 {
		s.FirstFailure = now
		before, detail = s.Last.Summary, s.Last.Detail
	}
	s.Failing++
	s.Unknown = 0
	s.LastFailure, s.Failure = now, s.Last
	s.Because = because
	if s.Failing < max(1, m.Failures) {
		return s, nil
	}
	s.become(failover.Down, now)
	var due []Due
	for i, p := range m.Periods {
		ps := &s.Periods[i]
		if p.AlertAfter > 0 && p.AlertAfterTime > 0 {
			ps.Failures = append(slices.Clone(ps.Failures), now)
			ps.Failures = ps.Failures[max(0, len(ps.Failures)-p.AlertAfter):]
		}
		// A failure that another explains is not one of the period's NumAlerts, and asks for no failover: the other does.
		if because != "" || !p.in(now) || !p.due(s, *ps, before, detail, now) {
			continue
		}
		n := len(due)
		for _, a := range p.Alerts {
			if a.matches(s.Last.Code) {
				due = append(due, Due{TypeFailure, p.Name, a, p.AlertEvery})
				s.Asked = s.Asked || a.Failover
			}
		}
		if len(due) > n {
			ps.Sent++
			ps.LastAlert = now
		}
	}
	s.Alerts += len(due)
	return s, due
}

// due is mon's decision (mon(8), ALERT DECISION LOGIC), but for the order, which makes no difference.
func (p Period) due(s State, ps PeriodState, summary, detail string, now time.Time) bool {
	if p.NumAlerts > 0 && ps.Sent >= p.NumAlerts {
		return false
	}
	if p.AlertEvery > 0 && !ps.LastAlert.IsZero() && now.Sub(ps.LastAlert) < p.AlertEvery {
		changed := summary != s.Last.Summary
		switch p.Changes {
		case ChangesDetail:
			changed = changed || detail != s.Last.Detail
		case ChangesUp, ChangesNone:
			changed = false
		}
		if !changed {
			return false
		}
	}
	switch {
	case p.AlertAfter > 0 && p.AlertAfterTime > 0:
		return len(ps.Failures) >= p.AlertAfter && now.Sub(ps.Failures[0]) <= p.AlertAfterTime
	case p.AlertAfter > 0:
		return s.Failing >= p.AlertAfter
	case p.AlertAfterTime > 0:
		return now.Sub(s.FirstFailure) > p.AlertAfterTime
	}
	return true
}

func (m Monitor) up(s State, now time.Time) (State, []Due) {
	failed := s.Reading == failover.Down || s.Failing >= max(1, m.Failures)
	var due []Due
	for i, p := range m.Periods {
		ps := &s.Periods[i]
		told := ps.Sent > 0 || ps.Unknown || p.NoCompAlerts && failed
		if told && p.in(now) && (ps.Unknown || now.Sub(s.FirstFailure) >= p.UpAlertAfter) {
			for _, a := range p.UpAlerts {
				due = append(due, Due{TypeUp, p.Name, a, p.AlertEvery})
			}
		}
		ps.Sent, ps.Unknown = 0, false
		if p.Changes != ChangesNone {
			ps.LastAlert = time.Time{}
		}
	}
	s.become(failover.Up, now)
	s.LastSuccess = now
	s.Failing, s.Unknown, s.Because = 0, 0, ""
	s.Alerts, s.Asked = 0, false
	return s, due
}

// unknown changes no counter of failures: what could not be asked neither failed nor is well. People are told that nobody
// watches; the cluster is not moved.
func (m Monitor) unknown(s State, because string, now time.Time) (State, []Due) {
	s.become(failover.Unknown, now)
	s.Unknown++
	s.Because = because
	// Failures that are separated by so many checks without an answer are not in a row.
	if s.Unknown >= UnknownAfter && s.Failing < max(1, m.Failures) {
		s.Failing = 0
	}
	if because != "" || s.Unknown < UnknownAfter {
		return s, nil
	}
	var due []Due
	for i, p := range m.Periods {
		ps := &s.Periods[i]
		if ps.Unknown || !p.in(now) {
			continue
		}
		for _, a := range p.Alerts {
			if a.matches(s.Last.Code) && !a.Failover {
				due = append(due, Due{TypeUnknown, p.Name, a, p.AlertEvery})
				ps.Unknown = true
			}
		}
	}
	s.Alerts += len(due)
	return s, due
}

// in reports whether the period holds now.
func (p Period) in(now time.Time) bool {
	w, err := ParseWhen(p.When)
	return err == nil && w.Contains(now)
}
