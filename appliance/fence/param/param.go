package param

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is what a value must look like.
type Kind uint8

const (
	Text Kind = iota
	Number
	Flag     // 1, on, yes, true; 0, off, no, false, as fence-agents takes them
	Duration // seconds, or 5s, 500ms
)

// Param is one parameter of a device.
type Param struct {
	Name     string
	Aliases  []string // older names
	Kind     Kind
	Required bool
	Default  string
	Text     string // for a person, one line
}

// Set is what a kind of device takes.
type Set []Param

// Values are the parameters of one device under their own names, defaults filled in.
type Values map[string]string

var wellFormed = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)

// Merge lays over onto base; a name of over also replaces its aliases in base.
func (s Set) Merge(base, over map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range base {
		out[s.name(k)] = v
	}
	for k, v := range over {
		out[s.name(k)] = v
	}
	return out
}

// name is the present name of a parameter; one that is not known keeps its own.
func (s Set) name(given string) string {
	for _, p := range s {
		if p.Name == given {
			return given
		}
	}
	for _, p := range s {
		if slices.Contains(p.Aliases, given) {
			return p.Name
		}
	}
	return given
}

// Read checks given and fills in the defaults. All faults are told at once.
func (s Set) Read(given map[string]string) (Values, error) {
	out := Values{}
	from := map[string]string{} // present name → as it was given
	var faults []error
	for _, k := range slices.Sorted(maps.Keys(given)) {
		name := s.name(k)
		if other, twice := from[name]; twice && out[name] != given[k] {
			faults = append(faults, fmt.Errorf("parameter %s: is the same as %s, and both are given", k, other))
			continue
		}
		from[name], out[name] = k, given[k]
		if err := Plain(k, given[k]); err != nil {
			faults = append(faults, err)
			continue
		}
		i := slices.IndexFunc(s, func(p Param) bool { return p.Name == name })
		if i < 0 {
			faults = append(faults, fmt.Errorf("parameter %s: is not known; known are %s", k, strings.Join(s.names(), ", ")))
			continue
		}
		if err := s[i].check(given[k]); err != nil {
			faults = append(faults, fmt.Errorf("parameter %s: %w", k, err))
		}
	}
	for _, p := range s {
		if out[p.Name] != "" {
			continue
		}
		if p.Required {
			faults = append(faults, fmt.Errorf("parameter %s: is missing: %s", p.Name, p.Text))
		}
		if p.Default != "" {
			out[p.Name] = p.Default
		}
	}
	return out, errors.Join(faults...)
}

// Plain reports a name or value that cannot be a line name=value of its own: a line break in a value would smuggle in
// another parameter.
func Plain(name, value string) error {
	if !wellFormed.MatchString(name) {
		return fmt.Errorf("parameter %q: a name has letters, digits, _ and -", name)
	}
	if strings.ContainsAny(value, "\n\r\x00") {
		return fmt.Errorf("parameter %s: the value has a line break in it", name)
	}
	return nil
}

func (s Set) names() []string {
	var names []string
	for _, p := range s {
		names = append(names, p.Name)
	}
	return names
}

func (p Param) check(value string) error {
	var err error
	switch {
	case value == "": // as good as not given
	case p.Kind == Number:
		_, err = strconv.ParseUint(value, 10, 31)
	case p.Kind == Flag:
		_, err = flag(value)
	case p.Kind == Duration:
		_, err = duration(value)
	}
	if err != nil {
		// The value itself stays out of the error: it could be a password in the wrong field.
		return errors.New("must be " + [...]string{"text", "a number", "yes or no", "a number of seconds"}[p.Kind])
	}
	return nil
}

// Number is a parameter of kind Number; 0 where it is empty.
func (v Values) Number(name string) int {
	n, _ := strconv.Atoi(v[name]) // Read has checked it
	return n
}

// Flag is a parameter of kind Flag; false where it is empty.
func (v Values) Flag(name string) bool {
	on, _ := flag(v[name])
	return on
}

// Duration is a parameter of kind Duration; 0 where it is empty.
func (v Values) Duration(name string) time.Duration {
	d, _ := duration(v[name])
	return d
}

func flag(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "1", "on", "yes", "true":
		return true, nil
	case "0", "off", "no", "false":
		return false, nil
	}
	return false, strconv.ErrSyntax
}

func duration(s string) (time.Duration, error) {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = strconv.ErrRange
	}
	return d, err
}
