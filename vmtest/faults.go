package vmtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"masthead/vmtest/ethernet"
	"masthead/vmtest/serial"
)

// Direction says which way along a network cable, seen from the machine.
type Direction = ethernet.Direction

const (
	Transmit = ethernet.Transmit
	Receive  = ethernet.Receive
	Both     = ethernet.Both
)

// CutLink cuts the cable of a machine's card, one way or both. The card does not
// notice, as with a switch that fails: the link stays up.
func (l *Lab) CutLink(machine string, nic int, d Direction) error {
	return l.link("cut link", machine, nic, d, func(f *ethernet.Faults) { f.Cut = true })
}

// Loss makes a cable lose that percentage of its frames.
func (l *Lab) Loss(machine string, nic int, d Direction, percent float64) error {
	return l.link("loss", machine, nic, d, func(f *ethernet.Faults) { f.Loss = percent })
}

// Delay makes each frame travel so long, and up to jitter longer.
func (l *Lab) Delay(machine string, nic int, d Direction, delay, jitter time.Duration) error {
	return l.link("delay", machine, nic, d, func(f *ethernet.Faults) { f.Delay, f.Jitter = delay, jitter })
}

// Duplicate makes that percentage of the frames arrive twice.
func (l *Lab) Duplicate(machine string, nic int, d Direction, percent float64) error {
	return l.link("duplicate", machine, nic, d, func(f *ethernet.Faults) { f.Duplicate = percent })
}

// Reorder makes that percentage of the frames arrive after later ones.
func (l *Lab) Reorder(machine string, nic int, d Direction, percent float64) error {
	return l.link("reorder", machine, nic, d, func(f *ethernet.Faults) { f.Reorder = percent })
}

// HealLink takes all faults off a card's cable.
func (l *Lab) HealLink(machine string, nic int) error {
	return l.link("heal link", machine, nic, Both, func(f *ethernet.Faults) { *f = ethernet.Faults{} })
}

// Heal takes all faults off a machine's network and serial cables. It neither
// resumes it nor switches it on.
func (l *Lab) Heal(machine string) error {
	m, err := l.find(machine)
	if err != nil {
		return err
	}
	var errs []error
	for nic := range m.ports {
		errs = append(errs, l.HealLink(machine, nic))
	}
	for _, c := range l.cables {
		if c.Ends[0] == machine || c.Ends[1] == machine {
			errs = append(errs, c.SetFromA(serial.Faults{}), c.SetFromB(serial.Faults{}))
		}
	}
	return errors.Join(errs...)
}

// HealAll takes all faults off all cables and trunks.
func (l *Lab) HealAll() error {
	var errs []error
	for _, m := range l.Machines() {
		errs = append(errs, l.Heal(m.Name))
	}
	for _, t := range l.trunks {
		errs = append(errs, t.A.SetFaults(Both, ethernet.Faults{}))
	}
	return errors.Join(errs...)
}

func (l *Lab) link(what, machine string, nic int, d Direction, change func(*ethernet.Faults)) error {
	m, err := l.find(machine)
	if err != nil {
		return err
	}
	port := m.Port(nic)
	if port == nil {
		return m.failed(what, fmt.Errorf("no network card %d, it has %d", nic, len(m.ports)))
	}
	if err := port.ChangeFaults(d, change); err != nil {
		return m.failed(what, err)
	}
	transmit, receive := port.Faults()
	l.log.Info(what, "machine", machine, "nic", nic, "transmit", transmit, "receive", receive)
	return nil
}

// CutTrunk parts two switches, both ways.
func (l *Lab) CutTrunk(a, b string) error {
	t, err := l.trunk(a, b)
	if err != nil {
		return err
	}
	l.log.Info("cut trunk", "a", a, "b", b)
	return t.A.SetFaults(Both, ethernet.Faults{Cut: true})
}

// HealTrunk joins them again.
func (l *Lab) HealTrunk(a, b string) error {
	t, err := l.trunk(a, b)
	if err != nil {
		return err
	}
	l.log.Info("heal trunk", "a", a, "b", b)
	return t.A.SetFaults(Both, ethernet.Faults{})
}

