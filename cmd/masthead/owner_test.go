package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/node/wire"
)

func TestOwnerCommands(t *testing.T) {
	owner := whole()
	tests := 0
	flags := headWith(t, map[string]any{
		"GET /api/v1/owner":   owner,
		"GET /api/v1/heads":   []wire.HeadStatus{{Name: "vapp1"}, {Name: "vapp2"}},
		"GET /api/v1/cluster": wire.ClusterConfig{Version: 3, Text: "name: VMCluster # ours\n", By: "admin"},
		"PUT /api/v1/cluster": func(r *http.Request) any {
			var c wire.ClusterChange
			if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
				t.Error(err)
			}
			changed := wire.ClusterChanged{Version: 3, Diff: []string{"- name: VMCluster # ours", "+ " + strings.TrimSpace(c.Text)}, Warning: []string{"two heads without fencing"}}
			if !c.DryRun {
				changed.Version, changed.Applied = 4, true
			}
			return changed
		},
		"PUT /api/v1/cluster/secrets/bmc": wire.ClusterSecretKept{Name: "bmc"},
		"GET /api/v1/cluster/secrets":     []wire.ClusterSecretState{{Name: "bmc", Kept: true, Named: true}, {Name: "mail", Named: true}, {Name: "old", Kept: true}},
		"DELETE /api/v1/cluster/secrets/old": func(r *http.Request) any {
			return wire.ClusterSecretRemoved{Name: "old", Applied: !r.URL.Query().Has("dry_run")}
		},
		"POST /api/v1/services/VirtualHTTP": func(r *http.Request) any {
			var c wire.ServiceChange
			if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
				t.Error(err)
			}
			if c.Action == "relocate" {
				return wire.ServiceChanged{Name: "VirtualHTTP", Applied: !c.DryRun, Switched: &wire.SwitchAnswer{From: "vapp1", To: c.To, Epoch: "8.1", Seconds: 0.041, Moves: []string{"10.1.4.150", "service VirtualHTTP"}}}
			}
			return wire.ServiceChanged{Name: "VirtualHTTP", Wish: "disabled", Before: "enabled", Applied: !c.DryRun}
		},
		"POST /api/v1/owner/switch":           wire.Problem{Status: http.StatusConflict, Detail: "nobody owns the cluster", Try: "masthead status --why"},
		"POST /api/v1/owner/confirm-dead":     wire.OwnerStatus{Why: wire.OwnerWhy{Summary: "its data is older"}},
		"POST /api/v1/owner/fence-test/vapp2": []wire.FenceState{{Head: "vapp2", Level: 1, Device: "bmc2", Agent: "redfish", Power: "on"}},
		"POST /api/v1/owner/fence-test/vapp3": func(*http.Request) any {
			tests++
			return []wire.FenceState{{Head: "vapp3", Level: 1, Device: "pdu", Agent: "fence_apc", Asking: tests < 3, Trouble: "timed out"}}
		},
		"GET /api/v1/fence/agents": []string{"qmp", "fence_apc"},
		"GET /api/v1/fence/agents/fence_apc": wire.FenceAgent{Name: "fence_apc", Path: "/usr/sbin/fence_apc", Summary: "Fence agent for APC", Params: []wire.FenceParam{
			{Name: "ip", Required: true, Aliases: []string{"ipaddr"}, Text: "Address"}, {Name: "password", Secret: true}, {Name: "delay", Default: "0", Text: "Wait"},
		}},
	})
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(file, []byte("name: other\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("name: other\nvpis: []\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	services := `
 Service Name         Owner (Last)  State
 ------- ----         ----- ------  -----
 service:VirtualHTTP  vapp1         started
 service:db           (vapp2)       failed: mariadb: exit status 1
`
	for _, test := range []struct {
		args   string
		code   int
		out    string // all of standard output; "…": anything
		errors []string
	}{
		{"service list", 0, services, nil},
		{"service show nosuch", exitFailed, "", []string{`there is no service "nosuch"`, "try: masthead service list"}},
		{"service disable VirtualHTTP", 0, "service VirtualHTTP is to be stopped, until it is enabled (was: enabled)\n", nil},
		{"service disable VirtualHTTP --dry-run", 0, "service VirtualHTTP would be stopped, until it is enabled (was: enabled)\n", nil},
		{"service relocate VirtualHTTP vapp2", 0, "vapp2 owns the cluster, epoch 8.1, after 41 ms\n", nil},
		{"service relocate VirtualHTTP vapp2 --dry-run", 0, "would move from vapp1 to vapp2: 10.1.4.150, service VirtualHTTP\n", nil},
		{"service relocate a b c", exitUsage, "", []string{"want 1 or 2 arguments, got 3", "try: masthead service relocate --help"}},
		{"head switch --to vapp2", exitFailed, "", []string{"nobody owns the cluster", "try: masthead status --why"}},
		{"promote", exitFailed, "", []string{"vapp1 owns the cluster already, epoch 7.2"}},
		{"fence confirm-dead vapp2", exitFailed, "", []string{"nobody is there to confirm it", "try: masthead fence confirm-dead vapp2 --yes"}},
		{"fence confirm-dead vapp2 --yes", exitFailed, "", []string{"nobody owns the cluster yet: its data is older", "try: masthead status --why"}},
		{"fence test vapp2", 0, "\n Fence Of  Level  Device          Power  Asked  Note\n ----- --  -----  ------          -----  -----  ----\n vapp2     1      bmc2 (redfish)  on     never  \n", nil},
		{"fence test vapp3", exitFailed, "…", []string{"still waits for pdu", "device pdu of vapp3 cannot be relied on: timed out", "try: masthead cluster edit"}},
		{"fence agents", 0, "qmp\nfence_apc\n", nil},
		{"fence show fence_apc", 0, `fence_apc: Fence agent for APC
program: /usr/sbin/fence_apc

 Parameter  Default  Meaning
 ---------  -------  -------
 ip         -        Address (required; also ipaddr)
 password   -        (as secret:NAME)
 delay      0        Wait
`, nil},
		{"cluster show", 0, "name: VMCluster # ours\n", []string{"version 3, by admin"}},
		{"cluster set " + file + " --dry-run", 0, "would change version 3\n- name: VMCluster # ours\n+ name: other\n", []string{"warning: two heads without fencing"}},
		{"cluster set " + file, 0, "version 4 of the configuration is in force\n- name: VMCluster # ours\n+ name: other\n", nil},
		{"cluster set " + bad, exitFailed, "", []string{bad + ":2: vpis: no such field"}},
		{"cluster edit", exitFailed, "", []string{"there is no terminal to edit on", "try: masthead cluster show > cluster.yaml"}},
		{"cluster secret bmc --file " + file, 0, "secret bmc is kept\n", []string{"the configuration does not use it yet: write secret:bmc"}},
		{"cluster secret list", 0, "\n Secret  Kept  Used\n ------  ----  ----\n bmc     yes   yes\n mail    no    yes\n old     yes   no\n", nil},
		{"cluster secret rm old --dry-run", 0, "secret old would be removed\n", nil},
		{"cluster secret rm old", 0, "secret old is removed\n", nil},
		{"cluster secret rm", exitUsage, "", []string{"want 1 argument NAME, got 0", "try: masthead cluster secret rm --help"}},
		{"__complete cluster secret rm ", 0, "old\n:4\n", nil},
		{"__complete head switch --to ", 0, "vapp1\nvapp2\n:4\n", nil},
		{"__complete fence test ", 0, "vapp1\nvapp2\n:4\n", nil},
		{"__complete fence confirm-dead ", 0, "vapp1\nvapp2\n:4\n", nil},
		{"__complete fence show ", 0, "qmp\nfence_apc\n:4\n", nil},
		{"__complete service enable ", 0, "VirtualHTTP\ndb\n:4\n", nil},
		{"__complete service relocate db ", 0, "vapp1\nvapp2\n:4\n", nil},
	} {
		words := strings.Split(test.args, " ")
		args := append(append([]string{}, flags...), words...)
		if words[0] == "__complete" {
			args = append(append([]string{"__complete"}, flags...), words[1:]...)
		}
		stdout, stderr, code := invoke(t, args...)
		if code != test.code {
			t.Errorf("%s: exit code %d, want %d: %s", test.args, code, test.code, stderr)
		}
		if diff := cmp.Diff(test.out, stdout); diff != "" && test.out != "…" {
			t.Errorf("%s: %s", test.args, diff)
		}
		for _, want := range test.errors {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: does not say %q: %s", test.args, want, stderr)
			}
		}
	}
	// JSON wherever something is shown.
	for _, args := range []string{
		"service list", "service show VirtualHTTP", "service disable VirtualHTTP", "service relocate VirtualHTTP vapp2", "fence list", "fence test vapp2", "fence agents",
		"fence show fence_apc", "fence confirm-dead vapp2 --yes", "cluster show", "cluster set " + file + " --dry-run", "cluster secret bmc --file " + file, "cluster secret list",
		"cluster secret rm old", "cluster secret rm old --dry-run", "status --why",
	} {
		stdout, stderr, code := invoke(t, append(append([]string{}, flags...), append(strings.Split(args, " "), "-o", "json")...)...)
		if code != 0 || !json.Valid([]byte(stdout)) {
			t.Errorf("%s -o json: exit code %d: %s%s", args, code, stdout, stderr)
		}
	}
}

func TestManualPagesOfOwnership(t *testing.T) {
	dir := t.TempDir()
	if _, stderr, code := invoke(t, "man", dir); code != 0 {
		t.Fatal(stderr)
	}
	for _, page := range []string{
		"masthead-status", "masthead-service-relocate", "masthead-fence-test", "masthead-fence-agents", "masthead-fence-show", "masthead-fence-confirm-dead", "masthead-head-switch",
		"masthead-promote", "masthead-cluster-set", "masthead-cluster-secret", "masthead-cluster-secret-list", "masthead-cluster-secret-rm", "masthead-import-cluster.conf", "masthead-import-heartbeat", "masthead-import-mon", "masthead-owner-run",
	} {
		if text, err := os.ReadFile(filepath.Join(dir, page+".1")); err != nil || len(text) < 500 {
			t.Errorf("%s: %d bytes, %v", page, len(text), err)
		}
	}
}
