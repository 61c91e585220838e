package foreign

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"masthead/appliance/monitor"
)

// inService is a line of a service that is not about a period.
func (m *monReader) inService(line int, word, rest string) {
	w := m.service
	switch word {
	case "interval":
		m.duration(line, rest, &w.Interval)
	case "failure_interval":
		m.duration(line, rest, &w.FailureInterval)
	case "randskew":
		m.duration(line, rest, &w.RandSkew)
		w.skewed = line
	case "description":
		w.Description = rest
	case "monitor":
		m.monitor(line, rest)
	case "exclude_hosts":
		w.Hosts = slices.DeleteFunc(w.Hosts, func(h string) bool { return slices.Contains(strings.Fields(rest), h) })
	case "exclude_period":
		if _, err := monitor.ParseWhen(rest); err != nil {
			m.no(line, "%v", err)
			return
		}
		w.Exclude = rest
	case "depend", "alertdepend":
		m.depend(line, rest)
	case "monitordepend", "hostdepend":
		m.depend(line, rest)
		m.no(line, "as depend: a dependency that failed holds back alerts; checks go on, and for all hosts")
	case "dep_behavior":
		if rest != "a" {
			m.no(line, "a dependency that failed holds back alerts (dep_behavior a); checks go on")
		}
	case "dep_memory":
		m.no(line, "a dependency explains failures only while it is down itself")
	case "allow_empty_group", "unack_summary":
		m.yes(line, "not needed: it is about hosts and failures that mon's clients switch off")
	case "traptimeout", "trapduration":
		m.no(line, "there are no traps of mon here; let what sends the trap write a file, and a script monitor look how old it is")
	case "redistribute":
		m.no(line, "no alert is called at every check; `masthead status -o json` has the states, a webhook alert the changes")
	default:
		if m.period == nil && periodWord(word) {
			m.no(line, "%s stands before any period", word)
			return
		}
		m.no(line, "mon has nothing called %s in a service", word)
	}
}

// least is the shortest interval that ours accept.
const least = 100 * time.Millisecond

func (m *monReader) duration(line int, text string, into *time.Duration) {
	d, ok := timeval(text)
	if !ok || d < least || d > 366*24*time.Hour {
		m.no(line, "%q is no time that can be used (30s, 5m, 1.5h, 1d)", text)
		return
	}
	*into = d
}

var (
	dependName = regexp.MustCompile(`[a-zA-Z0-9_.-]+:[a-zA-Z0-9_.-]+`)
	dependGlue = regexp.MustCompile(`^[\s()]*(&&[\s()]*)?$`)
)

// depend reads the names out of an expression; only "and" has a counterpart.
func (m *monReader) depend(line int, expression string) {
	var names []string
	for _, name := range dependName.FindAllString(expression, -1) {
		if service, ok := strings.CutPrefix(name, "SELF:"); ok {
			name = m.group + ":" + service
		}
		names = append(names, name)
	}
	for _, glue := range dependName.Split(expression, -1) {
		if !dependGlue.MatchString(glue) {
			m.no(line, "%q: dependencies are a list of monitors of which each explains the failure alone (&&); this expression is taken for such a list", strings.TrimSpace(glue))
		}
	}
	if len(names) == 0 {
		m.no(line, "it names no GROUP:SERVICE")
	}
	m.service.depends = append(m.service.depends, dependency{line, names})
}

// greeting are mon's monitors that connect and look at the greeting: the port, and what it begins with.
func greeting(name string) (port uint16, expect string, ok bool) {
	switch name {
	case "tcp.monitor":
		return 23, "", true
	case "telnet.monitor":
		return 23, "", true
	case "smtp.monitor":
		return 25, "^220[ -]", true
	case "pop3.monitor":
		return 110, `^\+OK`, true
	case "imap.monitor", "imapnew.monitor":
		return 143, `^\* OK`, true
	case "ftp.monitor":
		return 21, "^220[ -]", true
	case "nntp.monitor":
		return 119, "^20[01] ", true
	case "ssh.monitor":
		return 22, "^SSH-", true
	}
	return 0, "", false
}

func (m *monReader) monitor(line int, text string) {
	args, ok := words(text)
	if !ok {
		m.no(line, "a quote does not end")
	}
	if len(args) == 0 {
		m.no(line, "it names no monitor")
		return
	}
	w := m.service
	if w.asks {
		m.no(line, "the service has a monitor already")
		return
	}
	w.asks = true
	name, args := args[0], args[1:]
	if port, expect, ok := greeting(name); ok {
		m.tcp(line, args, port, expect)
		return
	}
	switch name {
	case "fping.monitor", "ping.monitor":
		m.ping(line, args)
	case "http.monitor":
		m.http(line, args)
	default:
		s := &monitor.Script{Command: append([]string{m.program(m.mondir, name)}, args...), Mon: true}
		if n := len(s.Command); s.Command[n-1] == ";;" {
			s.Command, s.NoHosts = s.Command[:n-1], true
		}
		w.Script = s
		m.yes(line, "called as mon calls it: %s must be on the heads", s.Command[0])
	}
}

