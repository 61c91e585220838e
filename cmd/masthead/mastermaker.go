package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"masthead/appliance/maker"
	"masthead/appliance/maker/login"
	"masthead/images"
	"masthead/node/wire"
)

// makerFlags are how another head is to be made.
type makerFlags struct {
	wishes                                maker.Wishes
	user, identity, hostKey, passwordFile string
	ssh, yes, dryRun, noSerial            bool
	wait                                  time.Duration
	forSSH                                []string // the flags that were given, and are for a login
}

const masterMakerHelp = `Makes another server a head like this one: clones this head's image onto its disk, joins it to the cluster, connects the
heartbeat, and has the replicated data copied.

HOST is a server that runs Linux, by its name or address: it is reached by SSH, asked for root's password once, and
started by kexec into this head's own image, without a disk. Or it is a machine without Linux, by its MAC address or by
the node's name: set it to boot from the network and switch it on; a node that runs is restarted. Either way nothing is
written on it before the plan was shown and confirmed. It keeps its host name, addresses, disks and SSH host keys.

If anything fails before it has joined, this head is as it was, and the same command begins again, or goes on.

`

func (a *app) masterMakerCommand() *cobra.Command {
	var f makerFlags
	cmd := &cobra.Command{
		Use: "master-maker HOST", Short: "Make another server a head like this one", Args: exactArgs(1), Long: masterMakerHelp,
		Example: "  masthead master-maker serverb.example.org\n" +
			"  masthead master-maker 10.77.0.2 --dry-run\n" +
			"  masthead master-maker 52:54:00:12:34:56 --name head2 --address 10.77.0.2/24 --yes",
		ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.wishes.Host = args[0]
			if err := checkHost(args[0]); err != nil {
				return usageError{&hint{err, cmd.CommandPath() + " --help"}}
			}
			for _, name := range []string{"user", "identity", "password-file", "host-key"} {
				if cmd.Flags().Changed(name) {
					f.forSSH = append(f.forSSH, "--"+name)
				}
			}
			return a.masterMaker(cmd.Context(), f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.wishes.Name, "name", "", "name of the new head (default: its own host name)")
	fl.StringVar(&f.wishes.Address, "address", "", "its address in the cluster's network, ADDRESS/PREFIX (default: the one it has)")
	fl.StringVar(&f.wishes.Disk, "disk", "", "its disk to install on: path, serial number, or auto (default): the only blank one")
	fl.StringVar(&f.wishes.Erase, "erase", "", "serial number of that disk, if it has something on it: all of that is lost")
	fl.BoolVar(&f.ssh, "ssh", false, "reach it by SSH, also if HOST is the name of a node")
	fl.StringVar(&f.user, "user", "root", "SSH: log in as this user, who must be root")
	fl.StringVar(&f.identity, "identity", "", "SSH: file with a private key to log in with")
	fl.StringVar(&f.passwordFile, "password-file", "", "SSH: file with the password (default: it is asked for)")
	fl.StringVar(&f.hostKey, "host-key", "", "SSH: fingerprint of its host key, SHA256:… (default: shown, to be confirmed)")
	fl.BoolVar(&f.noSerial, "no-serial", false, "do not look for a serial cable")
	fl.DurationVar(&f.wait, "wait", makerWait, "how long to wait for it to be switched on and to start")
	fl.BoolVar(&f.yes, "yes", false, "do it without asking")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what would be done, and change nothing")
	a.outputFlag(cmd)
	return cmd
}

// makerWait is for somebody who has to walk to the machine.
const makerWait = time.Hour

// making is a head on its way.
type making struct {
	*app
	f      makerFlags
	c      *wire.Client
	dir    string // this head's state
	master maker.Master
	self   masterSelf
	way    way
	show   *makerShow

	target  maker.Target
	plan    maker.Plan
	planned bool
	joined  bool              // meanwhile, by what an earlier run had done
	keys    map[string][]byte // its SSH host keys, where it had any to keep
	started bool              // an earlier run has started it into this head's image
	// remoteHost is the server while its own system runs; nil: nobody is logged in.
	remoteHost *login.Server
	token      string // id of the join token
	journal    maker.Journal
	notes      []string // for the end
}

// way is how the machine comes to run this head's image without a disk.
type way struct {
	name  string
	steps func(*making) []maker.Step // up to the plan, and to the machine's agent
}

// masterMaker makes a head.
func (a *app) masterMaker(ctx context.Context, f makerFlags) error {
	if os.Geteuid() != 0 {
		return &hint{errors.New("a head is made on the head whose image it gets, as root"), a.remote.there}
	}
	c, err := a.remote.client()
	if err != nil {
		return err
	}
	m := &making{app: a, f: f, c: c, dir: images.StateDir}
	m.show = newMakerShow(a)
	defer m.show.close()
	if m.master, m.self, err = lookMaster(ctx, c); err != nil {
		return err
	}
	if m.journal, err = maker.ReadJournal(m.dir, f.wishes.Host); err != nil {
		return err
	}
	if err := m.takeUp(ctx); err != nil {
		return err
	}
	if f.dryRun {
		return m.dryRun(ctx)
	}
	steps := slices.Concat(m.way.steps(m), m.cloneSteps(), m.pairSteps())
	if err := maker.Run(ctx, steps, m.journal.Done, m.note, m.show.event); err != nil {
		return m.failed(err)
	}
	m.show.close()
	if err := m.journal.Forget(m.dir); err != nil {
		return err
	}
	return m.summary(ctx)
}

// takeUp decides the way, and what is wished for but was not said: by an earlier run, or by what is known.
func (m *making) takeUp(ctx context.Context) error {
	w := &m.f.wishes
	if w.Name == "" {
		w.Name = m.journal.Name
	}
	if w.Address == "" {
		w.Address = m.journal.Address
	}
	if w.Erase == "" {
		w.Erase = m.journal.Disk
	}
	if m.journal.Host == "" {
		m.journal = maker.Journal{Host: w.Host, Began: time.Now().UTC()}
	}
	node, isNode, err := m.nodeOf(ctx, w.Host)
	if err != nil {
		return err
	}
	if isNode && !m.f.ssh {
		if len(m.f.forSSH) > 0 {
			return usageError{&hint{fmt.Errorf("%s: for a machine that is reached by SSH; %s boots from the network", strings.Join(m.f.forSSH, ", "), w.Host),
				"the same without; or with --ssh and the machine's name or address"}}
		}
		m.way = byNetwork
		return m.knowNode(node)
	}
	own, err := ownAddresses()
	if err != nil {
		return err
	}
	if isOwn(ctx, w.Host, own, net.DefaultResolver.LookupNetIP) {
		return &hint{fmt.Errorf("%s is this head, %s", w.Host, m.master.Name), "masthead master-maker --help; HOST is the other machine"}
	}
	m.way = bySSH
	return nil
}

// note keeps in the journal that a step is done.
func (m *making) note(step string) error {
	if !m.journal.Has(step) {
		m.journal.Done = append(m.journal.Done, step)
	}
	return m.journal.Write(m.dir)
}

// failed says what to type after a step has failed.
func (m *making) failed(err error) error {
	var step *maker.StepError
	if !errors.As(err, &step) {
		return err
	}
	try := tryText(step.Err)
	if try == "" || errors.Is(step.Err, errLost) {
		try = "masthead master-maker " + m.f.wishes.Host // the journal has the rest
	}
	if !step.Final {
		m.journal.Done = nil
		err = errors.Join(err, m.journal.Write(m.dir))
	}
	return &hint{err, try}
}

// ask asks for what a head needs and nobody has said.
func (m *making) ask() error {
	w := &m.f.wishes
	for _, q := range []struct {
		value          *string
		prompt, preset string
	}{
		{&w.Name, "Name of the new head", maker.FreeName(m.master)},
		{&w.Address, fmt.Sprintf("Its address in the cluster's network %s", m.master.Address.Masked()), ""},
	} {
		if *q.value != "" || !terminalIn(m.in) || m.f.yes {
			continue
		}
		prompt := q.prompt
		if q.preset != "" {
			prompt += " [" + q.preset + "]"
		}
		text, err := m.askLine(prompt + ": ")
		if err != nil {
			return err
		}
		*q.value = orElse(text, q.preset)
	}
	return nil
}
