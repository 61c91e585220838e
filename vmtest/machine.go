package vmtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"masthead/vmtest/ethernet"
	"masthead/vmtest/plug"
	"masthead/vmtest/qemu"
	"masthead/vmtest/qmp"
	"masthead/vmtest/serial"
)

// Machine is a machine of a running lab, on or off. Its consoles, cables and
// switch ports stay through power cuts. All methods may be called by any goroutine.
type Machine struct {
	Name    string
	Config  MachineConfig
	Console *serial.Console
	Events  *EventLog

	hardware qemu.Machine
	host     qemu.Host
	pflash   qemu.Pflash // as installed on the host
	folder   string
	ports    []*ethernet.Port
	disguise []*disguise // by card; nil without
	forwards map[string]int
	log      *slog.Logger

	management *management // nil without
	monitor    *plug.Socket
	clients    chan *qmp.Client // of the process that PowerOn is waiting for
	life       context.Context  // of the lab
	watch      sync.WaitGroup

	power sync.Mutex // one who switches at a time

	mu      sync.Mutex
	process *qemu.Process // nil when off
	client  *qmp.Client
	off     chan struct{} // closed when off
	cut     bool          // killed on purpose
	since   time.Time
	ended   error // how the last process ended, if not well
}

// Forward returns the host's address, 127.0.0.1:PORT, that leads to a forwarded
// port of the guest, "" for one that is not in the configuration.
func (m *Machine) Forward(service string) string {
	port, ok := m.forwards[service]
	if !ok {
		return ""
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
}

// Port returns the switch port of a card, nil for one that is not there.
func (m *Machine) Port(nic int) *ethernet.Port {
	if nic < 0 || nic >= len(m.ports) {
		return nil
	}
	return m.ports[nic]
}

// MAC returns a card's address.
func (m *Machine) MAC(nic int) string { return m.hardware.NICs[nic].MAC }

// Folder returns where the machine's files are: command.sh, console.log, qemu.log,
// its blank disks and firmware variables.
func (m *Machine) Folder() string { return m.folder }

// Command returns the QEMU command as a shell reads it.
func (m *Machine) Command() string { return qemu.Quote(m.hardware.CommandLine(m.host)) }

func (m *Machine) failed(what string, err error) error {
	return fmt.Errorf("machine %s: %s: %w", m.Name, what, err)
}

// newMachine makes m's folder, sockets and ports; nothing is switched on.
func (l *Lab) newMachine(name string) (_ *Machine, err error) {
	config := l.config.Machines[name]
	m := &Machine{
		Name:     name,
		Config:   config,
		Events:   newEventLog(),
		folder:   filepath.Join(l.folder, name),
		forwards: make(map[string]int),
		log:      l.log,
		clients:  make(chan *qmp.Client),
		life:     l.life,
	}
	m.hardware = config.hardware(name, m.folder)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("machine %s: %w", name, err), m.close())
		}
	}()
	if err := os.MkdirAll(m.folder, 0o755); err != nil {
		return nil, err
	}
	if m.hardware.Forwards, err = m.chooseForwards(config.Forward); err != nil {
		return nil, err
	}
	m.hardware.ReachHost = l.config.managed()
	if config.Management != 0 {
		if m.management, err = newManagement(m, max(config.Management, 0)); err != nil {
			return nil, err
		}
	}
	m.host.Accelerator, m.host.Nice = qemu.HostAccelerator(), l.config.Nice
	if m.pflash, err = qemu.FindPflash(config.Firmware); err != nil {
		return nil, err
	}
	m.host.Pflash = qemu.Pflash{Code: m.pflash.Code, Vars: filepath.Join(m.folder, "vars.fd")}
	m.host.QMP = l.socket(name + ".qmp")
	if m.monitor, err = plug.Listen(m.host.QMP, m.serveMonitor); err != nil {
		return nil, err
	}
	m.host.Console = l.socket(name + ".console")
	if m.Console, err = serial.ListenConsole(m.host.Console, filepath.Join(m.folder, "console.log")); err != nil {
		return nil, err
	}
	m.Console.End(ErrOff)
	for i, n := range config.NICs {
		path := l.socket(fmt.Sprintf("%s.nic%d", name, i))
		port, err := l.switches[n.Switch].Plug(portName(name, i), path)
		if err != nil {
			return nil, err
		}
		m.host.NICs = append(m.host.NICs, path)
		m.ports = append(m.ports, port)
		if n.PlainPXE {
			d := new(disguise)
			m.disguise = append(m.disguise, d)
			port.SetFilter(d.filter)
		}
	}
	return m, nil
}

// portName is what a card's switch port is called, in captures too.
func portName(machine string, nic int) string { return fmt.Sprintf("%s:%d", machine, nic) }

// chooseForwards finds a free port of the host for each service. Another program
// may take it before QEMU does, and QEMU then says so.
func (m *Machine) chooseForwards(services map[string]int) ([]qemu.Forward, error) {
	var forwards []qemu.Forward
	for _, service := range slices.Sorted(maps.Keys(services)) {
		listener, err := listenFixed(m.life)
		if err != nil {
			return nil, fmt.Errorf("forward %s: %w", service, err)
		}
		defer listener.Close() // not before all are chosen, or two may be the same
		port := listener.Addr().(*net.TCPAddr).Port
		m.forwards[service] = port
		forwards = append(forwards, qemu.Forward{Host: port, Guest: services[service]})
	}
	return forwards, nil
}

// firstFixed is the lowest port that is chosen.
const firstFixed = 15000

// listenFixed listens on a port that the kernel gives to nobody by itself. The machine is switched on later, and off and on
// again: meanwhile a port of the other kind may become the own end of any connection, also one to another lab.
func listenFixed(ctx context.Context) (listener net.Listener, err error) {
	end := 32768 // as Linux has it
	if text, e := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); e == nil {
		if _, e := fmt.Sscan(string(text), &end); e != nil || end <= firstFixed {
			end = firstFixed // then any port
		}
	}
	for range 100 {
		port := 0
		if end > firstFixed {
			port = firstFixed + rand.IntN(end-firstFixed)
		}
		if listener, err = new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return listener, nil
		}
	}
	return nil, err
}

// close ends the machine and all that belongs to it.
func (m *Machine) close() error {
	var errs []error
	if m.management != nil {
		errs = append(errs, m.management.Close())
	}
	errs = append(errs, m.PowerCut())
	m.watch.Wait()
	if m.monitor != nil {
		errs = append(errs, m.monitor.Close())
	}
	for _, p := range m.ports {
		errs = append(errs, p.Close())
	}
	if m.Console != nil {
		errs = append(errs, m.Console.Close())
	}
	return errors.Join(errs...)
}
