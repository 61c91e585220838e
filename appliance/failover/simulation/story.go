package simulation

import (
	"fmt"
	"strings"
	"time"

	"masthead/appliance/failover"
)

// story is what happened, for people.
type story struct {
	lines []string
	said  [maxHeads]string
}

func (w *World) tell(i int, format string, args ...any) {
	who := "     "
	if i >= 0 {
		who = headNames[i]
	}
	w.story.lines = append(w.story.lines, fmt.Sprintf("%9.3f %s %s", (w.now-w.begin).Seconds(), who, fmt.Sprintf(format, args...)))
}

// explain tells a decision that is other than the last one.
func (w *World) explain(i int, d *failover.Decision) {
	why := d.Why.Summary
	if len(d.Why.Against) > 0 {
		why += " [against: " + strings.Join(d.Why.Against, "; ") + "]"
	}
	line := fmt.Sprintf("%v epoch %v: %s", d.Memory.Phase, d.Memory.Epoch, why)
	if d.Fence != "" {
		line += " (fence " + d.Fence + ")"
	}
	if d.Want != 0 || d.WantTerm {
		line += fmt.Sprintf(" (wants %v %v)", d.Want, d.WantTerm)
	}
	if line != w.story.said[i] {
		w.story.said[i] = line
		w.tell(i, "%s", line)
	}
	for _, e := range d.Events {
		mail := ""
		if e.Mail {
			mail = " (mail)"
		}
		w.tell(i, "event: %s%s", e.Text, mail)
	}
}

// String is the whole story, a line for each thing.
func (s *story) String() string {
	const most = 220
	lines := s.lines
	if len(lines) > most {
		lines = append([]string{fmt.Sprintf("… %d lines before", len(lines)-most)}, lines[len(lines)-most:]...)
	}
	return strings.Join(lines, "\n")
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }
