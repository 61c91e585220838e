package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"masthead/node/wire"
)

// printOwner is ownership as clustat(8) shows it: members, then services.
func (a *app) printOwner(s wire.OwnerStatus) error {
	name := s.Cluster
	if name == "" {
		name = "the cluster"
	}
	quorum := "Inquorate"
	if s.Quorate {
		quorum = "Quorate"
	}
	fmt.Fprintf(a.out, "Cluster Status for %s @ %s\nMember Status: %s\n", name, time.Now().Format(time.ANSIC), quorum)
	fmt.Fprintf(a.out, "Owner: %s\n\n", clusterOwner(s))
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "Member Name\tID\tStatus")
	for _, m := range s.Members {
		fmt.Fprintf(w, "%s\t%d\t%s\n", m.Name, m.ID, memberText(m, s.Owner))
	}
	if len(s.VIPs) > 0 {
		fmt.Fprintln(w, "\nVirtual Address\tNIC\tOn this head")
		for _, v := range s.VIPs {
			open := "no"
			if v.Open {
				open = "answers"
			}
			if v.Conflict != "" {
				open += ", CONFLICT with " + v.Conflict
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", v.Address, v.NIC, open)
		}
	}
	if len(s.Services) > 0 {
		fmt.Fprintln(w, "\nService Name\tOwner (Last)\tState")
		printServices(w, s.Services)
	}
	if len(s.Links) > 0 {
		fmt.Fprintln(w, "\nLink\tTo\tState\tHears us\tLost\tForged")
		for _, l := range s.Links {
			fmt.Fprintf(w, "%s (%s)\t%s\t%s\t%s\t%d\t%d\n", l.Name, l.Kind, l.Peer, linkText(l), orDash(l.HeardUs), l.Missed, l.Forged)
		}
	}
	if len(s.Fences) > 0 {
		fmt.Fprintln(w, "\nFence\tLevel\tDevice\tPower\tNote")
		for _, f := range s.Fences {
			fmt.Fprintf(w, "%s\t%d\t%s (%s)\t%s\t%s\n", f.Head, f.Level, f.Device, f.Agent, orDash(f.Power), f.Trouble)
		}
	}
	if len(s.Monitors) > 0 {
		fmt.Fprintln(w, "\nMonitor\tState\tSince\tNote")
		for _, m := range s.Monitors {
			note := m.Detail
			if m.Because != "" {
				note = "because of " + m.Because
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", m.Name, m.State, ago(m.Since), note)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "\n%s: %s\n", s.Self, s.Why.Summary)
	if s.Why.Try != "" {
		fmt.Fprintf(a.out, "try: %s\n", s.Why.Try)
	}
	for _, t := range s.Trouble {
		fmt.Fprintf(a.out, "TROUBLE  %s\n", t)
	}
	return nil
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
		fmt.Fprintf(w, "service:%s\t%s\t%s\n", s.Name, owner, state)
	}
}

func clusterOwner(s wire.OwnerStatus) string {
	if s.Owner == "" {
		return "nobody"
	}
	text := fmt.Sprintf("%s, epoch %s, since %s", s.Owner, s.Epoch, ago(s.Since))
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	return fmt.Sprintf("%s (%s)", text, s.Arbiter)
}

func memberText(m wire.OwnerMember, owner string) string {
	words := []string{"Offline"}
	if m.Online {
		words = []string{"Online"}
	}
	if m.Self {
		words = append(words, "Local")
	}
	if m.Name == owner {
		words = append(words, "owner")
	} else if m.Phase != "" && m.Online {
		words = append(words, m.Phase)
	}
	return strings.Join(words, ", ")
}

func linkText(l wire.OwnerLink) string {
	if l.Up {
		return "up"
	}
	if l.Age == 0 {
		return "never heard"
	}
	return fmt.Sprintf("silent for %s", time.Duration(l.Age*float64(time.Second)).Round(time.Second))
}

// printWhy explains where a head stands.
func (a *app) printWhy(s wire.OwnerStatus) error {
	w := a.out
	fmt.Fprintf(w, "%s is in phase %s since %s: %s\n", s.Self, s.Why.Phase, ago(s.Why.Since), s.Why.Summary)
	for _, line := range s.Why.For {
		fmt.Fprintf(w, "  for:     %s\n", line)
	}
	for _, line := range s.Why.Against {
		fmt.Fprintf(w, "  against: %s\n", line)
	}
	fmt.Fprintf(w, "owner: %s\n", clusterOwner(s))
	if s.Votes != "" {
		fmt.Fprintf(w, "votes: %s\n", s.Votes)
	}
	if s.Why.Try != "" {
		fmt.Fprintf(w, "try: %s\n", s.Why.Try)
	}
	return nil
}
