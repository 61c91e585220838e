package fence

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

func TestProblems(t *testing.T) {
	ilo := Device{Name: "ilo", Agent: "redfish", Params: map[string]string{"username": "root", "password": "x"}}
	vm := Device{Name: "vm", Agent: "qmp"}
	hand := Device{Name: "hand", Agent: "fence_manual"}
	one := func(s ...Step) map[string][][]Step { return map[string][][]Step{"head1": {s}} }
	for _, test := range []struct {
		name string
		c    Config
		want []string
	}{
		{"nothing", Config{}, nil},
		{"good", Config{Devices: []Device{ilo, vm, hand}, Heads: map[string][][]Step{
			"head1": {{{"vm", map[string]string{"address": "/run/head1"}}}, {{"ilo", map[string]string{"ip": "10.0.0.1", "action": "off"}}}, {{"hand", nil}}},
		}}, nil},
		{"twice", Config{Devices: []Device{vm, vm}}, []string{"fence device vm: there are two of this name"}},
		{"no name, no agent", Config{Devices: []Device{{Agent: "qmp"}, {Name: "x"}, {Name: "y", Agent: "qmp", Timeout: -1}}}, []string{
			"fence device : has no name", "fence device x: has no agent", "fence device y: timeout -1ns: must not be below 0",
		}},
		{"no such device", Config{Heads: one(Step{"ilo", nil})}, []string{`fencing of head1, level 1, step 1: device "ilo": there is none of this name`}},
		{"empty level", Config{Heads: map[string][][]Step{"head1": {{}}}}, []string{"fencing of head1, level 1, step 1: a level without a step would be a proof of nothing"}},
		{"missing parameter", Config{Devices: []Device{vm}, Heads: one(Step{"vm", nil})}, []string{
			"fencing of head1, level 1, step 1: parameter address: is missing: QMP socket: HOST:PORT, or the path of a Unix socket",
		}},
		{"reboot", Config{Devices: []Device{vm}, Heads: one(Step{"vm", map[string]string{"address": "/x", "action": "reboot"}})}, []string{
			"fencing of head1, level 1, step 1: parameter action: reboot: only off is ever done; a machine that comes back by itself could be a second owner",
		}},
		{"manual before the last", Config{Devices: []Device{vm, hand}, Heads: map[string][][]Step{"head1": {{{"hand", nil}}, {{"vm", map[string]string{"address": "/x"}}}}}}, []string{
			"fencing of head1, level 1, step 1: manual waits for a person for as long as it takes: it must be alone in the last level",
		}},
	} {
		_, err := New(test.c)
		var got []string
		for _, p := range Problems(err) {
			got = append(got, p.Error())
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// TestYAML is the document as administrators write it; numbers and yes are texts for a device.
func TestYAML(t *testing.T) {
	var got struct {
		Devices []Device `yaml:"devices"`
		Fence   [][]Step `yaml:"fence"`
	}
	err := yaml.Unmarshal([]byte(`
devices:
  - name: pdu
    agent: fence_apc
    timeout: 45s
    params: {ip: 10.0.0.9, lanplus: yes, ipport: 23}
fence:
  - - {device: pdu, params: {port: 3}}
    - {device: pdu, params: {port: 4}}
`), &got)
	if err != nil {
		t.Fatal(err)
	}
	want := got
	want.Devices = []Device{{"pdu", "fence_apc", map[string]string{"ip": "10.0.0.9", "lanplus": "yes", "ipport": "23"}, 45 * time.Second}}
	want.Fence = [][]Step{{{"pdu", map[string]string{"port": "3"}}, {"pdu", map[string]string{"port": "4"}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestCheckPrograms asks Debian's agents what they take.
func TestCheckPrograms(t *testing.T) {
	prerequisite.Programs(t, "/usr/sbin/fence_ipmilan")
	c := Config{
		Devices: []Device{
			{Name: "bmc", Agent: "fence_ipmilan", Params: map[string]string{"login": "root", "passwd": "x", "lanplus": "1"}},
			{Name: "disk", Agent: "fence_scsi", Params: map[string]string{"devices": "/dev/sda"}},
			{Name: "gone", Agent: "fence_nowhere"},
		},
		Heads: map[string][][]Step{
			"head1": {{{"bmc", map[string]string{"ipaddr": "10.0.0.1"}}}},
			"head2": {{{"bmc", map[string]string{"ip": "10.0.0.2", "lanplus": "maybe", "adress": "x"}}}, {{"disk", map[string]string{"plug": "head2"}}}, {{"gone", nil}}},
		},
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := Check(ctx, c)
	for _, want := range []string{
		"fencing of head2, level 1, step 1: ", "parameter adress: is not known", "parameter lanplus: must be yes or no",
		"fencing of head2, level 2, step 1: agent /usr/sbin/fence_scsi: it cuts the machine off from a disk",
		"fencing of head2, level 3, step 1: agent fence_nowhere: is not in /usr/sbin, /sbin, /usr/local/sbin",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "head1") {
		t.Errorf("head1 is good: %v", err)
	}
	if got := len(Problems(err)); got != 3 {
		t.Errorf("%d problems", got)
	}
	var try interface{ Try() string }
	if !errors.As(err, &try) || try.Try() != "apt-get install fence-agents" {
		t.Errorf("no hint in %v", err)
	}
}

func TestDescribe(t *testing.T) {
	prerequisite.Programs(t, "/usr/sbin/fence_ipmilan")
	names := Agents(nil)
	for _, want := range []string{"manual", "qmp", "redfish", "ipmi", "vmware", "fence_ipmilan", "fence_dummy"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among the agents", want)
		}
	}
	find := func(d Description, name string) ParamDescription {
		i := slices.IndexFunc(d.Params, func(p ParamDescription) bool { return p.Name == name })
		if i < 0 {
			t.Fatalf("%s has no parameter %s", d.Name, name)
		}
		return d.Params[i]
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d, err := Describe(ctx, nil, "fence_ipmilan")
	if err != nil {
		t.Fatal(err)
	}
	if p := find(d, "password"); !p.Secret || !slices.Contains(p.Aliases, "passwd") || d.Path != "/usr/sbin/fence_ipmilan" || d.Unfit != "" {
		t.Errorf("%+v of %+v", p, d)
	}
	if p := find(d, "power_timeout"); p.Default == "" {
		t.Errorf("%+v", p)
	}
	d, err = Describe(ctx, nil, "vmware")
	if err != nil {
		t.Fatal(err)
	}
	if p := find(d, "plug"); !p.Required || !slices.Contains(p.Aliases, "vmname") || d.Path != "" {
		t.Errorf("%+v of %+v", p, d)
	}
	if d, err = Describe(ctx, nil, "fence_scsi"); err != nil || d.Unfit == "" {
		t.Errorf("fence_scsi: %+v, %v", d, err)
	}
	if _, err = Describe(ctx, nil, "fence_nowhere"); err == nil {
		t.Error("fence_nowhere: no error")
	}
	// A program that answers nothing is no reason to hang.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "fence_hang"), []byte("#!/bin/sh\nexec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	short, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if _, err = Describe(short, []string{dir}, "fence_hang"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("fence_hang: %v", err)
	}
}
