package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/images"
	"masthead/node/wire"
)

// commandHead is a head that takes commands, and answers with given events.
type commandHead struct {
	answer  []wire.CommandEvent
	request wire.CommandRequest
	input   []byte
}

func (h *commandHead) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	line, input, _ := bytes.Cut(body, []byte("\n"))
	h.request, h.input = wire.CommandRequest{}, input
	if err := json.Unmarshal(line, &h.request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, e := range h.answer {
		_ = json.NewEncoder(w).Encode(e)
	}
}

// onNodes runs 'masthead node ARGS' against the head, with that standard input.
func onNodes(t *testing.T, h *commandHead, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	defer srv.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errw bytes.Buffer
	head := []string{"--head", srv.URL, "--ca", string(images.DigestOf(srv.Certificate().Raw)), "--token-file", token, "node"}
	err = run(t.Context(), append(head, args...), strings.NewReader(stdin), &out, &errw)
	return out.String(), errw.String(), err
}

func planOf(nodes ...string) wire.CommandEvent {
	return wire.CommandEvent{Plan: &wire.CommandPlan{Nodes: nodes, Heads: map[string][]string{"head1": nodes}}}
}

func said(node, text string) wire.CommandEvent {
	return wire.CommandEvent{Node: node, Stdout: []byte(text)}
}

func ended(node string, exit int, text string) wire.CommandEvent {
	return wire.CommandEvent{Node: node, Done: &wire.CommandResult{Exit: exit, Error: text}}
}

func TestExecFolds(t *testing.T) {
	h := &commandHead{answer: []wire.CommandEvent{
		planOf("n01", "n02", "n03", "n04", "n05"),
		{Note: "head head2 does not answer: connection refused"},
		{Node: "n05", Done: &wire.CommandResult{Error: "no head that answers reaches it", Try: "masthead node why n05"}},
		said("n03", "6.12\n"), said("n02", "6.1"), said("n01", "6.12\n"), said("n02", "\n"),
		{Node: "n04", Stderr: []byte("uname: broken\n")},
		ended("n01", 0, ""), ended("n02", 0, ""), ended("n03", 0, ""), ended("n04", 2, ""),
	}}
	out, errw, err := onNodes(t, h, "", "exec", "n[01-05]", "--timeout", "7s", "--fanout", "3", "--env", "A=1", "--", "uname", "-r")
	want := rule + "\nn[01,03] (2)\n" + rule + "\n6.12\n" + rule + "\nn02\n" + rule + "\n6.1\n"
	if d := cmp.Diff(want, out); d != "" {
		t.Errorf("stdout (-want +got):\n%s", d)
	}
	if d := cmp.Diff("head head2 does not answer: connection refused\nn04: uname: broken\n", errw); d != "" {
		t.Errorf("stderr (-want +got):\n%s", d)
	}
	var said bytes.Buffer
	if code := report(&said, err); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	wantErr := "error: 2 of 5 nodes failed\n  n04: exit status 2\n  n05: no head that answers reaches it\ntry: masthead node why n05\n"
	if d := cmp.Diff(wantErr, said.String()); d != "" {
		t.Errorf("error (-want +got):\n%s", d)
	}
	wantReq := wire.CommandRequest{Nodes: "n[01-05]", Fanout: 3,
		Command: wire.Command{Kind: wire.CommandExec, Argv: []string{"uname", "-r"}, Env: []string{"A=1"}, Timeout: 7, Output: wire.DefaultCommandOutput}}
	if d := cmp.Diff(wantReq, h.request); d != "" {
		t.Errorf("request (-want +got):\n%s", d)
	}
}

func TestExecLabels(t *testing.T) {
	h := &commandHead{answer: []wire.CommandEvent{
		planOf("n01", "n02"), said("n01", "a\nb"), said("n02", "x\n"), said("n01", "c\nlast"), ended("n01", 0, ""), ended("n02", 0, ""),
	}}
	out, _, err := onNodes(t, h, "", "exec", "n[01-02]", "-l", "--", "cat /etc/issue")
	if d := cmp.Diff("n01: a\nn02: x\nn01: bc\nn01: last\n", out); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if h.request.Command.Shell != "cat /etc/issue" || h.request.Command.Argv != nil {
		t.Errorf("one argument is a line for the shell: %+v", h.request.Command)
	}
}

