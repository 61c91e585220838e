package monitor

import (
	"context"
	"strings"

	"masthead/appliance/failover"
)

// script runs a program once for all hosts.
func (m Monitor) script(dirs []string) probe {
	words := m.Script.Command
	if !m.Script.NoHosts {
		words = append(words[:len(words):len(words)], m.Hosts...)
	}
	return func(ctx context.Context) Result {
		r := run(ctx, words, dirs, m.Env, "")
		if r.err != nil {
			return unknown("%s: %v", words[0], r.err).with(r)
		}
		result := Result{Code: r.code}
		result.Summary, result.Detail = split(r.output)
		switch {
		case r.code == 0:
			result.Reading = failover.Up
		case r.code == 1, m.Script.Mon && r.code < 126: // a shell says 126 and 127 if it could not run a program
			result.Reading = failover.Down
		}
		if result.Reading != failover.Up && result.Summary == "" {
			result.Summary = words[0] + " says so, and no more"
		}
		return result
	}
}

// plugin runs a program once for each host.
func (m Monitor) plugin(dirs []string) func(context.Context, string) Result {
	return func(ctx context.Context, host string) Result {
		words := make([]string, len(m.Plugin.Command))
		for i, w := range m.Plugin.Command {
			words[i] = strings.ReplaceAll(w, "$HOST", host)
		}
		r := run(ctx, words, dirs, m.Env, "")
		if r.err != nil {
			return unknown("%s: %v", words[0], r.err).with(r)
		}
		result := Result{Code: r.code}
		result.Summary, result.Detail = split(plain(r.output))
		switch {
		case r.code == 0, r.code == 1 && !m.Plugin.WarningDown:
			result.Reading = failover.Up
		case r.code <= 2:
			result.Reading = failover.Down
		}
		if result.Summary == "" {
			result.Summary = words[0] + " printed nothing"
		}
		return result
	}
}

func (r Result) with(ran ran) Result {
	r.Detail = strings.TrimSpace(ran.output)
	return r
}

// split is the first line and the others.
func split(output string) (summary, detail string) {
	summary, detail, _ = strings.Cut(strings.TrimSpace(output), "\n")
	return strings.TrimSpace(summary), strings.TrimSpace(detail)
}

// plain drops the performance data of a plugin: what follows | in the first line, and from a | in a later line on (Nagios
// plugin API, "Performance Data").
func plain(output string) string {
	first, rest, _ := strings.Cut(output, "\n")
	first, _, _ = strings.Cut(first, "|")
	rest, _, _ = strings.Cut(rest, "|")
	return strings.TrimSpace(first) + "\n" + strings.TrimSpace(rest)
}
