package vmware

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"maps"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// vcsim starts VMware's simulator; the parameters name its first virtual machine.
func vcsim(t *testing.T, model *simulator.Model) (*simulator.Model, *simulator.VirtualMachine, map[string]string) {
	t.Helper()
	if err := model.Create(); err != nil {
		t.Fatal(err)
	}
	model.Service.TLS = new(tls.Config)
	model.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword("root", "b0gus")}
	s := model.Service.NewServer()
	t.Cleanup(func() { s.Close(); model.Remove() })
	vm := model.Map().Any("VirtualMachine").(*simulator.VirtualMachine)
	sum := sha256.Sum256(s.Certificate().Raw)
	return model, vm, map[string]string{
		"ip": s.URL.Hostname(), "ipport": s.URL.Port(), "username": "root", "password": "b0gus", "plug": vm.Name,
		"ssl_fingerprint": hex.EncodeToString(sum[:]),
	}
}

func open(t *testing.T, p map[string]string, more ...string) *Machine {
	t.Helper()
	p = maps.Clone(p)
	for i := 0; i < len(more); i += 2 {
		if p[more[i]] = more[i+1]; more[i+1] == "" {
			delete(p, more[i])
		}
	}
	m, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestOff(t *testing.T) {
	for name, model := range map[string]*simulator.Model{"vCenter": simulator.VPX(), "ESX": simulator.ESX()} {
		t.Run(name, func(t *testing.T) {
			model, vm, p := vcsim(t, model)
			uuid := vm.Config.Uuid
			path := "/" + map[string]string{"vCenter": "DC0", "ESX": "ha-datacenter"}[name] + "/vm/" + vm.Name
			for _, m := range []*Machine{
				open(t, p), open(t, p, "plug", uuid), open(t, p, "plug", path),
				// As the script for Red Hat's cluster has it.
				open(t, p, "ip", "", "server", p["ip"], "plug", "", "vmname", vm.Name),
			} {
				model.Map().Update(model.Service.Context, vm, []types.PropertyChange{{Name: "runtime.powerState", Val: types.VirtualMachinePowerStatePoweredOn}})
				if on, err := m.On(t.Context()); !on || err != nil {
					t.Fatalf("%s: on %v, %v", m.plug, on, err)
				}
				for range 2 { // the second time it is off already
					if err := m.Off(t.Context()); err != nil {
						t.Fatalf("%s: %v", m.plug, err)
					}
				}
				if on, err := m.On(t.Context()); on || err != nil {
					t.Errorf("%s: on %v, %v", m.plug, on, err)
				}
			}
		})
	}
}

func TestPowerState(t *testing.T) {
	model, vm, p := vcsim(t, simulator.ESX())
	for _, test := range []struct {
		power      types.VirtualMachinePowerState
		connection types.VirtualMachineConnectionState
		want       string
	}{
		{"poweredOn", "connected", "on"},
		{"poweredOff", "connected", "off"},
		{"suspended", "connected", "on"},
		{"poweredOff", "disconnected", "error"},
		{"poweredOff", "inaccessible", "error"},
		{"poweredOff", "orphaned", "error"},
		{"", "connected", "error"},
		{"asleep", "connected", "error"},
	} {
		model.Map().Update(model.Service.Context, vm, []types.PropertyChange{{Name: "runtime.powerState", Val: test.power}, {Name: "runtime.connectionState", Val: test.connection}})
		on, err := open(t, p).On(t.Context())
		got := map[bool]string{true: "on", false: "off"}[on]
		if err != nil {
			got = "error"
		}
		if got != test.want {
			t.Errorf("%s, %s: %s (%v), want %s", test.power, test.connection, got, err, test.want)
		}
	}
}

func TestUnknown(t *testing.T) {
	_, vm, p := vcsim(t, simulator.VPX())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, port, _ := net.SplitHostPort(silent.Addr().String())
	for _, test := range []struct {
		name string
		m    *Machine
		want string
	}{
		{"password", open(t, p, "password", "wr0ng"), "VMware at"},
		{"no such machine", open(t, p, "plug", "vapp9"), "not found"},
		{"a pattern", open(t, p, "plug", "DC0_*"), "not found"},
		{"no such UUID", open(t, p, "plug", "00000000-0000-0000-0000-000000000000"), "no virtual machine has this UUID"},
		{"no such datacenter", open(t, p, "datacenter", "DC7"), "not found"},
		{"fingerprint", open(t, p, "ssl_fingerprint", strings.Repeat("00", 32)), "not the one of ssl_fingerprint"},
		{"no authority", open(t, p, "ssl_fingerprint", ""), "certificate"},
		{"silent", open(t, p, "ipport", port), "deadline exceeded"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			on, err := test.m.On(ctx)
			if err == nil || on || !strings.Contains(err.Error(), test.want) {
				t.Errorf("on %v, %v; want %s", on, err, test.want)
			}
			if err := test.m.Off(ctx); err == nil {
				t.Error("Off without an error")
			} else if strings.Contains(err.Error(), "b0gus") {
				t.Errorf("the password is in %v", err)
			}
		})
	}
	if vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
		t.Errorf("the machine is %s", vm.Runtime.PowerState)
	}
}
