package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"masthead/images"
	"masthead/node/serial"
	"masthead/node/wire"
)

func (a *app) serialCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "serial", Short: "The serial ports of this machine, and the cable to the other head"}
	list := &cobra.Command{
		Use: "list", Short: "List the serial ports of this machine, and what they are used for", Args: exactArgs(0),
		RunE: func(*cobra.Command, []string) error {
			ports, err := serial.Ports("/sys", "/proc", "/dev")
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(append([]serial.Port{}, ports...))
			}
			w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "PORT\tUSE")
			for _, p := range ports {
				fmt.Fprintf(w, "%s\t%s\n", p.Device, orElse(p.Use, "free"))
			}
			return w.Flush()
		},
	}
	a.outputFlag(list)
	cmd.AddCommand(list, a.serialTestCommand())
	return cmd
}

// serialFlags are how a cable is looked for.
type serialFlags struct {
	listen, send bool
	time         time.Duration
	baud         int
	nonce        string
}

// check says what of the flags can be nothing.
func (f serialFlags) check() error {
	if f.time <= 0 {
		return fmt.Errorf("--time %v: want more than 0, such as %v", f.time, serialTime)
	}
	if err := serial.CheckBaud(f.baud); err != nil {
		return fmt.Errorf("--baud: %w", err)
	}
	return nil
}

// serialTime is enough for both ends to open their ports, and for some words to be lost.
const serialTime = 8 * time.Second

func (a *app) serialTestCommand() *cobra.Command {
	var f serialFlags
	cmd := &cobra.Command{
		Use: "test [HEAD | PORT...]", Short: "Find out which serial port is connected to which of the other head",
		Long: "Sends a line out of each serial port that nobody uses, and listens on those of the other head, which answers: shows\n" +
			"which port hears which, and in which direction. HEAD may be left out where there are two heads.\n\n" +
			"With --listen or --send it is one end, for machines that are no heads yet: --listen on one, --send on the other. What\n" +
			"goes over the cable are lines of text, so the other end may also be cat < /dev/ttyS0, with\n" +
			"stty raw -F /dev/ttyS0 115200.",
		Example: "  masthead serial test\n  masthead serial test head2 -o json\n  masthead serial test --listen\n  masthead serial test --send /dev/ttyS1",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return usageError{&hint{err, "masthead serial test --help"}}
			}
			switch {
			case f.listen && f.send:
				return usageError{&hint{errors.New("--listen is one end, --send the other"), "masthead serial test --listen"}}
			case f.listen || f.send:
				return a.serialEnd(cmd.Context(), args, f)
			case len(args) > 1 || len(args) == 1 && strings.HasPrefix(args[0], "/dev/"):
				return usageError{&hint{errors.New("a port alone is one end of a cable: want --listen or --send"), "masthead serial test --listen " + args[0]}}
			}
			return a.serialBetween(cmd.Context(), args, f)
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.listen, "listen", false, "listen on the ports of this machine, and answer")
	fl.BoolVar(&f.send, "send", false, "send out of the ports of this machine, and wait for answers")
	fl.DurationVar(&f.time, "time", serialTime, "for how long")
	fl.IntVar(&f.baud, "baud", serial.DefaultBaud, "speed of the line")
	fl.StringVar(&f.nonce, "nonce", "", "of the test, where another machine says which it is")
	_ = fl.MarkHidden("nonce")
	a.outputFlag(cmd)
	return cmd
}

// heardWord is a word that was heard, by which port.
type heardWord struct {
	By   string `json:"by"`
	From string `json:"from"` // host
	Port string `json:"port"` // there
	Kind string `json:"kind"` // hello, or heard: the answer to one of ours
}