func (m *monReader) program(dir, name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return path.Join(dir, name)
}

func (m *monReader) tcp(line int, args []string, port uint16, expect string) {
	opts, rest, unknown := options(args, "ptm", "")
	w := m.service
	w.TCP = &monitor.TCP{Port: port, Expect: expect}
	if p, ok := opts['p']; ok {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			m.no(line, "%q is no port", p)
		} else {
			w.TCP.Port = uint16(n)
		}
	}
	m.seconds(line, opts)
	if mailbox, ok := opts['m']; ok {
		m.no(line, "only the greeting is looked at, not mailbox %s", mailbox)
	}
	m.extra(line, rest, unknown)
	text := fmt.Sprintf("tcp, port %d", w.TCP.Port)
	if expect != "" {
		text += ", whose greeting is " + expect
	}
	m.yes(line, "%s", text)
}

func (m *monReader) ping(line int, args []string) {
	opts, rest, unknown := options(args, "rstc", "ahT6")
	w := m.service
	w.Ping = &monitor.Ping{}
	if r, ok := opts['r']; ok {
		n, err := strconv.Atoi(r)
		if err != nil || n < 0 || n > 99 {
			m.no(line, "%q is no number of retries", r)
		} else {
			w.Ping.Count = n + 1
		}
	}
	if _, ok := opts['a']; ok {
		w.AnyHost = true
	}
	if _, ok := opts['s']; ok {
		m.no(line, "-s: how fast a host answers is not judged; the Nagios plugin check_ping does")
	}
	if _, ok := opts['T']; ok {
		m.no(line, "-T: no traceroute is made")
	}
	if len(w.Hosts) == 0 {
		w.asks, w.Ping = false, nil
		m.no(line, "there is no host to ping")
		return
	}
	m.extra(line, rest, unknown)
	m.yes(line, "ping")
}

func (m *monReader) http(line int, args []string) {
	opts, rest, unknown := options(args, "ptuam", "o")
	w := m.service
	u := url.URL{Scheme: "http", Host: "localhost", Path: "/"}
	if len(w.Hosts) > 0 {
		u.Host = w.Hosts[0]
		if strings.Contains(u.Host, ":") {
			u.Host = "[" + u.Host + "]"
		}
	}
	if p, ok := opts['p']; ok && p != "80" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			m.no(line, "%q is no port", p)
		} else {
			u.Host += ":" + p
		}
	}
	if page, ok := opts['u']; ok {
		if ref, err := url.Parse(page); err != nil || !strings.HasPrefix(page, "/") {
			m.no(line, "%q is no path of a page", page)
		} else {
			u = *u.ResolveReference(ref)
		}
	}
	w.HTTP = &monitor.HTTP{URL: u.String(), Agent: opts['a']}
	if _, err := url.Parse(w.HTTP.URL); err != nil {
		w.HTTP, w.asks = nil, false
		m.no(line, "it makes no address: %v", err)
		return
	}
	if match, ok := opts['m']; ok {
		if _, err := regexp.Compile(match); err != nil {
			m.no(line, "-m: %v", err)
		} else {
			w.HTTP.Match = match
			m.no(line, "-m: looked for in the page, not in its headers")
		}
	}
	if len(w.Hosts) > 1 {
		m.yes(line, "each host is asked for the page of %s", w.Hosts[0])
	}
	m.seconds(line, opts)
	m.extra(line, rest, unknown)
	m.yes(line, "http, %s", w.HTTP.URL)
}

// seconds is -t, in seconds.
func (m *monReader) seconds(line int, opts map[byte]string) {
	t, ok := opts['t']
	if !ok {
		return
	}
	d, ok := number(t, time.Second)
	if !ok || d < least || d > 24*time.Hour {
		m.no(line, "-t: %q is no number of seconds", t)
		return
	}
	m.service.Timeout = d
}

// extra is what of the arguments nobody knows, and hosts beyond those of the group.
func (m *monReader) extra(line int, rest []string, unknown string) {
	if unknown != "" {
		m.no(line, "%s: there is no such option", unknown)
	}
	for _, h := range rest {
		switch {
		case h == ";;":
			m.no(line, ";; has no meaning for a built-in monitor")
		case !hostly(h):
			m.no(line, "%q is no host", h)
		default:
			m.service.Hosts = append(m.service.Hosts, h)
		}
	}
}
