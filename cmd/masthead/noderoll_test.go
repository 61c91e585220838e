package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/images"
	"masthead/node/wire"
)

var rollOld, rollNew = images.DigestOf([]byte("old")), images.DigestOf([]byte("new"))

// rollHead is a head whose nodes restart as soon as they are told to.
type rollHead struct {
	mu       sync.Mutex
	nodes    []wire.Node
	versions []wire.ImageVersion
	cluster  string
	broken   []string          // nodes whose boot fails with the new image
	deaf     []string          // nodes on which the command fails
	check    map[string]int    // exit codes of the check
	did      []string          // what was asked for, in order
	waves    []string          // the nodes that were told to restart
	cause    map[string]string // of failed boots
}

func newRollHead(names ...string) *rollHead {
	h := &rollHead{versions: []wire.ImageVersion{{Digest: rollOld, Role: images.RoleWorker}, {Digest: rollNew, Role: images.RoleWorker}}, cause: map[string]string{}}
	for _, name := range names {
		h.nodes = append(h.nodes, wire.Node{Name: name, Phase: wire.PhaseUp, Boot: "b1", Running: rollOld, Approved: true})
	}
	return h
}

func (h *rollHead) wanted() images.Digest { return h.versions[len(h.versions)-1].Digest }

func (h *rollHead) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	answer := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	for i := range h.nodes {
		n := &h.nodes[i]
		n.Wanted = h.wanted()
		n.NeedsReboot = n.Phase == wire.PhaseUp && n.Running != n.Wanted
	}
	name, why := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, wire.PathNode), "/why")
	switch {
	case r.URL.Path == wire.PathNodes:
		answer(h.chosen(r.URL.Query().Get("set")))
	case why:
		answer(wire.Why{Stages: []wire.StageResult{{Stage: wire.StageHandover, Outcome: wire.OutcomeFailed, Cause: h.cause[name]}}})
	case r.URL.Path == wire.PathCluster:
		answer(wire.ClusterConfig{Text: h.cluster})
	case r.URL.Path == wire.PathImages:
		answer([]wire.Image{{Tag: "worker", Digest: h.wanted(), Role: images.RoleWorker}, {Tag: "head", Role: images.RoleHead}})
	case r.URL.Path == wire.PathImage+"worker":
		answer(wire.ImageTag{Versions: h.versions})
	case r.URL.Path == wire.PathImage+"worker/rollback":
		h.did = append(h.did, "rollback")
		now := h.wanted()
		h.versions = append(h.versions, h.versions[len(h.versions)-2])
		h.settle()
		answer(wire.ImageChanged{Tag: "worker", Old: now, New: h.wanted(), Applied: true})
	case r.URL.Path == wire.PathCommands:
		line, _ := bufio.NewReader(r.Body).ReadBytes('\n')
		var req wire.CommandRequest
		_ = json.Unmarshal(line, &req)
		h.command(req, func(e wire.CommandEvent) { answer(e) })
	default:
		http.NotFound(w, r)
	}
}

func (h *rollHead) chosen(set string) []wire.Node {
	all := []wire.Node{}
	for _, n := range h.nodes {
		if set == "" || set == "@all" || slices.Contains(strings.Split(set, ","), n.Name) || set == "needs-reboot=true" && n.NeedsReboot {
			all = append(all, n)
		}
	}
	return all
}

// settle lets the nodes that fail start again by themselves.
func (h *rollHead) settle() {
	for i := range h.nodes {
		if n := &h.nodes[i]; n.Phase == wire.PhaseFailed {
			n.Phase, n.Boot, n.Running = wire.PhaseUp, n.Boot+"+", h.wanted()
		}
	}
}

