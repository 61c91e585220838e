package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"masthead/appliance/install"
)

// question is one line of the screen.
type question struct {
	ask   string
	given func(install.Answers) bool // it was answered on the command line
	init  func() string              // the default
	set   func(*install.Answers, string) error
	field string // the answer's, which Check names
}

// askAnswers asks for what was not given. What makes no sense is asked again.
func (a *app) askAnswers(m machine, all install.Answers, dryRun bool) (install.Answers, error) {
	if terminal(a.err) {
		fmt.Fprint(a.err, "\x1b[H\x1b[2J")
	}
	s := m.Source
	fmt.Fprintf(a.err, "masthead install: image %s %s, kernel %s\n\nThe disks of this machine:\n", s.Name, s.Image.Short(), s.Kernel)
	a.printDisks(m.Disks)
	fmt.Fprintln(a.err, "\nAn empty answer takes what stands in brackets. Ctrl-C ends this; nothing is written before you have confirmed it.")
	for _, q := range questions(m) {
		if q.given(all) {
			continue
		}
		if err := a.askOne(q, &all); err != nil {
			return all, err
		}
	}
	if len(all.Mail) > 0 && all.Server == "" {
		if err := a.askOne(question{"Mail server, HOST[:PORT]", nil, func() string { return install.MailServer(all.Mail[0]) },
			func(r *install.Answers, s string) error { r.Server = s; return nil }, "mail_server"}, &all); err != nil {
			return all, err
		}
	}
	if all.Password == "" && all.PasswordHash == "" && len(all.SSHKeys) == 0 && m.Mkfs && !dryRun {
		return all, a.askSecret(&all)
	}
	return all, nil
}

func (a *app) printDisks(disks []install.Disk) {
	w := tabwriter.NewWriter(a.err, 0, 8, 2, ' ', 0)
	for i, d := range disks {
		fmt.Fprintf(w, "  %d\t%s\t%s\t%s\t%s\t%s\n", i+1, d.Path, install.Size(d.Size), orDash(d.Model), d.Named(), d.Holds())
	}
	_ = w.Flush()
}

// questions are what must be known, with what this machine has as defaults.
func questions(m machine) []question {
	return []question{
		{"Disk to install on (its number)", func(r install.Answers) bool { return r.Disk != "" }, func() string { return defaultDisk(m.Machine) },
			func(r *install.Answers, s string) error {
				if n, err := strconv.Atoi(s); err == nil && n >= 1 && n <= len(m.Disks) {
					s = m.Disks[n-1].Path
				}
				r.Disk = s
				return install.CheckDisk(m.Machine, *r)
			}, "disk"},
		{"Address of this head, ADDRESS/PREFIX, or dhcp", func(r install.Answers) bool { return r.Address != "" }, func() string { return defaultAddress(m.NICs) },
			func(r *install.Answers, s string) error { r.Address = s; return nil }, "address"},
		{"Address of the router (- for none)", func(r install.Answers) bool { return r.Gateway != "" || r.Address == install.AddressDHCP }, func() string { return "-" },
			func(r *install.Answers, s string) error { r.Gateway = strings.TrimPrefix(s, "-"); return nil }, "gateway"},
		{"Virtual address of the cluster, ADDRESS/PREFIX (- for none yet)", func(r install.Answers) bool { return r.VIP.IsValid() || !m.Mkfs }, func() string { return "-" },
			func(r *install.Answers, s string) (err error) {
				if r.VIP = (netip.Prefix{}); s == "-" {
					return nil
				}
				if r.VIP, err = netip.ParsePrefix(s); err != nil {
					return fmt.Errorf("%q: want ADDRESS/PREFIX, such as 10.77.0.100/24, or -", s)
				}
				return nil
			}, "vip"},
		{"Mail addresses that are told when something is wrong (- for none)", func(r install.Answers) bool { return len(r.Mail) > 0 || !m.Mkfs }, func() string { return "-" },
			func(r *install.Answers, s string) error {
				if r.Mail = nil; s != "-" {
					r.Mail = strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == ' ' })
				}
				return nil
			}, "mail"},
	}
}

// defaultDisk is the number of the only blank disk that can be used; empty: there is none, or several.
func defaultDisk(m install.Machine) string {
	number := func(is func(install.Disk) bool) string {
		if i := slices.IndexFunc(m.Disks, is); i >= 0 {
			return strconv.Itoa(i + 1)
		}
		return ""
	}
	if begun := number(func(d install.Disk) bool { return d.Journal.Interrupted() }); begun != "" {
		return begun
	}
	fit, _ := m.Blank()
	if len(fit) != 1 {
		return ""
	}
	return number(func(d install.Disk) bool { return d.Path == fit[0].Path })
}

// defaultAddress is what the machine has now.
func defaultAddress(nics []install.NIC) string {
	for _, n := range nics {
		for _, p := range n.Addresses {
			if p.Addr().Is4() {
				return p.String()
			}
		}
	}
	return "10.77.0.1/24"
}

func (a *app) askOne(q question, all *install.Answers) error {
	for {
		prompt := q.ask
		preset := q.init()
		if preset != "" {
			prompt += " [" + preset + "]"
		}
		text, err := a.askLine(prompt + ": ")
		if err != nil {
			return err
		}
		if text == "" {
			text = preset
		}
		if text == "" {
			fmt.Fprintln(a.err, "  this one needs an answer")
			continue
		}
		err = q.set(all, text)
		if err == nil {
			err = all.Wrong(q.field)
		}
		if err == nil {
			return nil
		}
		fmt.Fprintf(a.err, "  %v\n", err)
	}
}

// askSecret asks for root's password, or for a key where there is to be none. Without either, nobody could log in.
func (a *app) askSecret(all *install.Answers) error {
	for {
		first, err := a.askHidden("Password for root (not shown; empty to give a key instead): ")
		if err != nil {
			return err
		}
		if first == "" {
			break
		}
		again, err := a.askHidden("The same again: ")
		if err != nil {
			return err
		}
		if first == again {
			all.Password = first
			return nil
		}
		fmt.Fprintln(a.err, "  they differ")
	}
	for {
		key, err := a.askLine("Public SSH key for root, one line of authorized_keys (- for none): ")
		if err != nil || key == "-" {
			return err
		}
		all.SSHKeys = []string{key}
		if err = all.Wrong("ssh_keys[0]"); err == nil {
			return nil
		}
		fmt.Fprintf(a.err, "  %v\n", err)
	}
}

// askErase lets somebody type the serial number of a disk that is not blank. refused is why it was not planned.
func (a *app) askErase(m machine, all *install.Answers, refused error) (install.Plan, error) {
	var occupied *install.OccupiedError
	if !errors.As(refused, &occupied) || all.Erase != "" {
		return install.Plan{}, refused
	}
	fmt.Fprintf(a.err, "\n%v\n", refused)
	what := "serial number"
	if occupied.Disk.Serial == "" {
		what = "name, as it has no serial number"
	}
	typed, err := a.askLine(fmt.Sprintf("Type its %s, %s, to lose all of it: ", what, occupied.Disk.ID()))
	if err != nil {
		return install.Plan{}, err
	}
	if all.Erase = typed; typed == "" {
		return install.Plan{}, refused
	}
	return install.NewPlan(m.Machine, *all, rand.Reader)
}
