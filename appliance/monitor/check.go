package monitor

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Values of Period.Changes.
const (
	ChangesSummary = "summary"
	ChangesDetail  = "detail"
	ChangesUp      = "up"
	ChangesNone    = "none"
)

// Check says what is wrong with a cluster's monitors and the default periods: everything at once. Fields are named from the
// list: "[2].tcp.port", and "alerts[0].when" for a default period.
func Check(monitors []Monitor, alerts []Period) []*FieldError {
	var c checker
	names := map[string]int{}
	for i, m := range monitors {
		c.monitor(fmt.Sprintf("[%d]", i), m)
		if _, twice := names[m.Name]; twice {
			c.bad(fmt.Sprintf("[%d].name", i), m.Name, "is there twice")
		}
		names[m.Name] = i
	}
	for i, m := range monitors {
		for j, d := range m.Depends {
			field := fmt.Sprintf("[%d].depends[%d]", i, j)
			if _, ok := names[d]; !ok {
				c.bad(field, d, "is no monitor")
			} else if chain := cycle(monitors, names, m.Name, d, map[string]bool{}); chain != nil {
				c.bad(field, d, "depends on itself: "+strings.Join(chain, ", "))
			}
		}
	}
	for i, p := range alerts {
		c.period(fmt.Sprintf("alerts[%d]", i), p)
	}
	return c.errs
}

// cycle is the way from a monitor's dependency back to it; nil: there is none. seen are those that were looked at.
func cycle(monitors []Monitor, names map[string]int, goal, at string, seen map[string]bool) []string {
	i, ok := names[at]
	if !ok || seen[at] {
		return nil
	}
	if at == goal {
		return []string{at}
	}
	seen[at] = true
	for _, d := range monitors[i].Depends {
		if way := cycle(monitors, names, goal, d, seen); way != nil {
			return append([]string{at}, way...)
		}
	}
	return nil
}

type checker struct{ errs []*FieldError }

func (c *checker) bad(field, value, reason string) {
	c.errs = append(c.errs, &FieldError{Field: field, Value: value, Reason: reason})
}

func (c *checker) monitor(at string, m Monitor) {
	if !named(m.Name) {
		c.bad(at+".name", m.Name, "is not of letters, digits and ._:- (at most 100)")
	}
	switch m.On {
	case "", OnOwner, OnStandby, OnAll:
	default:
		c.bad(at+".on", string(m.On), "is none of owner, standby, all")
	}
	for i, h := range m.Hosts {
		if h == "" || strings.ContainsAny(h, " \t\n/") || h[0] == '-' {
			c.bad(fmt.Sprintf("%s.hosts[%d]", at, i), h, "is no name or address")
		}
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"interval", m.Interval}, {"failure_interval", m.FailureInterval}, {"timeout", m.Timeout}, {"start_delay", m.StartDelay}} {
		if d.value != 0 && (d.value < minInterval || d.value > maxInterval) {
			c.bad(at+"."+d.field, d.value.String(), "is not from "+minInterval.String()+" to "+maxInterval.String())
		}
	}
	if m.RandSkew < 0 || m.RandSkew > m.interval() {
		c.bad(at+".randskew", m.RandSkew.String(), "is not from 0 to the interval")
	}
	if m.Failures < 0 || m.Failures > 1000 {
		c.bad(at+".failures", strconv.Itoa(m.Failures), "is not 1 to 1000")
	}
	c.when(at+".exclude", m.Exclude)
	for name := range m.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			c.bad(at+".env", name, "is no name of a variable")
		}
	}
	c.kind(at, m)
	for i, p := range m.Periods {
		c.period(fmt.Sprintf("%s.periods[%d]", at, i), p)
	}
}

func named(name string) bool {
	ok := len(name) > 0 && len(name) <= 100
	for _, r := range name {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._:-", r))
	}
	return ok
}

