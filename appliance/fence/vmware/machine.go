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

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

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
	url              *url.URL
	user             *url.Userinfo
	plug, datacenter string
	tls              *tls.Config
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
		url:  &url.URL{Scheme: "https", Host: host, Path: "/sdk"},
		user: url.UserPassword(v["username"], v["password"]),
		plug: v["plug"], datacenter: v["datacenter"], tls: c,
	}, nil
}

// Off orders the machine off. One that is off already is not ordered: VMware refuses that.
func (m *Machine) Off(ctx context.Context) error {
	return m.do(ctx, func(vm *object.VirtualMachine) error {
		if on, err := power(ctx, vm); err == nil && !on {
			return nil
		}
		task, err := vm.PowerOff(ctx)
		if err == nil {
			err = task.WaitEx(ctx)
		}
		if err != nil {
			return fmt.Errorf("power off %s: %w", m.plug, err)
		}
		return nil
	})
}

// On asks for the power state.
func (m *Machine) On(ctx context.Context) (on bool, err error) {
	err = m.do(ctx, func(vm *object.VirtualMachine) error {
		on, err = power(ctx, vm)
		return err
	})
	return on, err
}

// power is the power state of vm. A suspended machine is not off: its memory, with what it held to be true, comes back.
func power(ctx context.Context, vm *object.VirtualMachine) (bool, error) {
	var v mo.VirtualMachine
	if err := vm.Properties(ctx, vm.Reference(), []string{"runtime.powerState", "runtime.connectionState"}, &v); err != nil {
		return false, fmt.Errorf("power state: %w", err)
	}
	if s := v.Runtime.ConnectionState; s != types.VirtualMachineConnectionStateConnected {
		return false, fmt.Errorf("power state: the host of the machine is %s", s)
	}
	switch v.Runtime.PowerState {
	case types.VirtualMachinePowerStatePoweredOff:
		return false, nil
	case types.VirtualMachinePowerStatePoweredOn, types.VirtualMachinePowerStateSuspended:
		return true, nil
	}
	return false, fmt.Errorf("power state: %.40q is not known", v.Runtime.PowerState)
}

func (m *Machine) do(ctx context.Context, f func(*object.VirtualMachine) error) error {
	sc := soap.NewClient(m.url, m.tls.InsecureSkipVerify)
	sc.Client.Transport = trust.Transport(m.tls)
	vc, err := vim25.NewClient(ctx, sc)
	if err != nil {
		return fmt.Errorf("VMware at %s: %w", m.url.Host, err)
	}
	c := &govmomi.Client{Client: vc, SessionManager: session.NewManager(vc)}
	if err := c.Login(ctx, m.user); err != nil {
		return fmt.Errorf("VMware at %s: %w", m.url.Host, err)
	}
	defer c.Logout(ctx)
	vm, err := m.find(ctx, vc)
	if err == nil {
		err = f(vm)
	}
	if err != nil {
		return fmt.Errorf("VMware at %s: %w", m.url.Host, err)
	}
	return nil
}

// find is the machine that is meant; where that is not clear it is none.
func (m *Machine) find(ctx context.Context, c *vim25.Client) (*object.VirtualMachine, error) {
	if looksLikeUUID(m.plug) {
		ref, err := object.NewSearchIndex(c).FindByUuid(ctx, nil, m.plug, true, nil)
		if err != nil {
			return nil, err
		}
		vm, ok := ref.(*object.VirtualMachine)
		if !ok {
			return nil, errors.New("no virtual machine has this UUID")
		}
		return vm, nil
	}
	f := find.NewFinder(c)
	if !strings.HasPrefix(m.plug, "/") {
		dc, err := f.DatacenterOrDefault(ctx, m.datacenter)
		if err != nil {
			return nil, err
		}
		f.SetDatacenter(dc)
	}
	vm, err := f.VirtualMachine(ctx, escape(m.plug))
	if err != nil {
		return nil, err
	}
	return vm, nil
}

// escape keeps a name from being read as a pattern (find uses path.Match).
func escape(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)
}

func looksLikeUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range s {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", c) {
			return false
		}
	}
	return true
}
