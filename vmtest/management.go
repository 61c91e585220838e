package vmtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// management is what a server's management controller is: it switches the machine off and says how it is, and has power
// of its own. It speaks QMP (QEMU Machine Protocol), as far as that is about power, over TCP. A QEMU that has ended is
// "shutdown" here, as one is that was started with -no-shutdown and whose guest has powered off.
type management struct {
	machine  *Machine
	listener net.Listener
	all      sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	hang  bool // answers nothing: a controller that has failed
}

func newManagement(m *Machine, port int) (*management, error) {
	l, err := new(net.ListenConfig).Listen(m.life, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, fmt.Errorf("management: %w", err)
	}
	g := &management{machine: m, listener: l, conns: map[net.Conn]bool{}}
	g.all.Go(g.serve)
	return g, nil
}

// Management is the address of the machine's management controller on the host, and as machines with forwarded ports see
// it; empty without one.
func (m *Machine) Management() (host, guest string) {
	if m.management == nil {
		return "", ""
	}
	port := m.management.listener.Addr().(*net.TCPAddr).Port
	return fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("10.0.2.2:%d", port)
}

// HangManagement makes the controller answer nothing, or work again.
func (m *Machine) HangManagement(hang bool) error {
	if m.management == nil {
		return m.failed("hang management", errors.New("it has no management controller"))
	}
	m.management.mu.Lock()
	defer m.management.mu.Unlock()
	m.management.hang = hang
	return nil
}

// managed reports whether any machine has a management controller.
func (c Config) managed() bool {
	for _, m := range c.Machines {
		if m.Management != 0 {
			return true
		}
	}
	return false
}

func (g *management) Close() error {
	err := g.listener.Close()
	g.mu.Lock()
	for c := range g.conns {
		c.Close()
	}
	g.mu.Unlock()
	g.all.Wait()
	return err
}

func (g *management) serve() {
	for {
		conn, err := g.listener.Accept()
		if err != nil {
			return // closed
		}
		g.mu.Lock()
		g.conns[conn] = true
		g.mu.Unlock()
		g.all.Go(func() {
			g.talk(conn)
			conn.Close()
			g.mu.Lock()
			delete(g.conns, conn)
			g.mu.Unlock()
		})
	}
}

type qmpRequest struct {
	Execute string          `json:"execute"`
	ID      json.RawMessage `json:"id,omitempty"`
}

type qmpError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

type qmpAnswer struct {
	Return any             `json:"return,omitempty"`
	Error  *qmpError       `json:"error,omitempty"`
	ID     json.RawMessage `json:"id,omitempty"`
}

func (g *management) talk(conn net.Conn) {
	out := json.NewEncoder(conn)
	if g.hangs() || out.Encode(map[string]any{"QMP": map[string]any{"version": map[string]any{"package": "masthead lab"}, "capabilities": []string{}}}) != nil {
		<-g.machine.life.Done()
		return
	}
	for in := bufio.NewScanner(conn); in.Scan(); {
		var r qmpRequest
		a := qmpAnswer{}
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			a.Error = &qmpError{"GenericError", err.Error()}
		} else {
			ret, err := g.execute(r.Execute)
			a.ID, a.Return = r.ID, ret
			if err != nil {
				a.Return, a.Error = nil, &qmpError{"GenericError", err.Error()}
			}
		}
		if g.hangs() || out.Encode(a) != nil {
			return
		}
	}
}

func (g *management) hangs() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hang
}

// manageWithin bounds one order.
const manageWithin = 10 * time.Second

func (g *management) execute(command string) (any, error) {
	ctx, cancel := context.WithTimeout(g.machine.life, manageWithin)
	defer cancel()
	done := map[string]any{}
	ifOn := func(err error) (any, error) {
		if errors.Is(err, ErrOff) {
			err = nil
		}
		return done, err
	}
	switch command {
	case "qmp_capabilities":
		return done, nil
	case "query-status":
		state := g.machine.status(ctx).State
		if state == Off || state == Failed {
			state = "shutdown"
		}
		return map[string]any{"status": state, "running": state == "running"}, nil
	case "stop":
		return ifOn(g.machine.Pause(ctx))
	case "cont":
		return done, g.machine.Resume(ctx)
	case "system_reset":
		return done, g.machine.Reset(ctx)
	case "system_powerdown":
		return ifOn(g.machine.PowerButton(ctx))
	case "quit":
		return done, g.machine.PowerCut()
	}
	return nil, fmt.Errorf("the command %s has not been found", command)
}
