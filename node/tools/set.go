package tools

import (
	"context"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/kmodule"
)

// Hooks are what tools leave to the machine they run on.
type Hooks struct {
	// Modprobe loads a module, by name or alias, with what it needs. nil: by /lib/modules of the running kernel.
	Modprobe func(ctx context.Context, name, params string) error
	// Power asks PID 1 for an orderly end; nil: by a signal.
	Power func(Power) error
}

// Set is the tools with their hooks.
type Set struct{ table []Tool }

// New makes the tools.
func New(h Hooks) *Set {
	if h.Modprobe == nil {
		h.Modprobe = func(_ context.Context, name, params string) error { return kmodule.Probe(name, params) }
	}
	if h.Power == nil {
		h.Power = signalInit
	}
	s := &Set{}
	s.table = slices.Concat(fromURoot(), files(), listings(), texts(), mounts(), disks(), processes(), system(), network(),
		modules(h), powers(h), builtins(s), []Tool{shellTool(s)})
	slices.SortFunc(s.table, func(a, b Tool) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// Table lists the tools by name.
func (s *Set) Table() []Tool { return slices.Clone(s.table) }

// Find is the tool of that name.
func (s *Set) Find(name string) (Tool, bool) {
	i, ok := slices.BinarySearchFunc(s.table, name, func(t Tool, n string) int { return strings.Compare(t.Name, n) })
	if !ok {
		return Tool{}, false
	}
	return s.table[i], true
}

// Table lists the tools with default hooks, by name.
func Table() []Tool { return New(Hooks{}).Table() }

// Find is the tool of that name with default hooks.
func Find(name string) (Tool, bool) { return New(Hooks{}).Find(name) }

// Names are the names by which the binary may be called: the builder lays a link for each.
func Names() []string {
	var names []string
	for _, t := range New(Hooks{}).table {
		names = append(names, t.Name)
	}
	return names
}
