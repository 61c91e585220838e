package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"masthead/appliance/install"
	"masthead/node"
)

// installFlags are what can be said of an installation on the command line, and how it is to run.
type installFlags struct {
	from, vip, passwordFile, keyFile string
	mail                             []string
	answers                          install.Answers
	after                            string
	unattended, yes, dryRun          bool
}

func (a *app) installCommand() *cobra.Command {
	var f installFlags
	cmd := &cobra.Command{
		Use: "install", Short: "Install this machine as a head, from the ISO that it was started from", Args: exactArgs(0),
		Long: "Installs this machine as a head, from the ISO that it was started from: asks for what it must know, shows what it will\n" +
			"do to which disk, asks once more, and does it. With --from nothing is asked.\n\n" +
			"A disk that has anything on it is erased only if its serial number is typed, or given with --erase. An installation\n" +
			"that was interrupted is started again by the same command, and goes on where it was.\n\n" +
			"The file of --from, of which only disk and address must be there:\n\n" + indent(install.Example),
		Example: "  masthead install\n" +
			"  masthead install --dry-run --disk /dev/sda --address 10.77.0.1/24\n" +
			"  masthead install --from masthead-install.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.from != "" {
				for _, name := range []string{"name", "address", "gateway", "nic", "vip", "mail", "mail-server", "password-file", "ssh-keys", "after"} {
					if cmd.Flags().Changed(name) {
						return usageError{&hint{fmt.Errorf("--from has the answers: of the flags it takes --disk and --erase, not --%s", name), "put it into " + f.from + "; masthead install --help shows a file with all keys"}}
					}
				}
			}
			return withTyped(a.install(cmd.Context(), f), "masthead install", cmd.Flags())
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.from, "from", "", "file with the answers (YAML); nothing is asked; beside it only --disk and --erase")
	fl.StringVar(&f.answers.Disk, "disk", "", "disk to install on: path, serial number, or auto for the only blank one")
	fl.StringVar(&f.answers.Erase, "erase", "", "serial number of the disk, if it has something on it: all of that is lost")
	fl.StringVar(&f.answers.Name, "name", "", "name of the head (default head1)")
	fl.StringVar(&f.answers.Address, "address", "", "address of the head, ADDRESS/PREFIX, or dhcp")
	fl.StringVar(&f.answers.Gateway, "gateway", "", "address of the router")
	fl.StringVar(&f.answers.NIC, "nic", "", "NIC of the cluster network, by MAC address or name (default: the first with a link)")
	fl.StringVar(&f.vip, "vip", "", "virtual address of the cluster, ADDRESS/PREFIX")
	fl.StringSliceVar(&f.mail, "mail", nil, "mail address that is told when something is wrong")
	fl.StringVar(&f.answers.Server, "mail-server", "", "server that takes the mail, HOST[:PORT]")
	fl.StringVar(&f.passwordFile, "password-file", "", "file with root's password")
	fl.StringVar(&f.keyFile, "ssh-keys", "", "file with authorized_keys lines for root")
	fl.StringVar(&f.after, "after", "", "poweroff, restart or stay, when it is done (default poweroff)")
	fl.BoolVar(&f.unattended, "unattended", false, "ask nothing, and leave the machine as it is if something is wrong")
	fl.BoolVar(&f.yes, "yes", false, "do not ask before a blank disk is written")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what would be done to which disk, and write nothing")
	a.outputFlag(cmd)
	return cmd
}

// withTyped adds to the command that an error says to type the flags that were typed: it is the same command, with something
// more or something else.
func withTyped(err error, command string, flags *pflag.FlagSet) error {
	rest, ok := strings.CutPrefix(tryText(err), command)
	if !ok || (rest != "" && !strings.HasPrefix(rest, " --")) || strings.HasPrefix(rest, " --help") {
		return err
	}
	typed := ""
	flags.Visit(func(f *pflag.Flag) {
		if strings.Contains(rest+" ", " --"+f.Name+" ") {
			return
		}
		typed += " --" + f.Name
		if list, ok := f.Value.(pflag.SliceValue); ok {
			typed += " " + shellWord(strings.Join(list.GetSlice(), ","))
		} else if f.Value.Type() != "bool" {
			typed += " " + shellWord(f.Value.String())
		}
	})
	again := &hint{err, command + typed + rest}
	var usage usageError
	if errors.As(err, &usage) {
		return usageError{again}
	}
	return again
}

// indent sets a text off from the one around it.
func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ")
}

