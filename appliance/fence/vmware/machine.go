package vmware

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"masthead/appliance/fence/param"
	"masthead/appliance/fence/trust"
)

// Params are the parameters of a device, named as those of fence_vmware_soap.
var Params = slices.Concat(param.Set{
	{Name: "ip", Aliases: []string{"ipaddr", "address", "server"}, Required: true, Text: "name or address of vCenter or of the ESX host"},
	{Name: "ipport", Kind: param.Number, Default: "443", Text: "TCP port"},
	{Name: "username", Aliases: []string{"login"}, Required: true, Text: "user who may switch the virtual machine"},
	{Name: "password", Aliases: []string{"passwd"}, Required: true, Text: "password of the user"},
	{Name: "plug", Aliases: []string{"port", "vmname", "uuid"}, Required: true, Text: "the virtual machine: its name, its path in the inventory, or its UUID"},
	{Name: "datacenter", Aliases: []string{"vmware_datacenter"}, Text: "where the name is looked for; needed where there are several"},
}, trust.Params)

// Machine is a virtual machine.
type Machine struct {
	url                *url.URL
	username, password string
	plug, datacenter   string
	tls                *tls.Config
}

// New reads the parameters of a machine; it does not connect.
func New(given map[string]string) (*Machine, error) {
	v, err := Params.Read(given)
	if err != nil {
		return nil, err
	}
	c, err := trust.Config(v)
	if err != nil {
		return nil, err
	}
	host := net.JoinHostPort(strings.Trim(v["ip"], "[]"), v["ipport"])
	return &Machine{
		url:      &url.URL{Scheme: "https", Host: host, Path: "/sdk"},
		username: v["username"], password: v["password"],
		plug: v["plug"], datacenter: v["datacenter"], tls: c,
	}, nil
}

// Off orders the machine off. One that is off already is not ordered: VMware refuses that.
func (m *Machine) Off(ctx context.Context) error {
	return m.do(ctx, func(c *client, vm ref) error {
		if on, err := power(ctx, c, vm); err == nil && !on {
			return nil
		}
		if err := powerOff(ctx, c, vm); err != nil {
			return fmt.Errorf("power off %s: %w", m.plug, err)
		}
		return nil
	})
}

// On asks for the power state.
func (m *Machine) On(ctx context.Context) (on bool, err error) {
	err = m.do(ctx, func(c *client, vm ref) error {
		on, err = power(ctx, c, vm)
		return err
	})
	return on, err
}

// power is the power state of vm. A suspended machine is not off: its memory, with what it held to be true, comes back.
func power(ctx context.Context, c *client, vm ref) (bool, error) {
	p, err := c.properties(ctx, vm, "runtime.powerState", "runtime.connectionState")
	if err != nil {
		return false, fmt.Errorf("power state: %w", err)
	}
	if s := p["runtime.connectionState"].Text; s != "connected" {
		return false, fmt.Errorf("power state: the host of the machine is %.40q", s)
	}
	switch s := p["runtime.powerState"].Text; s {
	case "poweredOff":
		return false, nil
	case "poweredOn", "suspended":
		return true, nil
	default:
		return false, fmt.Errorf("power state: %.40q is not known", s)
	}
}

func powerOff(ctx context.Context, c *client, vm ref) error {
	task, err := call[ref](ctx, c, "PowerOffVM_Task", struct {
		This ref `xml:"_this"`
	}{vm})
	if err != nil {
		return err
	}
	if len(task) != 1 {
		return errors.New("PowerOffVM_Task: no task in the answer")
	}
	return c.wait(ctx, task[0])
}

// do logs in, finds the machine and calls f with it.
func (m *Machine) do(ctx context.Context, f func(*client, ref) error) error {
	c, err := connect(ctx, m.url, trust.Transport(m.tls))
	if err == nil {
		defer c.logout(ctx)
		err = m.with(ctx, c, f)
	}
	if err != nil {
		return fmt.Errorf("VMware at %s: %w", m.url.Host, err)
	}
	return nil
}

func (m *Machine) with(ctx context.Context, c *client, f func(*client, ref) error) error {
	if err := c.login(ctx, m.username, m.password); err != nil {
		return err
	}
	vm, err := c.find(ctx, m.plug, m.datacenter)
	if err != nil {
		return err
	}
	return f(c, vm)
}
