package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"masthead/node/wire"
)

// printOwner is ownership as clustat(8) shows it: members, then services; and what clustat does not know.
func (a *app) printOwner(s wire.OwnerStatus, now time.Time) error {
	name := s.Cluster
	if name == "" {
		name = "this cluster"
	}
	fmt.Fprintf(a.out, "Cluster Status for %s @ %s\nMember Status: %s\n", name, now.Format(time.ANSIC), quorumText(s))
	fmt.Fprintf(a.out, "Owner: %s\n", ownedText(s, now))
	if s.Why.Summary != "" {
		fmt.Fprintf(a.out, "%s: %s, for %s: %s\n", s.Self, s.Why.Phase, spanText(s.Why.Since, now), s.Why.Summary)
	}
	if s.Why.Try != "" {
		fmt.Fprintf(a.out, "try: %s\n", s.Why.Try)
	}
	for _, t := range s.Trouble {
		fmt.Fprintf(a.out, "TROUBLE: %s\n", t)
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	heading(w, "Member Name", "ID", "Status")
	for _, m := range s.Members {
		fmt.Fprintf(w, " %s\t%d\t%s\n", m.Name, m.ID, memberText(m, s.Owner, now))
	}
	if len(s.Services) > 0 {
		heading(w, "Service Name", "Owner (Last)", "State")
		printServices(w, s.Services)
	}
	if len(s.VIPs) > 0 {
		heading(w, "Virtual Address", "NIC", "Answered Here")
		for _, v := range s.VIPs {
			fmt.Fprintf(w, " %s\t%s\t%s\n", v.Address, orDash(v.NIC), vipText(v))
		}
	}
	if len(s.Links) > 0 {
		heading(w, "Link", "To", "State", "Heard There", "Lost", "Forged")
		for _, l := range s.Links {
			fmt.Fprintf(w, " %s (%s)\t%s\t%s\t%s\t%d\t%d\n", l.Name, l.Kind, l.Peer, linkText(l), orDash(l.HeardUs), l.Missed, l.Forged)
		}
	}
	if len(s.Volumes) > 0 {
		printVolumes(w, s.Volumes)
	}
	if len(s.Fences) > 0 {
		printFences(w, s.Fences, now)
	}
	if len(s.Monitors) > 0 {
		heading(w, "Monitor", "State", "For", "Note")
		for _, m := range s.Monitors {
			note := m.Detail
			if m.Because != "" {
				note = "because of " + m.Because
			}
			fmt.Fprintf(w, " %s\t%s\t%s\t%s\n", m.Name, m.State, spanText(m.Since, now), note)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	rest := []string{"watchdog: " + orDash(s.Watchdog), fmt.Sprintf("configuration: version %d", s.Config)}
	if s.Data != "" && s.Data != "none" {
		rest = append(rest, "data: "+s.Data)
	}
	fmt.Fprintf(a.out, "\n%s\n", strings.Join(rest, "; "))
	return nil
}

// heading begins another table: the titles, underlined as clustat's.
func heading(w io.Writer, titles ...string) {
	var lines []string
	for _, title := range titles {
		var dashes []string
		for word := range strings.FieldsSeq(title) {
			dashes = append(dashes, strings.Repeat("-", len(word)))
		}
		lines = append(lines, strings.Join(dashes, " "))
	}
	fmt.Fprintf(w, "\n %s\n %s\n", strings.Join(titles, "\t"), strings.Join(lines, "\t"))
}

// printServices writes the rows of clustat's table of services.
func printServices(w io.Writer, all []wire.ServiceState) {
	for _, s := range all {
		owner := s.Owner
		if owner == "" {
			owner = "(" + orDash(s.Last) + ")"
		}
		state := s.State
		if s.Reason != "" {
			state += ": " + s.Reason
		}
		fmt.Fprintf(w, " service:%s\t%s\t%s\n", s.Name, owner, state)
	}
}

// printFences writes the table of fence devices.
func printFences(w io.Writer, all []wire.FenceState, now time.Time) {
	heading(w, "Fence Of", "Level", "Device", "Power", "Asked", "Note")
	for _, f := range all {
		asked := "never"
		if !f.Checked.IsZero() {
			asked = spanText(f.Checked, now) + " ago"
		}
		if f.Asking {
			asked = "has not answered yet"
		}
		fmt.Fprintf(w, " %s\t%d\t%s (%s)\t%s\t%s\t%s\n", f.Head, f.Level, f.Device, f.Agent, orDash(f.Power), asked, f.Trouble)
	}
}

func quorumText(s wire.OwnerStatus) string {
	text := "Inquorate"
	if s.Quorate {
		text = "Quorate"
	}
	if s.Arbiter != "" {
		text += ", arbiter " + s.Arbiter
	}
	if s.Votes != "" {
		text += " (" + s.Votes + ")"
	}
	return text
}

// ownedText says who owns the cluster, since when and why.
func ownedText(s wire.OwnerStatus, now time.Time) string {
	if s.Owner == "" {
		return "nobody"
	}
	text := fmt.Sprintf("%s, epoch %s", s.Owner, s.Epoch)
	if !s.Since.IsZero() {
		text += fmt.Sprintf(", since %s (%s)", s.Since.In(now.Location()).Format("2006-01-02 15:04:05"), spanText(s.Since, now))
	}
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	return text
}

// spanText is how long ago something was, in at most two units: nobody needs the seconds of a month.
func spanText(t, now time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	d := max(0, now.Sub(t)).Truncate(time.Second)
	days, hours, minutes, seconds := int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case days > 0:
		return fmt.Sprintf("%dd%dh", days, hours)
	case hours > 0:
		return fmt.Sprintf("%dh%dm", hours, minutes)
	case minutes > 0:
		return fmt.Sprintf("%dm%ds", minutes, seconds)
	}
	return fmt.Sprintf("%ds", seconds)
}

// memberText is a member's state in the words of clustat.
func memberText(m wire.OwnerMember, owner string, now time.Time) string {
	words := []string{"Offline"}
	if m.Online {
		words = []string{"Online"}
	} else if !m.Heard.IsZero() {
		words = append(words, "heard "+spanText(m.Heard, now)+" ago")
	} else {
		words = append(words, "never heard")
	}
	if m.Self {
		words = append(words, "Local")
	}
	if m.Name == owner {
		words = append(words, "owner")
	}
	if m.Phase != "" && m.Online && !(m.Name == owner && m.Phase == "active") {
		words = append(words, m.Phase)
	}
	return strings.Join(words, ", ")
}

func vipText(v wire.OwnerVIP) string {
	text := "no"
	if v.Open {
		text = "yes"
	}
	if v.Conflict != "" {
		text += ", CONFLICT with " + v.Conflict
	}
	return text
}

func linkText(l wire.OwnerLink) string {
	text := "up"
	if !l.Up {
		text = "never heard"
		if l.Age > 0 {
			text = fmt.Sprintf("silent for %s", time.Duration(l.Age*float64(time.Second)).Round(time.Second))
		}
	}
	if l.Carrier == "down" {
		text += ", no carrier"
	}
	return text
}

// printWhy explains where a head stands.
func (a *app) printWhy(s wire.OwnerStatus, now time.Time) {
	w := a.out
	fmt.Fprintf(w, "%s is in phase %s, for %s: %s\n", s.Self, s.Why.Phase, spanText(s.Why.Since, now), s.Why.Summary)
	for _, line := range s.Why.For {
		fmt.Fprintf(w, "  for:     %s\n", line)
	}
	for _, line := range s.Why.Against {
		fmt.Fprintf(w, "  against: %s\n", line)
	}
	fmt.Fprintf(w, "Owner: %s\nMember Status: %s\n", ownedText(s, now), quorumText(s))
	for _, t := range s.Trouble {
		fmt.Fprintf(w, "TROUBLE: %s\n", t)
	}
	if s.Why.Try != "" {
		fmt.Fprintf(w, "try: %s\n", s.Why.Try)
	}
}
