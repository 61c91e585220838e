package foreign

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"masthead/appliance/configuration"
	"masthead/appliance/monitor"
)

// Mon reads the mon.cf of mon(8). Its monitors become ours where there is one for them; others are called as mon calls them.
// A monitor is named GROUP:SERVICE.
func Mon(data []byte) (Result, error) {
	m := monReader{
		report: newReport("mon.cf", data), groups: map[string][]string{},
		mondir: "/usr/lib/mon/mon.d", alertdir: "/usr/lib/mon/alert.d",
	}
	for _, l := range logicals(data) {
		m.line(l)
		for n := l.number + 1; n <= l.last; n++ {
			m.yes(n, "belongs to line %d", l.number)
			m.lines[n-1].Understood = m.lines[l.number-1].Understood
		}
	}
	m.endPeriod()
	m.finish()
	d := configuration.Document{}
	for _, w := range m.watches {
		d.Monitors = append(d.Monitors, w.Monitor)
	}
	return Result{Document: d, Secrets: m.secrets, Lines: m.done(hashComment)}, nil
}

// monReader holds what of the file has been read.
type monReader struct {
	*report
	groups           map[string][]string
	mondir, alertdir string
	exclude          string // the global exclude_period

	in      string // hostgroup, view, alias or watch; empty: none
	group   string // that the current hostgroup or watch is about
	watches []*watched
	service *watched
	period  *monitor.Period
	lost    string // why what belongs to a service or a period is lost; empty: it is not
	exit    string // alertexitrange of the period
}

// watched is a monitor while it is read.
type watched struct {
	monitor.Monitor
	line    int
	skewed  int  // the line of randskew
	asks    bool // it has a monitor
	depends []dependency
}

type dependency struct {
	line  int
	names []string
}

var (
	assignment = regexp.MustCompile(`^(\w+)\s*=\s*(.*)$`)
	variable   = regexp.MustCompile(`^([A-Z_][A-Z0-9_]*)=(.*)$`)
	tag        = regexp.MustCompile(`^[a-zA-Z0-9_.-]+$`)
)

func (m *monReader) line(l logical) {
	text := strings.TrimSpace(l.text)
	word, rest, _ := strings.Cut(strings.ReplaceAll(text, "\t", " "), " ")
	rest = strings.TrimSpace(rest)
	switch {
	case text == "":
		m.endPeriod()
		if m.in != "watch" {
			m.group = ""
		}
		m.in, m.service, m.lost = "", nil, ""
	case m.in != "watch" && assignment.MatchString(text):
		a := assignment.FindStringSubmatch(text)
		m.global(l.number, a[1], a[2])
	case word == "hostgroup":
		m.endPeriod()
		m.in, m.service = "hostgroup", nil
		name, hosts, _ := strings.Cut(rest, " ")
		if m.group = name; !tag.MatchString(name) {
			m.no(l.number, "%q is no name of a hostgroup", name)
		}
		m.groups[name] = nil
		m.hosts(l.number, hosts)
	case word == "watch":
		m.endPeriod()
		m.in, m.group, m.service, m.lost = "watch", rest, nil, ""
		if !tag.MatchString(rest) {
			m.no(l.number, "%q is no name of a hostgroup", rest)
		}
		if _, ok := m.groups[rest]; !ok {
			m.groups[rest] = nil
			m.yes(l.number, "there is no hostgroup %s: it is taken for a host, as mon does", rest)
			m.hosts(l.number, rest)
		}
	case word == "view" || word == "alias":
		m.endPeriod()
		m.in, m.service = word, nil
		m.yes(l.number, "a name for mon's own clients: not needed")
	case m.in == "hostgroup":
		m.hosts(l.number, text)
	case m.in == "view" || m.in == "alias":
		m.yes(l.number, "not needed")
	case word == "service":
		m.begin(l.number, rest)
	case m.lost != "":
		m.no(l.number, "%s", m.lost)
	case m.service == nil:
		m.no(l.number, "%s: this is nothing that mon reads here", word)
	case variable.MatchString(text):
		v := variable.FindStringSubmatch(text)
		if m.service.Env == nil {
			m.service.Env = map[string]string{}
		}
		m.service.Env[v[1]] = v[2]
	case word == "period":
		m.beginPeriod(l.number, rest)
	case m.period != nil && m.inPeriod(l.number, word, rest):
	default:
		m.inService(l.number, word, rest)
	}
}

func (m *monReader) hosts(line int, list string) {
	for _, h := range strings.Fields(list) {
		if disabled, ok := strings.CutPrefix(h, "*"); ok {
			m.no(line, "host %s was disabled: left out", disabled)
			continue
		}
		if !hostly(h) {
			m.no(line, "%q is no name or address: left out", h)
			continue
		}
		m.groups[m.group] = append(m.groups[m.group], h)
	}
}

