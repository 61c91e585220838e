package script

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"masthead/appliance/fence/param"
	"masthead/vmtest/prerequisite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	text, err := os.ReadFile("testdata/metadata.xml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	want := Metadata{
		Name: "fence_example", Summary: "Fence agent for examples", Description: "It switches outlets.",
		Params: []Param{
			{Name: "action", Type: "string", Required: true, Default: "reboot", Text: "Fencing action"},
			{Name: "ip", Type: "string", Required: true, Obsoletes: "ipaddr", Text: "Address"},
			{Name: "ipaddr", Type: "string", Required: true, Deprecated: true},
			{Name: "plug", Type: "string", Required: true, Obsoletes: "port", Text: "Outlet"},
			{Name: "port", Required: true, Deprecated: true},
			{Name: "power_timeout", Type: "second", Required: true, Default: "20"},
			{Name: "secure", Type: "boolean"},
			{Name: "old", Deprecated: true},
		},
		Actions: []Action{{Name: "on"}, {Name: "off"}, {Name: "status"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	wantSet := param.Set{
		{Name: "ip", Aliases: []string{"ipaddr"}, Required: true, Text: "Address"},
		{Name: "plug", Aliases: []string{"port"}, Required: true, Text: "Outlet"},
		{Name: "power_timeout"},
		{Name: "secure", Kind: param.Flag},
		{Name: "old"},
	}
	if diff := cmp.Diff(wantSet, got.Set()); diff != "" {
		t.Errorf("set (-want +got):\n%s", diff)
	}
	if err := got.Fit(); err != nil {
		t.Error(err)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "text": "Usage: fence_x", "other": "<html></html>", "cut off": "<resource-agent><actions>",
		"no actions": "<resource-agent></resource-agent>",
		"line break": "<resource-agent><parameters><parameter name=\"a&#10;action=reboot\"/></parameters><actions><action name=\"off\"/></actions></resource-agent>",
	} {
		if m, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func TestFit(t *testing.T) {
	for want, m := range map[string]Metadata{
		"no status":                 {Actions: []Action{{Name: "off"}, {Name: "monitor"}}},
		"cannot switch off":         {Actions: []Action{{Name: "status"}}},
		"instead of switching it o": {Actions: []Action{{"on", true}, {"off", false}, {"status", false}}},
	} {
		if err := m.Fit(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", m, err, want)
		}
	}
}

// TestDebian reads the metadata of every agent that Debian ships.
func TestDebian(t *testing.T) {
	prerequisite.Programs(t, "/usr/sbin/fence_dummy")
	fit, unfit := map[string]bool{}, map[string]string{}
	for _, name := range []string{"fence_dummy", "fence_ipmilan", "fence_redfish", "fence_apc", "fence_vmware_soap", "fence_virsh", "fence_scsi", "fence_kdump", "fence_heuristics_ping"} {
		path := filepath.Join("/usr/sbin", name)
		if !executable(path) {
			continue // packages differ in what they have
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		m, err := Describe(ctx, path)
		cancel()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := m.Fit(); err != nil {
			unfit[name] = err.Error()
		} else {
			fit[name] = true
		}
	}
	if diff := cmp.Diff(map[string]bool{"fence_dummy": true, "fence_ipmilan": true, "fence_redfish": true, "fence_apc": true, "fence_vmware_soap": true, "fence_virsh": true}, fit); diff != "" {
		t.Errorf("fit (-want +got):\n%s", diff)
	}
	cuts := "it cuts the machine off from a disk or a network instead of switching it off, and the machine would keep the rest"
	mute := "it has no status, so nothing would prove that the machine is off"
	if diff := cmp.Diff(map[string]string{"fence_scsi": cuts, "fence_kdump": mute, "fence_heuristics_ping": mute}, unfit); diff != "" {
		t.Errorf("unfit (-want +got):\n%s", diff)
	}
}

// FuzzParse: metadata comes from programs that may be anything.
func FuzzParse(f *testing.F) {
	text, err := os.ReadFile("testdata/metadata.xml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("<resource-agent><parameters><parameter name='a' obsoletes='a'/></parameters><actions><action name='off'/></actions></resource-agent>"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil {
			return
		}
		given := map[string]string{}
		for _, p := range m.Set() {
			if p.Name == "action" || param.Plain(p.Name, "") != nil {
				t.Errorf("parameter %q", p.Name)
			}
			given[p.Name] = "1"
		}
		if m.Fit() != nil || given["missing_as_off"] != "" || given["missing-as-off"] != "" {
			return
		}
		a, err := New("/x", &m, given)
		if err != nil {
			t.Fatal(err)
		}
		reboot := 0
		for _, line := range a.lines("off") {
			if strings.ContainsAny(line, "\n\r") {
				t.Errorf("line %q", line)
			}
			if name, value, _ := strings.Cut(line, "="); value == "off" && name != "" {
				reboot++
			}
		}
		if reboot == 0 {
			t.Error("no action: a reboot")
		}
	})
}