func (c *checker) kind(at string, m Monitor) {
	var kinds []string
	add := func(name string, is bool) {
		if is {
			kinds = append(kinds, name)
		}
	}
	add("link", m.Link != nil)
	add("ping", m.Ping != nil)
	add("tcp", m.TCP != nil)
	add("http", m.HTTP != nil)
	add("process", m.Process != nil)
	add("script", m.Script != nil)
	add("plugin", m.Plugin != nil)
	if len(kinds) != 1 {
		c.bad(at, strings.Join(kinds, ", "), "is not one kind: want one of link, ping, tcp, http, process, script, plugin")
	}
	if m.Link != nil && (m.Link.NIC == "" || len(m.Link.NIC) > 15 || strings.ContainsAny(m.Link.NIC, "/ ")) {
		c.bad(at+".link.nic", m.Link.NIC, "is no network card")
	}
	if m.Ping != nil {
		if len(m.Hosts) == 0 {
			c.bad(at+".hosts", "", "there is nothing to ping")
		}
		if m.Ping.Count < 0 || m.Ping.Count > 100 {
			c.bad(at+".ping.count", strconv.Itoa(m.Ping.Count), "is not 1 to 100")
		}
	}
	if m.TCP != nil {
		if m.TCP.Port == 0 {
			c.bad(at+".tcp.port", "0", "is no port")
		}
		c.expression(at+".tcp.expect", m.TCP.Expect)
	}
	if m.HTTP != nil {
		u, err := url.Parse(m.HTTP.URL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			c.bad(at+".http.url", m.HTTP.URL, "is no http or https address")
		}
		c.expression(at+".http.match", m.HTTP.Match)
		for i, s := range m.HTTP.Status {
			if s < 100 || s > 599 {
				c.bad(fmt.Sprintf("%s.http.status[%d]", at, i), strconv.Itoa(s), "is no status of HTTP")
			}
		}
	}
	if p := m.Process; p != nil {
		if p.Name == "" && p.Pidfile == "" {
			c.bad(at+".process", "", "wants a name or a pidfile")
		}
		if p.Min < 0 || p.Max < 0 || p.Max > 0 && p.Max < p.Min {
			c.bad(at+".process.max", strconv.Itoa(p.Max), "is less than min")
		}
	}
	if m.Script != nil {
		c.command(at+".script.command", m.Script.Command)
	}
	if m.Plugin != nil {
		c.command(at+".plugin.command", m.Plugin.Command)
	}
}

func (c *checker) period(at string, p Period) {
	c.when(at+".when", p.When)
	if p.NumAlerts < 0 || p.AlertAfter < 0 || p.AlertEvery < 0 || p.AlertAfterTime < 0 || p.UpAlertAfter < 0 {
		c.bad(at, "", "numbers and times are not negative")
	}
	switch p.Changes {
	case "", ChangesSummary, ChangesDetail, ChangesUp, ChangesNone:
	default:
		c.bad(at+".changes", p.Changes, "is none of summary, detail, up, none")
	}
	for _, list := range []struct {
		name   string
		alerts []Alert
	}{{"alerts", p.Alerts}, {"upalerts", p.UpAlerts}} {
		for i, a := range list.alerts {
			c.alert(fmt.Sprintf("%s.%s[%d]", at, list.name, i), a, list.name == "upalerts")
		}
	}
}

func (c *checker) alert(at string, a Alert, up bool) {
	n := 0
	for _, is := range []bool{a.Mail != nil, a.Webhook != nil, a.Command != nil, a.Failover} {
		if is {
			n++
		}
	}
	if n != 1 {
		c.bad(at, "", "want one of mail, webhook, command, failover")
	}
	if a.Failover && up {
		c.bad(at+".failover", "true", "nothing is to fail over when a monitor is up again")
	}
	if a.Mail != nil {
		for i, to := range a.Mail.To {
			if !mailable(to) {
				c.bad(fmt.Sprintf("%s.mail.to[%d]", at, i), to, "is no mail address")
			}
		}
	}
	if a.Webhook != nil {
		u, err := url.Parse(a.Webhook.URL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			c.bad(at+".webhook.url", a.Webhook.URL, "is no http or https address")
		}
	}
	if a.Command != nil {
		c.command(at+".command.command", a.Command.Command)
	}
	if _, _, err := exitRange(a.Exit); err != nil {
		c.bad(at+".exit", a.Exit, "is not N or N-M")
	}
}

func (c *checker) when(field, text string) {
	if _, err := ParseWhen(text); err != nil {
		c.bad(field, "", err.Error())
	}
}

func (c *checker) expression(field, text string) {
	if _, err := regexp.Compile(text); err != nil {
		c.bad(field, text, err.Error())
	}
}

func (c *checker) command(field string, words []string) {
	if len(words) == 0 || words[0] == "" {
		c.bad(field, "", "no program is named")
	}
}

// exitRange reads "2" or "10-20"; empty is everything.
func exitRange(s string) (from, to int, err error) {
	if s == "" {
		return 0, 1 << 30, nil
	}
	a, b, isRange := strings.Cut(s, "-")
	if !isRange {
		b = a
	}
	if from, err = strconv.Atoi(a); err != nil {
		return 0, 0, err
	}
	to, err = strconv.Atoi(b)
	return from, to, err
}

func (a Alert) matches(code int) bool {
	from, to, err := exitRange(a.Exit)
	return err == nil && from <= code && code <= to
}
