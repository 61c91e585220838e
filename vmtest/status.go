package vmtest

import (
	"context"
	"strings"
	"time"

	"masthead/vmtest/ethernet"
	"masthead/vmtest/serial"
)

// Off and Failed are a machine's state without QEMU; with it, the state is QEMU's
// RunState: running, paused, shutdown and so on.
const (
	Off     = "off"
	Failed  = "failed"  // QEMU ended with an error
	Unknown = "unknown" // QEMU does not answer
)

// MachineStatus is what there is to see of a machine from outside.
type MachineStatus struct {
	Name     string            `json:"name"`
	Role     string            `json:"role,omitempty"`
	State    string            `json:"state"`
	Error    string            `json:"error,omitempty"` // how the last process ended
	PID      int               `json:"pid,omitempty"`
	Since    time.Time         `json:"since,omitzero"` // when it was switched on
	Firmware string            `json:"firmware"`
	Memory   int               `json:"memoryMiB"`
	NICs     []NICStatus       `json:"nics"`
	Serial   []SerialStatus    `json:"serial,omitempty"`
	Forward  map[string]string `json:"forward,omitempty"` // addresses on the host
	LastLine string            `json:"lastLine"`          // on the console
	Folder   string            `json:"folder"`
}

// NICStatus is one network card and its cable.
type NICStatus struct {
	Switch   string            `json:"switch"`
	MAC      string            `json:"mac"`
	Linked   bool              `json:"linked"`
	Transmit ethernet.Faults   `json:"transmit"`
	Receive  ethernet.Faults   `json:"receive"`
	Counters ethernet.Counters `json:"counters"`
}

// SerialStatus is one serial cable, seen from the machine.
type SerialStatus struct {
	Peer     string        `json:"peer"`
	Transmit serial.Faults `json:"transmit"`
	Receive  serial.Faults `json:"receive"`
}

// Status returns how all machines are, in the order of their names.
func (l *Lab) Status(ctx context.Context) []MachineStatus {
	var all []MachineStatus
	for _, m := range l.Machines() {
		s := m.status(ctx)
		for _, c := range l.cables {
			fromA, fromB := c.Faults()
			switch m.Name {
			case c.Ends[0]:
				s.Serial = append(s.Serial, SerialStatus{c.Ends[1], fromA, fromB})
			case c.Ends[1]:
				s.Serial = append(s.Serial, SerialStatus{c.Ends[0], fromB, fromA})
			}
		}
		all = append(all, s)
	}
	return all
}

func (m *Machine) status(ctx context.Context) MachineStatus {
	s := MachineStatus{
		Name:     m.Name,
		Role:     m.Config.Role,
		State:    m.State(ctx),
		Firmware: string(m.Config.Firmware),
		Memory:   m.Config.Memory,
		LastLine: strings.Join(m.Console.Tail(1), ""),
		Folder:   m.folder,
	}
	for i, n := range m.Config.NICs {
		transmit, receive := m.ports[i].Faults()
		s.NICs = append(s.NICs, NICStatus{n.Switch, n.MAC, m.ports[i].Linked(), transmit, receive, m.ports[i].Counters()})
	}
	if len(m.forwards) > 0 {
		s.Forward = make(map[string]string)
		for service := range m.forwards {
			s.Forward[service] = m.Forward(service)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil {
		s.PID, s.Since = m.process.PID(), m.since
	}
	if m.ended != nil {
		s.Error = m.ended.Error()
	}
	return s
}

// State returns Off, Failed, Unknown, or QEMU's word: running, paused and others.
func (m *Machine) State(ctx context.Context) string {
	m.mu.Lock()
	client, ended := m.client, m.ended
	m.mu.Unlock()
	switch {
	case client == nil && ended != nil:
		return Failed
	case client == nil:
		return Off
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	state, err := client.Status(ctx)
	if err != nil {
		return Unknown
	}
	return state
}
