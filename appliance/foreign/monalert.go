package foreign

import (
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"masthead/appliance/monitor"
)

var label = regexp.MustCompile(`^([a-zA-Z_]\w*)\s*:\s*(.*)$`)

func (m *monReader) beginPeriod(line int, text string) {
	m.endPeriod()
	p := monitor.Period{When: text}
	if l := label.FindStringSubmatch(text); l != nil {
		p.Name, p.When = l[1], l[2]
	}
	if _, err := monitor.ParseWhen(p.When); err != nil {
		m.no(line, "%v", err)
		m.lost = "its period was not understood: nobody would know when"
		return
	}
	m.period = &p
	if strings.TrimSpace(p.When) == "" {
		m.yes(line, "always")
	}
}

// endPeriod puts the period that was read into its service.
func (m *monReader) endPeriod() {
	if p := m.period; p != nil {
		if m.exit != "" {
			for i := range p.Alerts {
				if p.Alerts[i].Exit == "" {
					p.Alerts[i].Exit = m.exit
				}
			}
		}
		m.service.Periods = append(m.service.Periods, *p)
	}
	m.period, m.exit = nil, ""
	if strings.HasPrefix(m.lost, "its period") {
		m.lost = ""
	}
}

func periodWord(word string) bool {
	return slices.Contains([]string{"alert", "upalert", "startupalert", "ackalert", "disablealert", "alertevery", "alertafter", "upalertafter", "numalerts",
		"no_comp_alerts", "alerts_dont_count", "alertexitrange"}, word)
}

// inPeriod is a line of a period; false: it is none.
func (m *monReader) inPeriod(line int, word, rest string) bool {
	p := m.period
	switch word {
	case "alert", "upalert":
		a, ok := m.alert(line, rest, word == "upalert")
		if !ok {
			return true
		}
		if word == "alert" {
			p.Alerts = append(p.Alerts, a)
		} else {
			p.UpAlerts = append(p.UpAlerts, a)
		}
	case "numalerts":
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			m.no(line, "%q is no number", rest)
			return true
		}
		p.NumAlerts = n
	case "alertevery":
		m.every(line, rest)
	case "alertafter":
		m.after(line, strings.Fields(rest))
	case "upalertafter":
		m.plain(line, rest, &p.UpAlertAfter)
	case "no_comp_alerts":
		p.NoCompAlerts = true
	case "alerts_dont_count":
		m.yes(line, "not needed: it is about how mon's clients count")
	case "alertexitrange":
		if !exits.MatchString(rest) {
			m.no(line, "%q is no exit status, nor a range of them", rest)
			return true
		}
		m.exit = rest
	case "startupalert":
		m.no(line, "the start of masthead is an event, and a change of owner a mail; monitors do not tell of it")
	case "ackalert", "disablealert":
		m.no(line, "failures cannot be acknowledged, nor monitors disabled, by a client of mon")
	default:
		return false
	}
	return true
}

func (m *monReader) plain(line int, text string, into *time.Duration) {
	d, ok := timeval(text)
	if !ok {
		m.no(line, "%q is no time (30s, 5m, 1.5h, 1d)", text)
		return
	}
	*into = d
}

func (m *monReader) every(line int, text string) {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		m.no(line, "it names no time")
		return
	}
	m.plain(line, fields[0], &m.period.AlertEvery)
	for _, f := range fields[1:] {
		switch f {
		case "strict":
			m.period.Changes = monitor.ChangesNone
		case "observe_detail":
			m.period.Changes = monitor.ChangesDetail
		case "ignore_summary":
			m.period.Changes = monitor.ChangesUp
		case "summary":
			m.period.Changes = ""
		default:
			m.no(line, "alertevery has nothing called %s", f)
		}
	}
}

func (m *monReader) after(line int, fields []string) {
	p := m.period
	for i, f := range fields {
		n, err := strconv.Atoi(f)
		switch {
		case i == 0 && err == nil && n > 0:
			p.AlertAfter = n
		case i == len(fields)-1 && i < 2:
			m.plain(line, f, &p.AlertAfterTime)
		default:
			m.no(line, "alertafter is NUM, NUM TIME or TIME")
		}
	}
	if len(fields) == 0 {
		m.no(line, "alertafter is NUM, NUM TIME or TIME")
	}
}

var (
	exits     = regexp.MustCompile(`^\d{1,3}(-\d{1,3})?$`)
	exitFirst = regexp.MustCompile(`^(?i)exit\s*=\s*(\d{1,3}(?:-\d{1,3})?)\s+(.*)$`)
)

// alert is one alert; false: there is none to make of it.
func (m *monReader) alert(line int, text string, up bool) (monitor.Alert, bool) {
	var a monitor.Alert
	if e := exitFirst.FindStringSubmatch(text); e != nil {
		a.Exit, text = e[1], e[2]
	}
	args, ok := words(text)
	if !ok {
		m.no(line, "a quote does not end")
	}
	if len(args) == 0 {
		m.no(line, "it names no alert")
		return a, false
	}
	name, args := args[0], args[1:]
	switch name {
	case "cause_hb_failover.alert", "hb_failover.alert", "failover.alert", "hb_standby.alert":
		if up {
			m.no(line, "nothing is to fail over when a monitor is up again")
			return a, false
		}
		a.Failover = true
		if len(args) > 0 {
			m.no(line, "what stands behind %s is not used", name)
		}
		m.yes(line, "asks another head to take over")
	case "mail.alert":
		a.Mail = m.mail(line, args)
	default:
		a.Command = &monitor.CommandAlert{Command: append([]string{m.program(m.alertdir, name)}, args...)}
		m.yes(line, "called as mon calls it: %s must be on the heads", a.Command.Command[0])
	}
	return a, true
}

func (m *monReader) mail(line int, args []string) *monitor.MailAlert {
	opts, rest, unknown := options(args, "Sf", "")
	a := &monitor.MailAlert{Subject: opts['S']}
	if from, ok := opts['f']; ok {
		m.no(line, "-f %s: all mails are from `mail: from`", from)
	}
	if unknown != "" {
		m.no(line, "%s: mail.alert has no such option", unknown)
	}
	for _, to := range rest {
		for _, one := range strings.Split(to, ",") {
			if m.recipient(line, one) {
				a.To = append(a.To, one)
			}
		}
	}
	if len(a.To) == 0 {
		m.yes(line, "to the recipients of `mail: to`")
	}
	m.yes(line, "by `mail: server`, which mon's configuration does not have")
	return a
}

// recipient reports whether a mail can be sent there.
func (r *report) recipient(line int, to string) bool {
	if to == "" {
		return false
	}
	if _, err := mail.ParseAddress(to); err != nil {
		r.no(line, "%q is no mail address: a mail server that is not this machine wants NAME@DOMAIN", to)
		return false
	}
	return true
}
