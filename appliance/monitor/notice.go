package monitor

import (
	"fmt"
	"strings"
	"time"
)

// Notice is what an alert tells; a webhook gets it as JSON.
type Notice struct {
	Cluster     string    `json:"cluster,omitempty"`
	Head        string    `json:"head"`
	Epoch       string    `json:"epoch,omitempty"`
	Type        Type      `json:"type"`
	Monitor     string    `json:"monitor"`
	Description string    `json:"description,omitempty"`
	Hosts       []string  `json:"hosts,omitempty"`
	State       string    `json:"state"` // up, down, unknown
	Summary     string    `json:"summary"`
	Detail      string    `json:"detail,omitempty"`
	Code        int       `json:"code"` // exit status of the check
	Time        time.Time `json:"time"`
	Since       time.Time `json:"since,omitzero"` // of the first failure
	LastFailure time.Time `json:"last_failure,omitzero"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	Failures    int       `json:"failures,omitempty"`
	Period      string    `json:"period,omitempty"`
	Failover    bool      `json:"failover,omitempty"` // another owner was asked for
	Try         string    `json:"try"`
}

// notice is the alert of a monitor's step; s is the state after it, before the one before it.
func (s *Set) notice(m Monitor, before, after State, due Due, now time.Time) Notice {
	n := Notice{
		Cluster: s.config.Cluster, Head: s.config.Self, Type: due.Type, Monitor: m.Name, Description: m.Description, Hosts: m.Hosts,
		State: after.Last.Reading.String(), Summary: after.Last.line(), Detail: after.Last.Detail, Code: after.Last.Code, Time: now,
		Since: after.FirstFailure, LastFailure: after.LastFailure, LastSuccess: before.LastSuccess, Failures: before.Failing,
		Period: due.Period, Failover: after.Asked, Try: "masthead status --why",
	}
	if s.config.Epoch != nil {
		n.Epoch = s.config.Epoch()
	}
	switch due.Type {
	case TypeFailure:
		n.Failures = after.Failing
	case TypeUp:
		n.Failover = before.Asked
		n.Try = "masthead status"
	case TypeUnknown:
		n.Since = after.Since
		n.Try = "masthead status; then mend what the check needs on " + s.config.Self
	}
	return n
}

// line is a result in one line.
func (r Result) line() string {
	if r.Summary != "" {
		return r.Summary
	}
	line, _, _ := strings.Cut(r.Detail, "\n")
	return line
}

// group and service are mon's names of a monitor: those of an imported one, else its whole name and its kind.
func (m Monitor) group() (group, service string) {
	if group, service, ok := strings.Cut(m.Name, ":"); ok {
		return group, service
	}
	return m.Name, m.kind()
}

func (m Monitor) kind() string {
	switch {
	case m.Link != nil:
		return "link"
	case m.Ping != nil:
		return "ping"
	case m.TCP != nil:
		return "tcp"
	case m.HTTP != nil:
		return "http"
	case m.Process != nil:
		return "process"
	case m.Script != nil:
		return "script"
	case m.Plugin != nil:
		return "plugin"
	}
	return ""
}

// word is how mon's mail.alert begins a subject.
func (t Type) word() string {
	switch t {
	case TypeUp:
		return "UPALERT"
	case TypeUnknown:
		return "UNKNOWN"
	}
	return "ALERT"
}

// subject is as mon's mail.alert writes it; text, if not empty, stands for the summary.
func (n Notice) subject(text string) string {
	if text == "" {
		text = n.Summary
	}
	return fmt.Sprintf("%s %s: %s (%s)", n.Type.word(), strings.Replace(n.Monitor, ":", "/", 1), text, n.Head)
}

// text is the mail: what, where, since when, why, and what to type.
func (n Notice) text() string {
	var b strings.Builder
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-12s %s\n", name, value)
		}
	}
	when := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Format("2006-01-02 15:04:05 MST")
	}
	fmt.Fprintln(&b, n.sentence())
	fmt.Fprintln(&b)
	row("cluster", n.Cluster)
	row("head", n.Head)
	row("epoch", n.Epoch)
	row("monitor", n.Monitor)
	row("", n.Description)
	row("hosts", strings.Join(n.Hosts, " "))
	row("state", n.State)
	row("why", n.Summary)
	row("at", when(n.Time))
	switch n.Type {
	case TypeUp:
		row("was down", fmt.Sprintf("from %s, %s", when(n.Since), n.Time.Sub(n.Since).Round(time.Second)))
	default:
		row("since", when(n.Since))
		row("last up", when(n.LastSuccess))
	}
	if n.Failures > 0 {
		row("failures", fmt.Sprint(n.Failures))
	}
	if n.Detail != "" && n.Detail != n.Summary {
		fmt.Fprintf(&b, "\n%s\n", n.Detail)
	}
	fmt.Fprintf(&b, "\ntry: %s\n", n.Try)
	return b.String()
}

func (n Notice) sentence() string {
	switch n.Type {
	case TypeUp:
		return fmt.Sprintf("%s is up again.", n.Monitor)
	case TypeUnknown:
		return fmt.Sprintf("%s cannot be checked: nobody knows whether it is up. The owner stays.", n.Monitor)
	}
	if n.Failover {
		return fmt.Sprintf("%s is down on %s, which asks another head to take over.", n.Monitor, n.Head)
	}
	return fmt.Sprintf("%s is down.", n.Monitor)
}
