package slot

import (
	"fmt"
	"strings"

	"masthead/node/wire"
)

// Observation is what can be seen of a head that has just started. An error is what could not be seen, and why.
type Observation struct {
	// Init is what systemd says of the system (systemctl is-system-running); "" where masthead is PID 1.
	Init    string
	InitErr error

	Head    wire.Status
	HeadErr error

	Member    wire.Membership
	MemberErr error

	OwnerErr error
}

// Lacks is what keeps a head from being healthy, in words; none: it is. Pure.
//
// Unknown is not healthy: what could not be asked counts as lacking.
func Lacks(o Observation) []string {
	var lacks []string
	add := func(format string, args ...any) { lacks = append(lacks, fmt.Sprintf(format, args...)) }
	switch {
	case o.InitErr != nil:
		add("systemd does not answer: %v", o.InitErr)
	case o.Init == "" || o.Init == "running" || o.Init == "degraded": // units that fail are the administrator's business
	default:
		add("systemd is %s", o.Init)
	}
	if o.HeadErr != nil {
		add("head run does not answer: %v", o.HeadErr)
		return lacks // the rest is asked there
	}
	for _, n := range o.Head.Nodes {
		if n.Name == o.Head.Name && n.Phase != wire.PhaseUp {
			add("the agent has not reported: this machine is %s", n.Phase)
		}
	}
	if o.Head.ReadOnly != "" {
		add("the state is read-only: %s", o.Head.ReadOnly)
	}
	switch {
	case o.MemberErr != nil:
		add("head run does not tell whether it is one of the cluster: %v", o.MemberErr)
	case o.Member.State != wire.MemberSolo && o.Member.State != wire.MemberHead:
		add("the head is %s: %s", o.Member.State, o.Member.Reason)
	}
	if o.OwnerErr != nil {
		add("the owner daemon does not answer: %v", o.OwnerErr)
	}
	var differ []string
	for _, h := range o.Head.Heads {
		if !h.Self && h.Alive && !h.Equal {
			differ = append(differ, h.Name)
		}
	}
	if len(differ) > 0 {
		add("its state is not that of %s yet", strings.Join(differ, ", "))
	}
	return lacks
}
