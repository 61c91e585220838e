package script

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"

	"masthead/appliance/fence/param"
)

// Metadata is what a program says about itself.
type Metadata struct {
	Name, Summary, Description string
	Params                     []Param
	Actions                    []Action
}

// Param is one parameter of a program.
type Param struct {
	Name       string
	Type       string // string, boolean, integer, second, select
	Required   bool
	Default    string
	Obsoletes  string // the older name of the same
	Deprecated bool
	Text       string
}

// Action is something that a program does.
type Action struct {
	Name string
	// Automatic, for the action on: a machine has to be let in again after each boot. So do programs that cut a machine off
	// from its disks or its network, instead of switching it off.
	Automatic bool
}

// wireMetadata is the XML of it (fence-agents' metadata.rng).
type wireMetadata struct {
	XMLName    xml.Name `xml:"resource-agent"`
	Name       string   `xml:"name,attr"`
	Short      string   `xml:"shortdesc,attr"`
	Long       string   `xml:"longdesc"`
	Parameters []struct {
		Name       string `xml:"name,attr"`
		Required   string `xml:"required,attr"`
		Obsoletes  string `xml:"obsoletes,attr"`
		Deprecated string `xml:"deprecated,attr"`
		Short      string `xml:"shortdesc"`
		Content    struct {
			Type    string `xml:"type,attr"`
			Default string `xml:"default,attr"`
		} `xml:"content"`
	} `xml:"parameters>parameter"`
	Actions []struct {
		Name      string `xml:"name,attr"`
		Automatic string `xml:"automatic,attr"`
	} `xml:"actions>action"`
}

// Parse reads a program's metadata.
func Parse(text []byte) (Metadata, error) {
	var w wireMetadata
	if err := xml.Unmarshal(text, &w); err != nil {
		return Metadata{}, fmt.Errorf("metadata: %w", err)
	}
	m := Metadata{Name: w.Name, Summary: oneLine(w.Short), Description: strings.TrimSpace(w.Long)}
	for _, p := range w.Parameters {
		if param.Plain(p.Name, "") != nil {
			return Metadata{}, fmt.Errorf("metadata: a parameter has the name %.40q", p.Name)
		}
		m.Params = append(m.Params, Param{p.Name, p.Content.Type, yes(p.Required), p.Content.Default, p.Obsoletes, yes(p.Deprecated), oneLine(p.Short)})
	}
	for _, a := range w.Actions {
		m.Actions = append(m.Actions, Action{a.Name, yes(a.Automatic)})
	}
	if len(m.Actions) == 0 {
		return Metadata{}, errors.New("metadata: no actions")
	}
	return m, nil
}

func yes(s string) bool { return s == "1" || s == "true" || s == "required" }

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Describe asks a program for its metadata. ErrNoMetadata in the error: it has none, as old ones.
func Describe(ctx context.Context, path string) (Metadata, error) {
	// All three names: a program that does not know one of them would fall back on its default action, which is a reboot.
	r, err := run(ctx, path, []string{"action=metadata", "option=metadata", "operation=metadata"})
	if err != nil {
		return Metadata{}, fmt.Errorf("%s: %w", path, err)
	}
	if !strings.Contains(r.stdout, "<resource-agent") {
		return Metadata{}, fmt.Errorf("%s: %w (%s)", path, ErrNoMetadata, r.why())
	}
	m, err := Parse([]byte(r.stdout))
	if err != nil {
		return Metadata{}, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// ErrNoMetadata is of programs that do not describe themselves.
var ErrNoMetadata = errors.New("the program has no metadata")

// actionNames are what the action is called, the present name first.
var actionNames = []string{"action", "option", "operation"}

// Set is the parameters that an administrator may give. What the action is called is not among them.
func (m Metadata) Set() param.Set {
	var s param.Set
	for _, p := range m.Params {
		if p.Deprecated || slices.Contains(actionNames, p.Name) {
			continue
		}
		kind := param.Text
		if p.Type == "boolean" {
			kind = param.Flag
		}
		// A default is the program's own business: it is shown, not sent.
		s = append(s, param.Param{Name: p.Name, Kind: kind, Required: p.Required && p.Default == "", Text: p.Text})
		if p.Obsoletes != "" {
			s[len(s)-1].Aliases = []string{p.Obsoletes}
		}
	}
	// A deprecated name that nothing replaces is still understood.
	for _, p := range m.Params {
		if p.Deprecated && !slices.Contains(actionNames, p.Name) && !slices.ContainsFunc(s, func(q param.Param) bool { return q.Name == p.Name || slices.Contains(q.Aliases, p.Name) }) {
			s = append(s, param.Param{Name: p.Name, Text: p.Text})
		}
	}
	return s
}

// Has reports whether the program can do an action.
func (m Metadata) Has(action string) bool {
	return slices.ContainsFunc(m.Actions, func(a Action) bool { return a.Name == action })
}

// Fit says why the program cannot prove that a machine is off; nil: it can.
func (m Metadata) Fit() error {
	switch {
	case !m.Has("off"):
		return errors.New("it cannot switch off")
	case !m.Has("status"):
		return errors.New("it has no status, so nothing would prove that the machine is off")
	case slices.ContainsFunc(m.Actions, func(a Action) bool { return a.Name == "on" && a.Automatic }):
		return errors.New("it cuts the machine off from a disk or a network instead of switching it off, and the machine would keep the rest")
	}
	return nil
}
