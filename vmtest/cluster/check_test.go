package cluster

import (
	"slices"
	"strings"
	"testing"

	"masthead/images"
	"masthead/vmtest"
)

func TestCheck(t *testing.T) {
	api := map[string]int{HTTPS: 443}
	head := vmtest.MachineConfig{Role: "head", Forward: api}
	for _, tt := range []struct {
		name     string
		machines map[string]vmtest.MachineConfig
		heads    int
		want     []string // parts of the error; none: it is right
	}{
		{"one head", map[string]vmtest.MachineConfig{"head1": head, "n01": {Role: "worker"}}, 1, nil},
		{"none", map[string]vmtest.MachineConfig{"n01": {Role: "worker"}}, 1, []string{"want 1 machine with role: head that comes up with the lab, got 0"}},
		{"the only one is off", map[string]vmtest.MachineConfig{"head1": {Role: "head", Forward: api, Off: true}}, 1, []string{"got 0"}},
		{"no port", map[string]vmtest.MachineConfig{"head1": {Role: "head", Forward: map[string]int{"ssh": 22}}}, 1, []string{"machines.head1.forward: want {https: 443}"}},
		{"no port of the second", map[string]vmtest.MachineConfig{"head1": head, "head2": {Role: "head"}}, 1, nil},
		{"the first is off", map[string]vmtest.MachineConfig{"head1": {Role: "head", Off: true}, "head2": head}, 1, nil},
		{"a takeover", map[string]vmtest.MachineConfig{"head1": head, "head2": head}, 2, nil},
		{"a takeover alone", map[string]vmtest.MachineConfig{"head1": {Role: "head"}}, 2, []string{"want 2 machines", "machines.head1.forward"}},
	} {
		err := Check(vmtest.Config{Machines: tt.machines}, tt.heads)
		if (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", tt.name, err, want)
			}
		}
	}
}

// What a lab file has off does not come up with the lab, whatever Prepare has off until its time.
func TestStarting(t *testing.T) {
	c := &Cluster{file: vmtest.Config{Machines: map[string]vmtest.MachineConfig{
		"head1": {Role: "head"}, "head2": {Role: "head", Off: true}, "head3": {Role: "head"}, "n01": {Role: "worker"}, "n02": {Role: "worker", Off: true},
	}}}
	if got, want := c.Starting(images.RoleHead), []string{"head1", "head3"}; !slices.Equal(got, want) {
		t.Errorf("heads %q, want %q", got, want)
	}
	if got, want := c.Starting(images.RoleWorker), []string{"n01"}; !slices.Equal(got, want) {
		t.Errorf("workers %q, want %q", got, want)
	}
}

// The first head that comes up is the one that others join, also where one before it is off.
func TestPrepareFirstHead(t *testing.T) {
	config, _, err := Prepare(vmtest.Config{Name: "x", Machines: map[string]vmtest.MachineConfig{
		"head1": {Role: "head", Off: true}, "head2": {Role: "head"}, "head3": {Role: "head"},
	}}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, off := range map[string]bool{"head1": true, "head2": false, "head3": true} {
		if got := config.Machines[name].Off; got != off {
			t.Errorf("%s: off %t, want %t", name, got, off)
		}
	}
}