func (h *rollHead) command(req wire.CommandRequest, tell func(wire.CommandEvent)) {
	names := strings.Split(req.Nodes, ",")
	restart := strings.Contains(req.Command.Shell+strings.Join(req.Command.Argv, " "), "masthead reboot")
	if restart {
		h.waves = append(h.waves, req.Nodes)
	} else {
		h.did = append(h.did, "check "+req.Nodes+": "+req.Command.Shell)
	}
	tell(wire.CommandEvent{Plan: &wire.CommandPlan{Nodes: names}})
	for _, name := range names {
		done := wire.CommandResult{}
		switch i := slices.IndexFunc(h.nodes, func(n wire.Node) bool { return n.Name == name }); {
		case !restart:
			done.Exit = h.check[name]
			tell(wire.CommandEvent{Node: name, Stderr: []byte("not well\nat all\n")})
		case slices.Contains(h.deaf, name):
			done.Exit = 1
			tell(wire.CommandEvent{Node: name, Stderr: []byte("error: kexec: load kernel: permission denied\n")})
		case slices.Contains(h.broken, name) && h.wanted() == rollNew:
			h.nodes[i].Phase, h.nodes[i].Boot, h.nodes[i].Stage, h.nodes[i].Running = wire.PhaseFailed, "b2", wire.StageHandover, rollNew
			h.cause[name] = "the root has no init"
			done.Error = "the connection to the node was lost"
		default:
			tell(wire.CommandEvent{Node: name, Stderr: []byte("error: soft reboot: the image has another kernel\ntry: masthead reboot --kexec\n")})
			tell(wire.CommandEvent{Node: name, Stdout: []byte("restarting by kexec into worker, kernel 6.1\n")})
			h.nodes[i].Boot, h.nodes[i].Running = h.nodes[i].Boot+"+", h.wanted()
		}
		tell(wire.CommandEvent{Node: name, Done: &done})
	}
}

// runOnHead runs 'masthead ARGS' against a head.
func runOnHead(t *testing.T, h http.Handler, args ...string) (stdout, said string, err error) {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	defer srv.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errw bytes.Buffer
	head := []string{"--head", srv.URL, "--ca", string(images.DigestOf(srv.Certificate().Raw)), "--token-file", token}
	err = run(t.Context(), append(head, args...), strings.NewReader(""), &out, &errw)
	report(&errw, err)
	return out.String(), errw.String(), err
}

func TestRoll(t *testing.T) {
	h := newRollHead("n01", "n02", "n03", "n04", "n05")
	h.nodes[1].Running, h.nodes[3].Phase = rollNew, wire.PhaseDown
	out, said, err := runOnHead(t, h, "node", "roll", "@all", "--wave", "2", "--check", "true")
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, said)
	}
	for _, want := range []string{"skipped n02: up with the image already", "skipped n04: off or silent", "wave 1: restarting n[01,03]", "  n01: restarting by kexec into worker, kernel 6.1\n", "n03 is up with " + rollNew.Short(), "wave 2: restarting n05", "done: 3 of 3"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if want := []string{"n01,n03", "n05"}; !slices.Equal(h.waves, want) {
		t.Errorf("waves %q, want %q", h.waves, want)
	}
	if want := []string{"check n01,n03: true", "check n05: true"}; !slices.Equal(h.did, want) {
		t.Errorf("checks %q, want %q", h.did, want)
	}
	if out, _, err := runOnHead(t, h, "node", "roll", "needs-reboot=true"); err != nil || !strings.Contains(out, "nothing to do") {
		t.Errorf("again: %v\n%s", err, out)
	}
}

func TestRollStopsAndGoesBack(t *testing.T) {
	h := newRollHead("n01", "n02", "n03")
	h.broken = []string{"n02"}
	out, said, err := runOnHead(t, h, "node", "roll", "@all", "--wave", "1")
	want := "error: wave 2 (n02) is bad, the roll stops\n  n02: its boot failed at stage handover: the root has no init\n" +
		"try: masthead node why n02; to go back: masthead node roll --back 'n[01-02]'\n"
	if diff := cmp.Diff(want, said); err == nil || diff != "" {
		t.Fatalf("%v (-want +got):\n%s\n%s", err, diff, out)
	}
	if want := []string{"n01", "n02"}; !slices.Equal(h.waves, want) {
		t.Errorf("waves %q, want %q", h.waves, want)
	}
	if out, _, err := runOnHead(t, h, "node", "roll", "--back", "--dry-run", "n01,n02"); err != nil || !strings.Contains(out, "would go back: worker: "+rollNew.Short()+" -> "+rollOld.Short()) || !strings.Contains(out, "would wait for n02") || len(h.did) > 0 {
		t.Errorf("dry run: %v, %q\n%s", err, h.did, out)
	}
	out, said, err = runOnHead(t, h, "node", "roll", "--back", "n01,n02")
	if err != nil || !strings.Contains(out, "back: worker: "+rollNew.Short()+" -> "+rollOld.Short()) || !strings.Contains(out, "wave 1: restarting n01") {
		t.Errorf("back: %v\n%s%s", err, out, said)
	}
	for _, n := range h.nodes {
		if n.Running != rollOld || n.Phase != wire.PhaseUp {
			t.Errorf("%s: %s with %s", n.Name, n.Phase, n.Running.Short())
		}
	}
	// Once more does not bring the bad image again.
	out, _, err = runOnHead(t, h, "node", "roll", "--back", "n01,n02")
	if err != nil || !strings.Contains(out, "again already") || h.wanted() != rollOld || !slices.Equal(h.did, []string{"rollback"}) {
		t.Errorf("back again: %v, %q\n%s", err, h.did, out)
	}
}

