package vmtest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"masthead/vmtest/ethernet"
)

// action is a fault, or its end, as people type it.
type action struct {
	name    string
	operand string // as in a usage line; those in brackets may be left out
	do      func(context.Context, *Lab, []string) error
}

// actions is the whole vocabulary.
func actions() []action {
	return []action{
		{"cut-link", "MACHINE[:NIC] [tx|rx|both]", onLink(0, func(l *Lab, at socket, d Direction, _ []string) error {
			return l.CutLink(at.machine, at.nic, d)
		})},
		{"loss", "MACHINE[:NIC] PERCENT [tx|rx|both]", onLink(1, withPercent((*Lab).Loss))},
		{"duplicate", "MACHINE[:NIC] PERCENT [tx|rx|both]", onLink(1, withPercent((*Lab).Duplicate))},
		{"reorder", "MACHINE[:NIC] PERCENT [tx|rx|both]", onLink(1, withPercent((*Lab).Reorder))},
		{"delay", "MACHINE[:NIC] TIME[~JITTER] [tx|rx|both]", onLink(1, delayLink)},
		{"heal", "[MACHINE[:NIC]]", heal},
		{"cut-trunk", "SWITCH SWITCH", between((*Lab).CutTrunk)},
		{"heal-trunk", "SWITCH SWITCH", between((*Lab).HealTrunk)},
		{"cut-serial", "MACHINE MACHINE", between((*Lab).CutSerial)},
		{"cut-serial-from", "MACHINE MACHINE", between((*Lab).CutSerialFrom)},
		{"garble-serial", "FROM TO PERCENT", garbleSerial},
		{"slow-serial", "FROM TO BAUD", slowSerial},
		{"heal-serial", "MACHINE MACHINE", between((*Lab).HealSerial)},
		{"pause", "MACHINE", onMachine((*Machine).Pause)},
		{"resume", "MACHINE", onMachine((*Machine).Resume)},
		{"reset", "MACHINE", onMachine((*Machine).Reset)},
		{"power-button", "MACHINE", onMachine((*Machine).PowerButton)},
		{"power-cut", "MACHINE", onMachine(func(m *Machine, _ context.Context) error { return m.PowerCut() })},
		{"power-on", "MACHINE", onMachine((*Machine).PowerOn)},
		{"interrupt", "MACHINE", onMachine((*Machine).Interrupt)},
	}
}

// Actions returns what Inject takes, a usage line each.
func Actions() []string {
	var lines []string
	for _, a := range actions() {
		lines = append(lines, a.name+" "+a.operand)
	}
	return lines
}

// Inject does what the words say, as in cut-link n01:0 rx. See Actions.
func (l *Lab) Inject(ctx context.Context, words ...string) error {
	if len(words) == 0 {
		return fmt.Errorf("no action: want one of\n  %s", strings.Join(Actions(), "\n  "))
	}
	all := actions()
	i := slices.IndexFunc(all, func(a action) bool { return a.name == words[0] })
	if i < 0 {
		return fmt.Errorf("unknown action %q: want one of\n  %s", words[0], strings.Join(Actions(), "\n  "))
	}
	a := all[i]
	most := strings.Fields(a.operand)
	least := slices.IndexFunc(most, func(o string) bool { return strings.HasPrefix(o, "[") })
	if least < 0 {
		least = len(most)
	}
	operands := words[1:]
	if len(operands) < least || len(operands) > len(most) {
		return fmt.Errorf("%s: %d operands: usage: %s %s", a.name, len(operands), a.name, a.operand)
	}
	if err := a.do(ctx, l, operands); err != nil {
		return fmt.Errorf("%s: %w", a.name, err)
	}
	return nil
}

// socket is MACHINE or MACHINE:NIC.
type socket struct {
	machine string
	nic     int
}

func parseSocket(word string) (socket, error) {
	machine, nic, found := strings.Cut(word, ":")
	if !found {
		return socket{machine: machine}, nil
	}
	n, err := strconv.Atoi(nic)
	if err != nil {
		return socket{}, fmt.Errorf("%q: want MACHINE or MACHINE:NIC, with the card's number", word)
	}
	return socket{machine, n}, nil
}

// onLink reads the socket, a number of values, and the direction if there is one.
func onLink(values int, do func(*Lab, socket, Direction, []string) error) func(context.Context, *Lab, []string) error {
	return func(_ context.Context, l *Lab, operands []string) error {
		at, err := parseSocket(operands[0])
		if err != nil {
			return err
		}
		direction := Both
		if rest := operands[1+values:]; len(rest) > 0 {
			if direction, err = ethernet.ParseDirection(rest[0]); err != nil {
				return err
			}
		}
		return do(l, at, direction, operands[1:1+values])
	}
}

func withPercent(do func(*Lab, string, int, Direction, float64) error) func(*Lab, socket, Direction, []string) error {
	return func(l *Lab, at socket, d Direction, values []string) error {
		percent, err := parsePercent(values[0])
		if err != nil {
			return err
		}
		return do(l, at.machine, at.nic, d, percent)
	}
}

func parsePercent(word string) (float64, error) {
	percent, err := strconv.ParseFloat(strings.TrimSuffix(word, "%"), 64)
	if err != nil {
		return 0, fmt.Errorf("%q: want a percentage", word)
	}
	return percent, nil
}

func delayLink(l *Lab, at socket, d Direction, values []string) error {
	delay, jitter, err := parseDelay(values[0])
	if err != nil {
		return err
	}
	return l.Delay(at.machine, at.nic, d, delay, jitter)
}

// parseDelay reads 20ms or 20ms~5ms.
func parseDelay(word string) (delay, jitter time.Duration, err error) {
	first, second, varies := strings.Cut(word, "~")
	if delay, err = time.ParseDuration(first); err == nil && varies {
		jitter, err = time.ParseDuration(second)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("%q: want a time such as 20ms, or 20ms~5ms", word)
	}
	return delay, jitter, nil
}

func heal(_ context.Context, l *Lab, operands []string) error {
	if len(operands) == 0 {
		return l.HealAll()
	}
	at, err := parseSocket(operands[0])
	if err != nil {
		return err
	}
	if strings.Contains(operands[0], ":") {
		return l.HealLink(at.machine, at.nic)
	}
	return l.Heal(at.machine)
}

func between(do func(*Lab, string, string) error) func(context.Context, *Lab, []string) error {
	return func(_ context.Context, l *Lab, operands []string) error { return do(l, operands[0], operands[1]) }
}

func garbleSerial(_ context.Context, l *Lab, operands []string) error {
	percent, err := parsePercent(operands[2])
	if err != nil {
		return err
	}
	return l.GarbleSerial(operands[0], operands[1], percent)
}

func slowSerial(_ context.Context, l *Lab, operands []string) error {
	baud, err := strconv.Atoi(operands[2])
	if err != nil {
		return fmt.Errorf("%q: want bits per second", operands[2])
	}
	return l.SlowSerial(operands[0], operands[1], baud)
}

func onMachine(do func(*Machine, context.Context) error) func(context.Context, *Lab, []string) error {
	return func(ctx context.Context, l *Lab, operands []string) error {
		return l.do(operands[0], func(m *Machine) error { return do(m, ctx) })
	}
}