// freePorts are the ports that are asked for, or all that nobody uses.
func freePorts(asked []string) (ports []string, err error) {
	all, err := serial.Ports("/sys", "/proc", "/dev")
	if err != nil {
		return nil, err
	}
	var used []string
	for _, p := range all {
		wanted := len(asked) == 0 || slices.Contains(asked, p.Device)
		switch {
		case wanted && p.Use == "":
			ports = append(ports, p.Device)
		case wanted:
			used = append(used, p.Device+": "+p.Use)
		}
	}
	for _, device := range asked { // one that is no hardware, such as a pseudo-terminal
		if !slices.ContainsFunc(all, func(p serial.Port) bool { return p.Device == device }) {
			if _, err := os.Stat(device); err != nil {
				return nil, &hint{err, "masthead serial list"}
			}
			ports = append(ports, device)
		}
	}
	if len(ports) == 0 {
		what := "this machine has no serial port"
		if len(used) > 0 {
			what = "no serial port is free: " + strings.Join(used, "; ")
		}
		return nil, &hint{errors.New(what), "masthead serial list"}
	}
	return ports, nil
}

// serialEnd is one end by hand, or the other one's of serialBetween.
func (a *app) serialEnd(ctx context.Context, args []string, f serialFlags) error {
	ports, err := freePorts(args)
	if err != nil {
		return err
	}
	asked := f.nonce != "" // by the other head: both ends send, so that a wire that is broken in one direction is found
	if !asked {
		f.nonce = newNonce()
	}
	if a.output != "json" {
		what := "listens"
		if f.send {
			what = "sends"
		}
		fmt.Fprintf(a.err, "%s on %s for %v\n", what, strings.Join(ports, ", "), f.time)
	}
	seen := map[heardWord]bool{}
	failed := a.hear(ctx, ports, f, f.send || asked, func(h heardWord) {
		if seen[h] {
			return
		}
		seen[h] = true
		if a.output == "json" {
			_ = json.NewEncoder(a.out).Encode(h) // nobody reads it any more then
			return
		}
		text := "hears " + h.Port + " of " + h.From
		if h.Kind == string(serial.Heard) {
			text += ", which hears it: the cable is good"
		}
		fmt.Fprintf(a.out, "%s %s\n", h.By, text)
	})
	if len(seen) == 0 && !asked { // the other head, which asked, puts together what both have heard
		other := "--send"
		if f.send {
			other = "--listen"
		}
		failed = errors.Join(failed, &hint{errors.New("nothing was heard"), "masthead serial test " + other + ", on the other machine at the same time"})
	}
	return failed
}

// hear sends and hears for the time of the flags.
func (a *app) hear(ctx context.Context, ports []string, f serialFlags, say bool, fn func(heardWord)) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.time)
	defer cancel()
	t := serial.Test{Host: host, Nonce: f.nonce, Ports: ports, Baud: f.baud, Heard: func(port string, w serial.Word) {
		if w.Kind == serial.Heard && w.Nonce != f.nonce {
			return // the answer to somebody else's
		}
		fn(heardWord{port, w.Host, w.Port, string(w.Kind)})
	}}
	return t.Run(ctx, say)
}

func newNonce() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it does not fail (crypto/rand)
	return hex.EncodeToString(b[:])
}

// serialCable is a port of this head, and the port of the other that it is connected to.
type serialCable struct {
	Port  string `json:"port"`
	Head  string `json:"head"`
	There string `json:"there"`
	Here  bool   `json:"heard_here"`
	Other bool   `json:"heard_there"`
}

// good: both hear each other.
func (c serialCable) good() bool { return c.Here && c.Other }

// serialBetween looks for cables between this head and another.
func (a *app) serialBetween(ctx context.Context, args []string, f serialFlags) error {
	c, err := a.remote.client()
	if err != nil {
		return err
	}
	head := ""
	if len(args) == 1 {
		head = args[0]
	}
	if head, err = otherHead(ctx, c, head); err != nil {
		return err
	}
	cables, notes, err := a.findCables(ctx, c, head, f)
	if err != nil {
		return err
	}
	for _, n := range notes {
		fmt.Fprintf(a.err, "note: %s\n", n)
	}
	if a.output == "json" {
		if err := a.printJSON(append([]serialCable{}, cables...)); err != nil {
			return err
		}
	} else {
		for _, cable := range cables {
			fmt.Fprintln(a.out, cable.text())
		}
	}
	if len(cables) == 0 {
		return &hint{fmt.Errorf("no free port of this head hears one of %s, nor is heard there", head), "a null-modem cable (pins 2 and 3 crossed, 5 to 5); masthead serial list on both heads"}
	}
	return nil
}

