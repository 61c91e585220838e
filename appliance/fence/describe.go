package fence

import (
	"context"
	"slices"

	"masthead/appliance/fence/param"
	"masthead/appliance/fence/script"
)

// Description is what an agent is and takes, for people.
type Description struct {
	Name    string             `json:"name"`
	Path    string             `json:"path,omitempty"` // empty: a driver of ours
	Summary string             `json:"summary,omitempty"`
	Text    string             `json:"text,omitempty"`
	Params  []ParamDescription `json:"params,omitempty"`
	Actions []string           `json:"actions,omitempty"`
	Unfit   string             `json:"unfit,omitempty"` // why it cannot be used here; empty: it can
}

// ParamDescription is one parameter of an agent.
type ParamDescription struct {
	Name     string   `json:"name"`
	Aliases  []string `json:"aliases,omitempty"`
	Required bool     `json:"required,omitempty"`
	Secret   bool     `json:"secret,omitempty"`
	Default  string   `json:"default,omitempty"`
	Text     string   `json:"text,omitempty"`
}

// Agents are the names that Device.Agent may have on this machine: drivers of ours, then programs in dirs (empty:
// DefaultAgentDirs).
func Agents(dirs []string) []string {
	var names []string
	for _, n := range natives() {
		names = append(names, n.name)
	}
	if len(dirs) == 0 {
		dirs = DefaultAgentDirs()
	}
	return append(names, script.List(dirs)...)
}

// Describe asks an agent what it is and takes. A program is run for it.
func Describe(ctx context.Context, dirs []string, agent string) (Description, error) {
	if n, ours := nativeOf(agent); ours {
		return Description{Name: n.name, Summary: n.text, Params: describe(n.params), Actions: []string{"off", "status"}}, nil
	}
	if len(dirs) == 0 {
		dirs = DefaultAgentDirs()
	}
	path, err := script.Find(dirs, agent)
	if err != nil {
		return Description{}, unknownAgent(err)
	}
	m, err := script.Describe(ctx, path)
	if err != nil {
		return Description{}, err
	}
	d := Description{Name: agent, Path: path, Summary: m.Summary, Text: m.Description, Params: describe(m.Set())}
	for i, p := range d.Params {
		j := slices.IndexFunc(m.Params, func(q script.Param) bool { return q.Name == p.Name })
		d.Params[i].Default = m.Params[j].Default
	}
	for _, a := range m.Actions {
		d.Actions = append(d.Actions, a.Name)
	}
	if err := m.Fit(); err != nil {
		d.Unfit = err.Error()
	}
	return d, nil
}

func describe(s param.Set) []ParamDescription {
	var out []ParamDescription
	for _, p := range s {
		out = append(out, ParamDescription{p.Name, p.Aliases, p.Required, param.Secret(p.Name), p.Default, p.Text})
	}
	return out
}