func (l *Lab) trunk(a, b string) (*ethernet.Trunk, error) {
	if t := l.trunks[Pair{[2]string{a, b}}]; t != nil {
		return t, nil
	}
	if t := l.trunks[Pair{[2]string{b, a}}]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("no trunk between switches %q and %q: %s", a, b, ends(l.config.Trunks))
}

// CutSerial cuts the serial cables between two machines, both ways.
func (l *Lab) CutSerial(a, b string) error {
	return errors.Join(l.CutSerialFrom(a, b), l.CutSerialFrom(b, a))
}

// CutSerialFrom cuts only the direction from one machine to the other.
func (l *Lab) CutSerialFrom(from, to string) error {
	return l.serial("cut serial", from, to, func(f *serial.Faults) { f.Cut = true })
}

// GarbleSerial spoils that percentage of the bytes from one machine to the other.
func (l *Lab) GarbleSerial(from, to string, percent float64) error {
	return l.serial("garble serial", from, to, func(f *serial.Faults) { f.Garble = percent })
}

// SlowSerial slows the direction from one machine to the other; 0 is no limit.
func (l *Lab) SlowSerial(from, to string, baud int) error {
	return l.serial("slow serial", from, to, func(f *serial.Faults) { f.Baud = baud })
}

// HealSerial takes all faults off the serial cables between two machines.
func (l *Lab) HealSerial(a, b string) error {
	heal := func(f *serial.Faults) { *f = serial.Faults{} }
	return errors.Join(l.serial("heal serial", a, b, heal), l.serial("heal serial", b, a, heal))
}

// serial changes the faults of one direction of all cables between two machines.
func (l *Lab) serial(what, from, to string, change func(*serial.Faults)) error {
	found := false
	for _, c := range l.cables {
		fromA, fromB := c.Faults()
		var err error
		switch c.Ends {
		case [2]string{from, to}:
			change(&fromA)
			err = c.SetFromA(fromA)
		case [2]string{to, from}:
			change(&fromB)
			err = c.SetFromB(fromB)
		default:
			continue
		}
		if err != nil {
			return fmt.Errorf("%s from %s to %s: %w", what, from, to, err)
		}
		found = true
	}
	if !found {
		return fmt.Errorf("%s: no serial cable between %q and %q: %s", what, from, to, ends(l.config.Cables))
	}
	l.log.Info(what, "from", from, "to", to)
	return nil
}

// Pause stops a machine; this and the following are the methods of Machine, by name.
func (l *Lab) Pause(ctx context.Context, machine string) error {
	return l.do(machine, func(m *Machine) error { return m.Pause(ctx) })
}

// Resume lets a paused machine go on.
func (l *Lab) Resume(ctx context.Context, machine string) error {
	return l.do(machine, func(m *Machine) error { return m.Resume(ctx) })
}

// Reset presses a machine's reset button.
func (l *Lab) Reset(ctx context.Context, machine string) error {
	return l.do(machine, func(m *Machine) error { return m.Reset(ctx) })
}

// PowerCut takes a machine's power away.
func (l *Lab) PowerCut(machine string) error { return l.do(machine, (*Machine).PowerCut) }

// PowerOn switches a machine on.
func (l *Lab) PowerOn(ctx context.Context, machine string) error {
	return l.do(machine, func(m *Machine) error { return m.PowerOn(ctx) })
}

func (l *Lab) do(machine string, action func(*Machine) error) error {
	m, err := l.find(machine)
	if err != nil {
		return err
	}
	return action(m)
}

func (l *Lab) find(machine string) (*Machine, error) {
	m := l.machines[machine]
	if m == nil {
		return nil, fmt.Errorf("no machine %q in lab %s, which has %s", machine, l.config.Name, strings.Join(l.config.names(), ", "))
	}
	return m, nil
}

// ends says which trunks or cables there are.
func ends(pairs []Pair) string {
	if len(pairs) == 0 {
		return "the lab has none"
	}
	words := make([]string, len(pairs))
	for i, p := range pairs {
		words[i] = p.Ends[0] + " " + p.Ends[1]
	}
	return "the lab has " + strings.Join(words, ", ")
}