// install is the whole of an installation.
func (a *app) install(ctx context.Context, f installFlags) error {
	answers, err := f.given(a)
	if err != nil {
		return usageError{err}
	}
	m, err := a.lookMachine()
	if err != nil {
		if f.from != "" {
			fmt.Fprintf(a.err, "%s: the answers are in order\n", f.from)
		}
		return err
	}
	answers, asked, err := a.answers(m, answers, f)
	if err != nil {
		return err
	}
	plan, err := install.NewPlan(m.Machine, answers, rand.Reader)
	if err != nil && asked && !f.dryRun {
		plan, err = a.askErase(m, &answers, err)
	}
	if err != nil {
		return err
	}
	if err := a.showPlan(plan, f.dryRun); err != nil || f.dryRun {
		return err
	}
	if asked && !f.yes && answers.Erase == "" {
		if err := a.confirmName("Type yes to go on: ", "yes", false, "masthead install"); err != nil {
			return err
		}
	}
	show := newInstallProgress(a.err)
	err = checkSource(ctx, m, plan, show.update)
	if err == nil {
		err = runInstall(ctx, m, plan, show.update)
	}
	show.close()
	if err != nil {
		return &hint{err, orElse(tryText(err), "the same command again: it goes on where it was")}
	}
	return a.afterInstall(ctx, plan)
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// tryText is the hint that an error carries.
func tryText(err error) string {
	var t interface{ Try() string }
	if errors.As(err, &t) {
		return t.Try()
	}
	return ""
}

// answers asks somebody at a terminal for what is not given; asked tells that somebody is there.
func (a *app) answers(m machine, all install.Answers, f installFlags) (_ install.Answers, asked bool, err error) {
	if err := install.CheckNIC(m.NICs, all.NIC); err != nil {
		return install.Answers{}, false, err // before anything is asked
	}
	if f.asks(a) {
		all, err = a.askAnswers(m, all, f.dryRun)
		return all, true, err
	}
	return all, false, nil
}

// asks reports whether somebody is asked.
func (f installFlags) asks(a *app) bool {
	return f.from == "" && !f.unattended && terminalIn(a.in)
}

// given are the answers of a file or of the command line, checked as far as they can be without looking at the machine.
func (f installFlags) given(a *app) (install.Answers, error) {
	if f.from != "" {
		return f.fromFile(a)
	}
	all, err := f.fromFlags(a)
	if err != nil || f.asks(a) {
		return all, err
	}
	if all.Disk == "" || all.Address == "" {
		return all, &hint{errors.New("nobody is there to ask: want --from FILE, or --disk and --address"), "masthead install --help"}
	}
	if err := all.Check(); err != nil {
		return all, &hint{err, "masthead install --help"}
	}
	return all, nil
}

func (f installFlags) fromFile(a *app) (install.Answers, error) {
	data, err := a.readFile(f.from)
	if err != nil {
		return install.Answers{}, err
	}
	all, err := install.ParseAnswers(f.from, data)
	if err != nil {
		return install.Answers{}, &hint{err, "correct the file; masthead install --help shows one with all keys"}
	}
	if f.answers.Disk != "" {
		all.Disk = f.answers.Disk
	}
	if f.answers.Erase != "" {
		all.Erase = f.answers.Erase
	}
	return all, nil
}

func (f installFlags) fromFlags(a *app) (install.Answers, error) {
	all := f.answers
	all.Mail, all.After = f.mail, install.After(f.after)
	if f.vip != "" {
		var err error
		if all.VIP, err = netip.ParsePrefix(f.vip); err != nil {
			return all, fmt.Errorf("--vip %s: want ADDRESS/PREFIX", f.vip)
		}
	}
	if f.passwordFile != "" {
		data, err := a.readFile(f.passwordFile)
		if err != nil {
			return all, err
		}
		all.Password = strings.TrimRight(string(data), "\r\n")
	}
	if f.keyFile != "" {
		data, err := os.ReadFile(f.keyFile)
		if err != nil {
			return all, fmt.Errorf("keys for root: %w", err)
		}
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				all.SSHKeys = append(all.SSHKeys, line)
			}
		}
	}
	return all, nil
}

// showPlan says what will be done to which disk.
func (a *app) showPlan(p install.Plan, dryRun bool) error {
	if a.output == "json" {
		if !dryRun {
			return nil // its end is printed
		}
		return a.printJSON(planned(p, dryRun))
	}
	d := p.Disk
	fmt.Fprintf(a.out, "%s  %s  %s  %s\n", d.Path, install.Size(d.Size), orDash(d.Model), d.Named())
	if p.Resume != nil {
		fmt.Fprintf(a.out, "  an installation was begun here at %s; it goes on\n", p.Resume.Began.Local().Format("2006-01-02 15:04"))
	}
	for _, s := range install.Steps(p) {
		mark := "will"
		if s.Done {
			mark = "done"
		}
		fmt.Fprintf(a.out, "  %s  %-9s  %s\n", mark, s.Name, s.What)
	}
	fmt.Fprintf(a.out, "  head %s, kernel command line: %s\n", p.Answers.Name, p.Config().Cmdline)
	for _, w := range p.Warnings() {
		fmt.Fprintf(a.err, "warning: %s\n", w)
	}
	if dryRun {
		fmt.Fprintln(a.out, "nothing was written")
	}
	return nil
}

// installed is an installation for programs.
type installed struct {
	Disk    string         `json:"disk"`
	Serial  string         `json:"serial,omitempty"`
	Image   string         `json:"image"`
	Digest  string         `json:"digest"`
	Steps   []install.Step `json:"steps"`
	Cmdline string         `json:"cmdline"`
	Applied bool           `json:"applied"`
	After   install.After  `json:"after"`

	Warnings []string `json:"warnings,omitempty"`
}

func planned(p install.Plan, dryRun bool) installed {
	return installed{Disk: p.Disk.Path, Serial: p.Disk.Serial, Image: p.Source.Name, Digest: string(p.Source.Image),
		Steps: install.Steps(p), Cmdline: p.Config().Cmdline, Applied: !dryRun, After: p.Answers.After, Warnings: p.Warnings()}
}

// afterInstall ends the machine as it was asked to.
func (a *app) afterInstall(ctx context.Context, p install.Plan) error {
	if a.output == "json" {
		if err := a.printJSON(planned(p, false)); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.out, "installed: head %s on %s\n", p.Answers.Name, p.Disk.Path)
	}
	switch p.Answers.After {
	case install.Restart:
		fmt.Fprintln(a.err, "restarts; take the ISO out if the machine prefers it to its disk")
		return node.Restart(ctx, node.Firmware)
	case install.PowerOff:
		fmt.Fprintln(a.err, "switches itself off; take the ISO out before it is switched on")
		return node.PowerOff(ctx)
	}
	return nil
}
