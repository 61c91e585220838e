package ownership

import (
	"fmt"
	"strings"
	"time"

	"masthead/appliance/failover"
	"masthead/appliance/monitor"
)

// mail tells a person what cannot wait. Without a mail server the event has to do.
func (d *Daemon) mail(text string, why failover.Why) {
	m := d.parts.mailer
	if !m.made || m.it == nil {
		return
	}
	c := d.config
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nhead:     %s\nphase:    %s\nepoch:    %s\nowner:    %s\ntime:     %s\n", text, c.Self, why.Phase, d.record.Record().Epoch,
		orNobody(d.owner()), time.Now().UTC().Format(time.RFC3339))
	if why.Summary != "" {
		fmt.Fprintf(&b, "\n%s\n", why.Summary)
	}
	for _, line := range why.Against {
		fmt.Fprintf(&b, "  against: %s\n", line)
	}
	for _, line := range why.For {
		fmt.Fprintf(&b, "  for:     %s\n", line)
	}
	if why.Try != "" {
		fmt.Fprintf(&b, "\ntry: %s\n", why.Try)
	}
	name := c.document.Name
	if name == "" {
		name = "cluster"
	}
	m.it.Post(monitor.Message{
		Key: "owner", Urgent: true, Subject: fmt.Sprintf("[%s] %s: %s", name, c.Self, text), Text: b.String(), Time: time.Now(),
		Done: func(err error) {
			if err != nil {
				d.event("mail", fmt.Sprintf("the mail %q was not sent: %v", text, err), true)
			}
		},
	})
}

func orNobody(name string) string {
	if name == "" {
		return "nobody"
	}
	return name
}