// One node is as if the command ran here; its input comes from here too.
func TestExecOfOneNode(t *testing.T) {
	h := &commandHead{answer: []wire.CommandEvent{planOf("n01"), said("n01", "no end of line"), {Node: "n01", Stderr: []byte("oops\n")}, ended("n01", 3, "")}}
	out, errw, err := onNodes(t, h, "to all", "exec", "n01", "--", "tee", "/x")
	if out != "no end of line" || errw != "oops\n" || err == nil || err.Error() != "n01: exit status 3" {
		t.Errorf("%q, %q, %v", out, errw, err)
	}
	if string(h.input) != "to all" {
		t.Errorf("input %q", h.input)
	}
	onNodes(t, h, "to all", "exec", "n01", "-n", "--", "tee", "/x")
	if len(h.input) != 0 {
		t.Errorf("-n sent %q", h.input)
	}
}

func TestExecJSON(t *testing.T) {
	h := &commandHead{answer: []wire.CommandEvent{planOf("n01", "n02"), said("n01", "hi\n"), ended("n01", 0, ""), ended("n02", 0, "lost")}}
	out, _, err := onNodes(t, h, "", "exec", "n[01-02]", "-o", "json", "--", "true")
	var got []replyJSON
	if e := json.Unmarshal([]byte(out), &got); e != nil || err == nil {
		t.Fatalf("%v, %v\n%s", e, err, out)
	}
	want := []replyJSON{{Node: "n01", Stdout: "hi\n"}, {Node: "n02", CommandResult: wire.CommandResult{Error: "lost"}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestExecDryRun(t *testing.T) {
	e := planOf("n01", "n02", "n03", "n04")
	e.Plan.Heads = map[string][]string{"head1": {"n01", "n02"}, "head2": {"n03"}}
	e.Plan.Absent, e.Plan.DryRun = map[string]string{"n04": "is down"}, true
	h := &commandHead{answer: []wire.CommandEvent{e}}
	out, _, err := onNodes(t, h, "", "exec", "@all", "--dry-run", "--", "reboot")
	want := "would run on 4 nodes: n[01-04]\n  through head1: n[01-02]\n  through head2: n03\n  reached by no head: n04, is down\n"
	if d := cmp.Diff(want, out); err != nil || d != "" || !h.request.DryRun {
		t.Errorf("%v, %+v (-want +got):\n%s", err, h.request, d)
	}
}

func TestExecThatBreaksOff(t *testing.T) {
	h := &commandHead{answer: []wire.CommandEvent{planOf("n01", "n02", "n03"), said("n01", "hi\n"), ended("n01", 0, "")}}
	out, _, err := onNodes(t, h, "", "exec", "n[01-03]", "--", "true")
	if !errors.Is(err, wire.ErrCut) || !strings.Contains(err.Error(), "2 nodes not through: n[02-03]") || !strings.Contains(out, "hi") {
		t.Errorf("%q, %v", out, err)
	}
	r := newReplies(&app{out: io.Discard, err: io.Discard}, false)
	p := planOf("n01", "n02")
	_ = r.event(p)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.end(ctx, context.Canceled); err == nil || err.Error() != "interrupted: 2 nodes not through: n[01-02]; what ran was killed" {
		t.Errorf("got %v", err)
	}
}

func TestExecUsage(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"exec", "n01", "uptime"}, "want one node set, -- and the command"},
		{[]string{"exec", "n01", "n02", "--", "uptime"}, "want one node set, -- and the command"},
		{[]string{"exec", "--", "n01", "uptime"}, "want one node set, -- and the command"},
		{[]string{"exec", "n01"}, "no command"},
		{[]string{"exec", "n01", "--fanout", "0", "--", "true"}, "--fanout 0"},
		{[]string{"exec", "n01", "--timeout", "0s", "--", "true"}, "timeout"},
		{[]string{"exec", "n01", "--script", "/nosuch"}, "no such file"},
		{[]string{"exec", "n01", "--script", empty}, "the script is empty"},
		{[]string{"copy", "n01", empty, "etc/x"}, "not an absolute path"},
		{[]string{"copy", "n01", "/nosuch", "/x"}, "no such file"},
		{[]string{"copy", "n01", "/dev/null", "/x"}, "neither a file, a folder nor a link"},
		{[]string{"script", "n01", "frob"}, `there is no "frob"`},
	} {
		h := &commandHead{}
		if _, _, err := onNodes(t, h, "", tc.args...); err == nil || !strings.Contains(err.Error(), tc.want) || h.request.Nodes != "" {
			t.Errorf("%v: %v, want %q and nothing sent", tc.args, err, tc.want)
		}
	}
}

func TestScriptAndFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fix.sh")
	if err := os.WriteFile(file, []byte("#!/bin/sh\nid\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h := &commandHead{answer: []wire.CommandEvent{planOf("n01"), ended("n01", 0, "")}}
	if _, _, err := onNodes(t, h, "in", "exec", "n01", "--script", file, "--", "a", "b"); err != nil {
		t.Fatal(err)
	}
	if c := h.request.Command; c.Script != "#!/bin/sh\nid\n" || len(c.Argv) != 2 || string(h.input) != "in" {
		t.Errorf("%+v, input %q", c, h.input)
	}
	if _, _, err := onNodes(t, h, "id\n", "exec", "n01", "--script", "-"); err != nil || h.request.Command.Script != "id\n" || len(h.input) != 0 {
		t.Errorf("%v, %+v, input %q", err, h.request.Command, h.input)
	}
	if _, _, err := onNodes(t, h, "", "script", "n01", "fetch_hosts"); err != nil || h.request.Command.Task != wire.TaskFetchHosts {
		t.Errorf("%v, %+v", err, h.request.Command)
	}
}

func TestCopy(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tools")
	for name, mode := range map[string]os.FileMode{"run": 0o755, "sub/data": 0o600} {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte("content of "+name), mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("run", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	all := []string{". 40755 ", "link 120777 run", "run 100755 content of run", "sub 40755 ", "sub/data 100600 content of sub/data"}
	for _, tc := range []struct {
		src, to, dest string
		want          []string
	}{
		{dir, "/opt/x", "/opt/x", all},
		{dir, "/opt/", "/opt/tools", all},
		{filepath.Join(dir, "run"), "/usr/bin/", "/usr/bin", []string{"run 100755 content of run"}},
		{filepath.Join(dir, "run"), "/usr/bin/other", "/usr/bin", []string{"other 100755 content of run"}},
		{filepath.Join(dir, "link"), "/x", "/", []string{"x 100755 content of run"}},
	} {
		h := &commandHead{answer: []wire.CommandEvent{planOf("n01"), ended("n01", 0, "")}}
		if _, _, err := onNodes(t, h, "not this", "copy", "n01", tc.src, tc.to); err != nil {
			t.Errorf("copy %s %s: %v", tc.src, tc.to, err)
			continue
		}
		if d := cmp.Diff(tc.want, entriesOf(t, h.input)); d != "" || h.request.Command.Dest != tc.dest {
			t.Errorf("copy %s %s: to %s (-want +got):\n%s", tc.src, tc.to, h.request.Command.Dest, d)
		}
	}
	h := &commandHead{answer: []wire.CommandEvent{{Plan: &wire.CommandPlan{Nodes: []string{"n01"}, DryRun: true}}}}
	out, _, err := onNodes(t, h, "", "copy", "n01", dir, "/opt/", "--dry-run")
	if err != nil || !strings.HasPrefix(out, "would copy 2 files, 33 B, to /opt/tools\nwould run on 1 node: n01") || len(h.input) != 0 {
		t.Errorf("dry run: %v, %q, %d bytes sent", err, out, len(h.input))
	}
}

// entriesOf lists a tar archive as name, mode in octal, and content or target.
func entriesOf(t *testing.T, data []byte) (list []string) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s has the owner %d %q of this machine", h.Name, h.Uid, h.Uname)
		}
		content, _ := io.ReadAll(r)
		kind := map[byte]int64{tar.TypeReg: 0o100000, tar.TypeDir: 0o40000, tar.TypeSymlink: 0o120000}[h.Typeflag]
		list = append(list, fmt.Sprintf("%s %o %s%s", strings.TrimSuffix(h.Name, "/"), kind|h.Mode&0o7777, content, h.Linkname))
	}
}