// text is a cable for people.
func (c serialCable) text() string {
	switch {
	case c.good():
		return fmt.Sprintf("%s is connected to %s of %s: heard in both directions", c.Port, c.There, c.Head)
	case c.Other:
		return fmt.Sprintf("%s is heard by %s of %s, which is not heard here: one wire is broken", c.Port, c.There, c.Head)
	}
	return fmt.Sprintf("%s hears %s of %s, which does not hear it: one wire is broken", c.Port, c.There, c.Head)
}

// otherHead is the head that is named, or the only other one.
func otherHead(ctx context.Context, c *wire.Client, name string) (string, error) {
	heads, err := c.Heads(ctx)
	if err != nil {
		return "", err
	}
	var others []string
	for _, h := range heads {
		if !h.Self && (name == "" || h.Name == name) {
			others = append(others, h.Name)
		}
	}
	switch {
	case len(others) == 1:
		return others[0], nil
	case name != "":
		return "", &hint{fmt.Errorf("there is no other head %s", name), "masthead head list"}
	case len(others) == 0:
		return "", &hint{errors.New("there is no other head yet"), "masthead serial test --listen, and --send on the other machine"}
	}
	return "", usageError{&hint{fmt.Errorf("there are several other heads: %s", strings.Join(others, ", ")), "masthead serial test " + others[0]}}
}

// findCables sends on the ports of this head while the other one listens, and puts together what both have heard.
func (a *app) findCables(ctx context.Context, c *wire.Client, head string, f serialFlags) ([]serialCable, []string, error) {
	ports, err := freePorts(nil)
	if err != nil {
		return nil, nil, err
	}
	f.nonce = newNonce()
	var notes []string
	found := map[[2]string]serialCable{}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type end struct {
		words []heardWord
		err   error
	}
	there := make(chan end, 1)
	go func() { // ends with the command there, which ends by itself
		var e end
		e.err = commandLines(ctx, c, head, wire.Command{Kind: wire.CommandExec, Timeout: (f.time + probeTime).Seconds(), Output: wire.DefaultCommandOutput,
			Argv: []string{images.RunBinary, "serial", "test", "--listen", "--nonce", f.nonce, "--time", f.time.String(), "--baud", fmt.Sprint(f.baud), "-o", "json"},
		}, nil, func(line []byte) {
			var h heardWord
			if json.Unmarshal(line, &h) == nil {
				e.words = append(e.words, h)
			}
		})
		there <- e
	}()
	failed := a.hear(ctx, ports, f, true, func(h heardWord) {
		key := [2]string{h.By, h.Port}
		cable := found[key]
		cable.Port, cable.Head, cable.There, cable.Here = h.By, head, h.Port, true
		cable.Other = cable.Other || h.Kind == string(serial.Heard)
		found[key] = cable
	})
	if failed != nil {
		notes = append(notes, failed.Error())
	}
	other := <-there
	if other.err != nil {
		return nil, nil, fmt.Errorf("on %s: %w", head, other.err)
	}
	for _, h := range other.words {
		key := [2]string{h.Port, h.By}
		cable := found[key]
		cable.Port, cable.Head, cable.There, cable.Other = h.Port, head, h.By, true
		found[key] = cable
	}
	cables := slices.Collect(maps.Values(found))
	slices.SortFunc(cables, func(x, y serialCable) int { return strings.Compare(x.Port+x.There, y.Port+y.There) })
	return cables, notes, nil
}