func TestRollFailures(t *testing.T) {
	h := newRollHead("n01", "n02", "n03")
	h.deaf, h.check = []string{"n01"}, map[string]int{"n03": 3}
	out, said, err := runOnHead(t, h, "node", "roll", "@all", "--wave", "100%", "--check", "well", "--max-failed", "1", "-o", "json")
	if err == nil || !strings.Contains(said, "n01: it does not restart: error: kexec: load kernel: permission denied") || !strings.Contains(said, "n03: check: exit status 3: not well\n") {
		t.Errorf("%v\n%s", err, said)
	}
	var got rollReport
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Waves) != 1 || len(got.Waves[0].Bad) != 2 || got.Stopped == "" {
		t.Errorf("report: %v\n%s", err, out)
	}
	if diff := cmp.Diff(map[string]string{"n02": "kexec", "n03": "kexec"}, got.Waves[0].Methods); diff != "" {
		t.Errorf("methods (-want +got):\n%s", diff)
	}
	h = newRollHead("n01", "n02")
	h.deaf = []string{"n01"}
	if out, said, err := runOnHead(t, h, "node", "roll", "@all", "--wave", "1", "--max-failed", "1"); err != nil || !strings.Contains(out, "done: 1 of 2") {
		t.Errorf("one bad node that is borne: %v\n%s%s", err, out, said)
	}
}

func TestRollKeepsWitnesses(t *testing.T) {
	h := newRollHead("n01", "n02", "n03", "n04")
	h.cluster = "witnesses: [n01, n02, n03]\n"
	if out, said, err := runOnHead(t, h, "node", "roll", "@all", "--wave", "100%"); err != nil || !slices.Equal(h.waves, []string{"n01,n04", "n02", "n03"}) {
		t.Errorf("waves %q, %v\n%s%s", h.waves, err, out, said)
	}
	h = newRollHead("n01", "n02", "n03")
	h.cluster = "witnesses: [n01, n02, n03]\n"
	h.nodes[2].Phase = wire.PhaseDown
	if _, said, err := runOnHead(t, h, "node", "roll", "@all"); err == nil || !strings.Contains(said, "no majority of the 3: n03 away already\ntry: masthead node why n03\n") || len(h.waves) > 0 {
		t.Errorf("%v, waves %q\n%s", err, h.waves, said)
	}
}

// TestRollMethods: how nodes restarted is in the record, from what masthead reboot says of it.
func TestRollMethods(t *testing.T) {
	tests := []struct{ said, how, method string }{
		{saysSoft + " into worker 12ab\n", "restarting softly into worker 12ab", "soft"},
		{"error: no\ntry: x\n" + saysKexec + " into worker, kernel 6.1\n", "restarting by kexec into worker, kernel 6.1", "kexec"},
		{saysFirmware + "\n", "restarting through the firmware", "firmware"},
		{saysSoft + " into worker\nerror: no\n" + saysFirmware + "\n", "restarting through the firmware", "firmware"},
		{"", "", ""},
	}
	for _, tt := range tests {
		if how, method := (&answer{out: []byte(tt.said)}).how(); how != tt.how || method != tt.method {
			t.Errorf("%q: got %q, %q", tt.said, how, method)
		}
	}
	h := newRollHead("n01", "n02")
	h.broken = []string{"n02"}
	out, _, _ := runOnHead(t, h, "node", "roll", "@all", "--wave", "2", "--max-failed", "1", "-o", "json")
	var got rollReport
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Waves) != 1 || !maps.Equal(got.Waves[0].Methods, map[string]string{"n01": "kexec", "n02": "unknown"}) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRollUsage(t *testing.T) {
	for _, args := range [][]string{{"--method", "magic"}, {"--wave", "0"}, {"--max-failed", "-1"}} {
		_, said, err := runOnHead(t, newRollHead("n01"), append([]string{"node", "roll", "@all"}, args...)...)
		if report(new(bytes.Buffer), err) != exitUsage {
			t.Errorf("%v: %v\n%s", args, err, said)
		}
	}
}
