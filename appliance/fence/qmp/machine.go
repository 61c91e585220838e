package qmp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"

	"masthead/appliance/fence/param"

	"golang.org/x/sys/unix"
)

// Params are the parameters of a device.
var Params = param.Set{
	{Name: "address", Aliases: []string{"ip", "ipaddr", "socket"}, Required: true, Text: "QMP socket: HOST:PORT, or the path of a Unix socket"},
	{Name: "plug", Aliases: []string{"port", "name", "vmname"}, Text: "name of the virtual machine (-name); another one at this socket is left alone"},
	{Name: "quit", Kind: param.Flag, Default: "yes", Text: "end QEMU after the proof; no: leave the stopped machine to be looked at"},
}

// Machine is a virtual machine.
type Machine struct {
	network, address string
	name             string
	quit             bool
}

// New reads the parameters of a machine; it does not connect.
func New(given map[string]string) (*Machine, error) {
	v, err := Params.Read(given)
	if err != nil {
		return nil, err
	}
	m := &Machine{address: v["address"], name: v["plug"], quit: v.Flag("quit")}
	if path := strings.TrimPrefix(m.address, "unix:"); filepath.IsAbs(path) {
		m.network, m.address = "unix", path
		return m, nil
	}
	m.network, m.address = "tcp", strings.TrimPrefix(m.address, "tcp:")
	if host, port, err := net.SplitHostPort(m.address); err != nil || host == "" || port == "" {
		return nil, errors.New("parameter address: must be HOST:PORT or the path of a Unix socket")
	}
	return m, nil
}

// Off stops the virtual processors.
func (m *Machine) Off(ctx context.Context) error {
	return m.do(ctx, func(c *conn) error { return c.execute("stop", nil) })
}

// On asks whether they may run.
func (m *Machine) On(ctx context.Context) (on bool, err error) {
	err = m.do(ctx, func(c *conn) error {
		var s statusInfo
		if err := c.execute("query-status", &s); err != nil {
			return err
		}
		on, err = s.on()
		return err
	})
	return on, err
}

// Finish ends QEMU.
func (m *Machine) Finish(ctx context.Context) error {
	if !m.quit {
		return nil
	}
	// It was proven before; a QEMU that ends may cut the connection before it has answered (over TCP by a reset).
	err := m.do(ctx, func(c *conn) error { return c.execute("quit", nil) })
	if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		return nil
	}
	return err
}

// do connects, makes sure that it is the right machine, and calls f.
func (m *Machine) do(ctx context.Context, f func(*conn) error) error {
	c, end, err := dial(ctx, m.network, m.address)
	if err != nil {
		return err
	}
	defer end()
	if m.name != "" {
		var vm struct{ Name string }
		if err := c.execute("query-name", &vm); err != nil {
			return because(ctx, err)
		}
		if vm.Name != m.name {
			return fmt.Errorf("the machine at %s is %q, not %q", m.address, vm.Name, m.name)
		}
	}
	return because(ctx, f(c))
}
