package vmtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"masthead/vmtest/qemu"
	"masthead/vmtest/qmp"
)

var (
	// ErrOff is returned for what only a machine that is on can do.
	ErrOff = errors.New("machine is off")
	// ErrOn is returned for switching on a machine that is.
	ErrOn = errors.New("machine is on already")
)

const (
	// startWithin bounds QEMU's start, which is a fraction of a second on an idle host.
	startWithin = 30 * time.Second
	// answerWithin bounds the wait for QEMU's answer where the caller gave no time.
	answerWithin = 5 * time.Second
	// drainWithin bounds the wait for the last words on a console.
	drainWithin = 2 * time.Second
)

// PowerOn switches the machine on and returns when QEMU runs. ctx bounds the
// start; the machine runs until it or the caller switches it off, or the lab ends.
func (m *Machine) PowerOn(ctx context.Context) error {
	m.power.Lock()
	defer m.power.Unlock()
	if m.running() != nil {
		return m.failed("power on", ErrOn)
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := m.prepareFiles(ctx); err != nil {
		return m.failed("power on", err)
	}
	for _, d := range m.disguise {
		d.reset()
	}
	m.Console.Resume()
	process, err := qemu.Start(m.life, m.hardware.CommandLine(m.host), filepath.Join(m.folder, "qemu.log"))
	if err != nil {
		return m.failed("power on", err)
	}
	var client *qmp.Client
	select {
	case client = <-m.clients:
	case <-process.Done():
		err = process.Wait()
		if err == nil {
			err = errors.New("QEMU left at once")
		}
	case <-ctx.Done():
		err = fmt.Errorf("QEMU does not answer: %w", ctx.Err())
	}
	if err != nil {
		process.Kill()
		m.mu.Lock()
		m.ended = err
		m.mu.Unlock()
		m.Console.End(err)
		return m.failed("power on", err)
	}
	off := make(chan struct{})
	m.mu.Lock()
	m.process, m.client, m.off = process, client, off
	m.cut, m.since, m.ended = false, time.Now(), nil
	m.mu.Unlock()
	m.log.Info("machine on", "machine", m.Name, "pid", process.PID())
	m.watch.Go(func() { m.watchProcess(process, client, off) })
	return nil
}

// watchProcess waits for the process to end and makes the machine off.
func (m *Machine) watchProcess(process *qemu.Process, client *qmp.Client, off chan struct{}) {
	err := process.Wait()
	client.Close()
	select {
	case <-m.Console.Drained():
	case <-time.After(drainWithin):
	}
	m.mu.Lock()
	if m.cut || m.life.Err() != nil {
		err = nil
	}
	m.process, m.client, m.ended = nil, nil, err
	m.mu.Unlock()
	reason := ErrOff
	if err != nil {
		reason = err
	}
	m.Console.End(reason)
	m.log.Info("machine off", "machine", m.Name, "error", err)
	close(off)
}

// prepareFiles makes what the machine keeps: blank disks, firmware variables, the
// command for people to read.
func (m *Machine) prepareFiles(ctx context.Context) error {
	if m.Config.Firmware != qemu.BIOS {
		if err := m.pflash.CopyVars(m.host.Pflash.Vars); err != nil {
			return err
		}
	}
	for i, d := range m.Config.Disks {
		if d.Path != "" {
			continue
		}
		if err := makeBlank(ctx, blankPath(m.folder, i), d); err != nil {
			return err
		}
	}
	script := "#!/bin/sh\n# The sockets are the lab's: they are there while it runs.\nexec " + m.Command() + "\n"
	return os.WriteFile(filepath.Join(m.folder, "command.sh"), []byte(script), 0o755)
}

// PowerCut takes the power away: QEMU is killed. It returns when the machine is
// off; a machine that is off already is no error.
func (m *Machine) PowerCut() error {
	m.power.Lock()
	defer m.power.Unlock()
	m.mu.Lock()
	process, off := m.process, m.off
	m.cut = true
	m.mu.Unlock()
	if process != nil {
		process.Kill()
		<-off
	}
	return nil
}

// Wait blocks until the machine is off, and returns how QEMU ended: nil when the
// guest powered off or the power was cut.
func (m *Machine) Wait(ctx context.Context) error {
	m.mu.Lock()
	off := m.off
	m.mu.Unlock()
	if off != nil {
		select {
		case <-off:
		case <-ctx.Done():
			return m.failed("wait", ctx.Err())
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ended
}

// Pause stops the machine's processors and with them its time, as a hypervisor
// does that is out of breath. Its network cards are silent.
func (m *Machine) Pause(ctx context.Context) error { return m.ask(ctx, "pause", (*qmp.Client).Pause) }

// Resume lets a paused machine go on.
func (m *Machine) Resume(ctx context.Context) error {
	return m.ask(ctx, "resume", (*qmp.Client).Resume)
}

// Reset presses the reset button.
func (m *Machine) Reset(ctx context.Context) error { return m.ask(ctx, "reset", (*qmp.Client).Reset) }

// PowerButton presses the power button, for the guest to shut down.
func (m *Machine) PowerButton(ctx context.Context) error {
	return m.ask(ctx, "power button", (*qmp.Client).PowerButton)
}

// Interrupt sends a non-maskable interrupt.
func (m *Machine) Interrupt(ctx context.Context) error {
	return m.ask(ctx, "interrupt", (*qmp.Client).Interrupt)
}

func (m *Machine) ask(ctx context.Context, what string, command func(*qmp.Client, context.Context) error) error {
	m.mu.Lock()
	client := m.client
	m.mu.Unlock()
	if client == nil {
		return m.failed(what, ErrOff)
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if err := command(client, ctx); err != nil {
		return m.failed(what, err)
	}
	m.log.Info(what, "machine", m.Name)
	return nil
}

// QMP returns the connection to the machine's QEMU for what has no method here,
// nil when it is off.
func (m *Machine) QMP() *qmp.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.client
}

func (m *Machine) running() *qemu.Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process
}

// serveMonitor hands a QEMU that connects to the PowerOn that waits for it.
func (m *Machine) serveMonitor(conn net.Conn) {
	ctx, cancel := context.WithTimeout(m.life, startWithin)
	defer cancel()
	client, err := qmp.New(ctx, conn, m.event)
	if err != nil {
		m.log.Warn("QMP", "machine", m.Name, "error", err)
		return
	}
	defer client.Close()
	select {
	case m.clients <- client:
	case <-client.Done():
	case <-m.life.Done():
	}
	select {
	case <-client.Done():
	case <-m.life.Done():
	}
}

func (m *Machine) event(e qmp.Event) {
	if e.Name == "RESET" { // the boot ROM begins again
		for _, d := range m.disguise {
			d.reset()
		}
	}
	m.Events.add(e)
	m.log.Debug("event", "machine", m.Name, "event", e.Name, "data", string(e.Data))
}
