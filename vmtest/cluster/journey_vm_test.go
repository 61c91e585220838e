package cluster

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/vmtest"
)

// TestVMInstallToTakeover goes the whole way of an administrator with two blank machines, as `masthead lab test
// install-to-takeover` does.
func TestVMInstallToTakeover(t *testing.T) {
	long(t)
	turn := awaitTurn(t, fenced, 4)
	definition, err := filepath.Abs("../head-data.yaml")
	must(t, err)
	config, err := vmtest.Load("../install.yaml")
	must(t, err)
	m := config.Machines["head1"]
	m.ISO = iso(t, definition)
	config.Machines["head1"] = m
	c := turn.start(t, config)
	j, err := NewJourney(c.Cluster, vip)
	must(t, err)
	err = j.Run(t.Context(), func(step, what string) { t.Logf("%s: %s", step, what) }, func(p Passed) {
		t.Logf("%s: %s; %s owns, epoch %s, silent for %.0f ms, %d writes, %d lost, took %.0f s", p.Step, p.Found, p.Owner, p.Epoch, p.Gap, p.Writes, p.Lost, p.Took)
	})
	must(t, err)
}

// A cluster of one head is told neither of the other nor of what is the lab's own.
func TestAlone(t *testing.T) {
	config, err := vmtest.Load("../install.yaml")
	must(t, err)
	text, err := alone(config.Cluster)
	must(t, err)
	want := "data:\n    - folders:\n        - /cluster\n        - /srv\n        - /var/lib/mysql\n      name: data\n      resync_rate: 10M\n      size: 384M\n" +
		"name: install\nservices:\n    - name: db\n      resources:\n        - data:\n            volume: data\n          name: volume\n        - name: mariadb\n          unit:\n            name: lab-db\n" +
		"vips:\n    - address: 10.77.0.100/24\n"
	if diff := cmp.Diff(want, text); diff != "" {
		t.Error(diff)
	}
}

func TestCables(t *testing.T) {
	text := "heads:\n  head1: {serial: [{device: /dev/ttyS1}]}\n  head2: {}\n"
	for head, want := range map[string]int{"head1": 1, "head2": 0, "head3": 0} {
		if got, err := cables(text, head); got != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", head, got, err, want)
		}
	}
}
