package script

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"masthead/appliance/fence/param"
)

// Agent is a program with the parameters of one machine.
type Agent struct {
	path   string
	meta   *Metadata // nil: it has none
	params map[string]string
	// saidOn: it has told on from off.
	saidOn bool
}

// New checks the parameters as far as the metadata says. meta is nil for a program without.
func New(path string, meta *Metadata, given map[string]string) (*Agent, error) {
	given = maps.Clone(given)
	var faults []error
	for _, name := range actionNames {
		if v, is := given[name]; is && v != "off" && v != "" {
			faults = append(faults, fmt.Errorf("parameter %s: %s: only off is ever done; a machine that comes back by itself could be a second owner", name, v))
		}
		delete(given, name)
	}
	if err := dangerous(given); err != nil {
		faults = append(faults, err)
	}
	if meta != nil {
		if err := meta.Fit(); err != nil {
			faults = append(faults, fmt.Errorf("agent %s: %w", path, err))
		}
		values, err := meta.Set().Read(given)
		given = values
		faults = append(faults, err)
	} else {
		for _, k := range slices.Sorted(maps.Keys(given)) {
			faults = append(faults, param.Plain(k, given[k]))
		}
	}
	return &Agent{path: path, meta: meta, params: given}, errors.Join(faults...)
}

// dangerous is parameters of fence-agents that make off of what is not known to be off.
func dangerous(given map[string]string) error {
	for _, name := range []string{"missing_as_off", "missing-as-off"} {
		if (param.Values(given)).Flag(name) {
			return fmt.Errorf("parameter %s: a name with a mistake in it would count as off", name)
		}
	}
	return nil
}

// Off orders the machine off.
func (a *Agent) Off(ctx context.Context) error {
	if !a.saidOn {
		// What it says now tells whether a later exit code 2 can be believed; that it cannot say it holds up no order.
		a.On(ctx)
	}
	r, err := a.act(ctx, "off")
	if err != nil {
		return fmt.Errorf("off: %w", err)
	}
	if r.code != 0 {
		return fmt.Errorf("off: %s", r.why())
	}
	return nil
}

var (
	wordOff = regexp.MustCompile(`(?i)\boff\b`)
	wordOn  = regexp.MustCompile(`(?i)\bon\b`)
)

// On asks for the status.
func (a *Agent) On(ctx context.Context) (bool, error) {
	r, err := a.act(ctx, "status")
	if err != nil {
		return false, fmt.Errorf("status: %w", err)
	}
	on, err := r.on(a.saidOn)
	if err != nil {
		return false, fmt.Errorf("status: %w", err)
	}
	a.saidOn = a.saidOn || on
	return on, nil
}

// on reads the end of a status. Exit code 2 alone is no off: it is also what fence-agents give for bad arguments, what
// perl gives when a module is missing, python for a bad option, and sh for a syntax error. It is believed from a program
// that says so in words, as fence-agents do ("Status: OFF"), or that said on before.
func (r result) on(saidOn bool) (bool, error) {
	saysOff, saysOn := wordOff.MatchString(r.stdout), wordOn.MatchString(r.stdout)
	switch {
	case r.code == 0 && saysOff && !saysOn:
		return false, errors.New("exit code 0 is on, and the program says off")
	case r.code == 0:
		return true, nil
	case r.code == 2 && saysOn && !saysOff:
		return false, errors.New("exit code 2 is off, and the program says on")
	case r.code == 2 && (saysOff || saidOn):
		return false, nil
	case r.code == 2:
		return false, fmt.Errorf("exit code 2 without the word off, of a program that never said on, can be a failure as well (%s)", r.why())
	}
	return false, errors.New(r.why())
}

func (a *Agent) act(ctx context.Context, action string) (result, error) {
	return run(ctx, a.path, a.lines(action))
}

// lines are the standard input for an action, the action first.
func (a *Agent) lines(action string) []string {
	var lines []string
	for _, name := range a.actionNames() {
		lines = append(lines, name+"="+action)
	}
	for _, k := range slices.Sorted(maps.Keys(a.params)) {
		if a.params[k] != "" {
			lines = append(lines, k+"="+a.params[k])
		}
	}
	return lines
}

// actionNames is what this program calls the action; all names where it does not say. A program that did not understand
// the one it was given would do its default, which is a reboot.
func (a *Agent) actionNames() []string {
	if a.meta != nil {
		for _, name := range actionNames {
			if slices.ContainsFunc(a.meta.Params, func(p Param) bool { return p.Name == name }) {
				return []string{name}
			}
		}
	}
	return actionNames
}
