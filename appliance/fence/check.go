package fence

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"masthead/appliance/fence/param"
)

// Problem is one fault of a configuration, with its place.
type Problem struct {
	Device      string // set where the fault is in a device
	Head        string // set where it is in a step, then with
	Level, Step int    // counted from 0
	Err         error
}

func (p *Problem) Error() string {
	if p.Head != "" {
		return fmt.Sprintf("fencing of %s, level %d, step %d: %v", p.Head, p.Level+1, p.Step+1, p.Err)
	}
	return fmt.Sprintf("fence device %s: %v", p.Device, p.Err)
}

func (p *Problem) Unwrap() error { return p.Err }

// Problems are the faults in an error of Check or New.
func Problems(err error) []*Problem {
	switch e := err.(type) {
	case *Problem:
		return []*Problem{e}
	case interface{ Unwrap() []error }:
		var out []*Problem
		for _, err := range e.Unwrap() {
			out = append(out, Problems(err)...)
		}
		return out
	}
	return nil
}

// Check reports all faults of a configuration that can be found on this machine without asking a device; Problems takes
// them apart. Programs are run for their metadata.
func Check(ctx context.Context, c Config) error {
	f, err := New(c)
	faults := []error{err}
	if f != nil {
		for s := range f.steps() {
			if s.native == nil {
				_, err := s.build(ctx)
				faults = append(faults, s.problem(err))
			}
		}
	}
	return errors.Join(faults...)
}

// structure checks what can be told from the configuration alone.
func structure(c Config) error {
	var faults []error
	devices := map[string]Device{}
	for _, d := range c.Devices {
		fault := func(format string, a ...any) {
			faults = append(faults, &Problem{Device: d.Name, Err: fmt.Errorf(format, a...)})
		}
		if _, twice := devices[d.Name]; twice {
			fault("there are two of this name")
		}
		devices[d.Name] = d
		switch {
		case d.Name == "":
			fault("has no name")
		case d.Agent == "":
			fault("has no agent")
		case d.Timeout < 0:
			fault("timeout %v: must not be below 0", d.Timeout)
		}
	}
	for _, head := range slices.Sorted(maps.Keys(c.Heads)) {
		levels := c.Heads[head]
		for l, steps := range levels {
			if len(steps) == 0 {
				faults = append(faults, &Problem{Head: head, Level: l, Err: errors.New("a level without a step would be a proof of nothing")})
			}
			for i, s := range steps {
				fault := func(err error) {
					if err != nil {
						faults = append(faults, &Problem{Head: head, Level: l, Step: i, Err: err})
					}
				}
				d, known := devices[s.Device]
				if !known {
					fault(fmt.Errorf("device %q: there is none of this name", s.Device))
					continue
				}
				n, ours := nativeOf(d.Agent)
				if !ours {
					continue // Check and build look at its metadata
				}
				if n.open == nil {
					if l != len(levels)-1 || len(steps) > 1 {
						fault(errors.New("manual waits for a person for as long as it takes: it must be alone in the last level"))
					}
					continue
				}
				_, err := n.open(n.params.Merge(withoutAction(d.Params), withoutAction(s.Params)))
				fault(err)
				fault(onlyOff(s.Params))
				fault(onlyOff(d.Params))
			}
		}
	}
	return errors.Join(faults...)
}

// actionNames are what cluster.conf and fence-agents call the action. For drivers of ours they may be given, and say off.
var actionNames = []string{"action", "option", "operation"}

func onlyOff(params map[string]string) error {
	for _, name := range actionNames {
		if v := params[name]; v != "" && v != "off" {
			return fmt.Errorf("parameter %s: %s: only off is ever done; a machine that comes back by itself could be a second owner", name, v)
		}
	}
	return nil
}

func withoutAction(params map[string]string) map[string]string {
	out := maps.Clone(params)
	for _, name := range actionNames {
		delete(out, name)
	}
	return out
}

// Secret reports whether the value of a parameter of that name must not be shown.
func Secret(name string) bool { return param.Secret(name) }

// unknownAgent is the error of a program that is not here.
func unknownAgent(err error) error {
	return &hint{err, "apt-get install fence-agents"}
}

// hint is an error with what to type next.
type hint struct {
	error
	try string
}

func (h *hint) Try() string   { return h.try }
func (h *hint) Unwrap() error { return h.error }
