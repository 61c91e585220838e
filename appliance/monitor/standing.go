package monitor

import (
	"fmt"
	"time"

	"masthead/appliance/failover"
	"masthead/node/wire"
)

// Unhealthy says why this head should not own: a monitor with the alert failover has asked for another owner, and is still
// down, or has not been seen up since and Config.Hold has not passed. Empty: nothing.
func (s *Set) Unhealthy() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watches {
		sick, ok := s.sick[w.m.Name]
		if ok && (w.here && w.state.Asked || time.Since(sick.at) < s.config.Hold) {
			return sick.reason
		}
	}
	return ""
}

// States are the monitors as they stand, in the order of the configuration.
func (s *Set) States() []wire.MonitorState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []wire.MonitorState
	for _, w := range s.watches {
		st := w.state
		out := wire.MonitorState{
			Name: w.m.Name, State: st.Reading.String(), Since: st.Since, Checked: st.Checked, Detail: st.Last.line(), Because: st.Because, Alerts: st.Alerts,
		}
		need := max(1, w.m.Failures)
		switch {
		case !w.here && w.m.On == OnStandby:
			out.Detail = "is checked on heads that do not own"
		case !w.here:
			out.Detail = "is checked on the owner"
		case st.Checked.IsZero():
			out.Detail = "not checked yet"
		case st.Last.Reading == failover.Down && st.Failing < need:
			out.Detail = fmt.Sprintf("failed %d times of %d: %s", st.Failing, need, out.Detail)
		}
		all = append(all, out)
	}
	return all
}