// hostly reports whether a word can be a host.
func hostly(h string) bool {
	return h != "" && h[0] != '-' && !strings.ContainsAny(h, "/ \t\n")
}

// begin starts a service of the watch.
func (m *monReader) begin(line int, name string) {
	m.endPeriod()
	m.service, m.lost = nil, ""
	if m.in != "watch" && m.group == "" {
		m.lost = "there is no watch that this belongs to"
	} else if !tag.MatchString(name) || !tag.MatchString(m.group) {
		m.lost = "the name of the service is none"
	} else if full := m.group + ":" + name; len(full) > 100 {
		m.lost = "the name of the service is too long"
	} else if slices.ContainsFunc(m.watches, func(w *watched) bool { return w.Name == full }) {
		m.lost = "the service " + full + " is there twice"
	}
	if m.lost != "" {
		m.no(line, "%s", m.lost)
		return
	}
	m.in = "watch"
	m.service = &watched{line: line, Monitor: monitor.Monitor{Name: m.group + ":" + name, Hosts: slices.Clone(m.groups[m.group])}}
	m.watches = append(m.watches, m.service)
	m.yes(line, "monitor %s", m.service.Name)
}

// global is a variable of the whole file.
func (m *monReader) global(line int, name, value string) {
	first, _, _ := strings.Cut(value, ":")
	switch name {
	case "mondir":
		m.mondir = first
		m.yes(line, "monitors that are not built in are looked for there")
	case "alertdir":
		m.alertdir = first
		m.yes(line, "alerts that are not built in are looked for there")
	case "exclude_period":
		if _, err := monitor.ParseWhen(value); err != nil {
			m.no(line, "%v", err)
			return
		}
		m.exclude = value
	case "dep_behavior":
		if value != "a" {
			m.no(line, "a dependency that failed holds back alerts (dep_behavior = a); checks go on")
		}
	case "dep_memory":
		m.no(line, "a dependency explains failures only while it is down itself")
	case "randstart":
		m.yes(line, "not needed: the first checks are one interval after the start, more or less randskew")
	case "cfbasedir", "basedir", "logdir", "statedir", "histlength", "serverport", "serverbind", "clientallow", "authfile", "authtype", "userfile", "pamservice",
		"historicfile", "historictime", "cltimeout", "monerrfile", "dtlogfile", "dtlogging", "dep_recur_limit", "syslog_facility", "maxprocs", "pidfile",
		"unack_summary", "startupalerts_on_reset", "snmpport", "snmp", "maxdisabled":
		m.yes(line, "not needed: it is about mon itself")
	case "trapport", "trapbind":
		m.yes(line, "there are no traps of mon here")
	case "monremote":
		m.no(line, "there are no clients of mon here; a webhook alert tells other systems")
	default:
		m.no(line, "mon has no variable %s", name)
	}
}

// finish makes what was read whole: dependencies by name, services without a monitor.
func (m *monReader) finish() {
	m.watches = slices.DeleteFunc(m.watches, func(w *watched) bool {
		if !w.asks {
			m.no(w.line, "it has no monitor that could be asked: left out")
		} else if m.exclude != "" && w.Exclude == "" {
			w.Exclude = m.exclude
		}
		return !w.asks
	})
	for _, w := range m.watches {
		if w.Interval == 0 {
			m.no(w.line, "it has no interval: checked every %s", monitor.DefaultInterval)
		}
		if interval := cmp.Or(w.Interval, monitor.DefaultInterval); w.RandSkew > interval {
			w.RandSkew = interval
			m.no(w.skewed, "randskew is more than the interval: taken for that")
		}
		for _, d := range w.depends {
			for _, name := range d.names {
				there := slices.ContainsFunc(m.watches, func(o *watched) bool { return o.Name == name })
				switch {
				case !there:
					m.no(d.line, "there is no monitor %s", name)
				case m.reaches(name, w.Name, map[string]bool{}):
					m.no(d.line, "%s depends on %s itself: left out", name, w.Name)
				case !slices.Contains(w.Depends, name):
					w.Depends = append(w.Depends, name)
				}
			}
		}
	}
}

// reaches reports whether a monitor depends on another, or is it.
func (m *monReader) reaches(from, to string, seen map[string]bool) bool {
	if from == to {
		return true
	}
	if seen[from] {
		return false
	}
	seen[from] = true
	for _, w := range m.watches {
		if w.Name == from && slices.ContainsFunc(w.Depends, func(d string) bool { return m.reaches(d, to, seen) }) {
			return true
		}
	}
	return false
}
