package appliance

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/images"
	"masthead/node/wire"
)

// bootedNode makes a node known, and gives its boot token.
func bootedNode(t *testing.T, owner, anybody *wire.Client, name, mac string) string {
	t.Helper()
	yes := true
	if _, err := owner.AddNode(t.Context(), wire.NodeChange{Name: &name, MAC: &mac, Approved: &yes}); err != nil {
		t.Fatal(err)
	}
	spec, err := anybody.Hello(t.Context(), wire.Hello{Boot: "boot-" + name, MAC: mac, Role: images.RoleWorker})
	if err != nil || spec.Token == "" {
		t.Fatalf("hello of %s: %+v, %v", name, spec, err)
	}
	return spec.Token
}

// fakeAgent attaches with a boot token, and answers each command with what it was told, until the test ends.
func fakeAgent(t *testing.T, h *Head, c *wire.Client, boot, mac string) {
	t.Helper()
	conn, err := c.Channel(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-ended })
	if err := wire.WriteFrame(conn, wire.Frame{Kind: wire.FrameAttach, MAC: mac, Boot: boot}); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with conn
		defer close(ended)
		in := bufio.NewReader(conn)
		for {
			f, err := wire.ReadFrame(in, wire.MaxHeadFrame)
			if err != nil {
				return
			}
			if f.Kind != wire.FrameRun {
				continue
			}
			input := string(f.Inline)
			if f.Input > 0 {
				body, err := c.Input(context.Background(), f.ID)
				if err != nil {
					input = err.Error()
				} else {
					data, _ := io.ReadAll(body)
					body.Close()
					input = string(data)
				}
			}
			_ = wire.WriteFrame(conn, wire.Frame{Kind: wire.FrameOutput, ID: f.ID, Stdout: []byte(strings.Join(f.Command.Argv, " ") + input)})
			_ = wire.WriteFrame(conn, wire.Frame{Kind: wire.FrameExit, ID: f.ID, Result: &wire.CommandResult{Exit: len(f.Command.Argv) - 1}})
		}
	}()
	for end := time.Now().Add(10 * time.Second); len(h.commands.Attached([]string{mac})) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not attach")
		}
	}
}

// runCommand gives the events of a request.
func runCommand(t *testing.T, c *wire.Client, req wire.CommandRequest, input io.Reader) (all []wire.CommandEvent, err error) {
	t.Helper()
	req.Command.Timeout, req.Command.Output = 20, 1<<20
	err = c.Command(t.Context(), req, input, func(e wire.CommandEvent) error {
		if e.Done != nil {
			e.Done.Took = 0
		}
		all = append(all, e)
		return nil
	})
	return all, err
}

func TestCommandAPI(t *testing.T) {
	h, _ := testHead(t)
	client := serveAPI(t, h, false)
	owner := client(ownerToken)
	token := bootedNode(t, owner, client(""), "n01", macA)
	bootedNode(t, owner, client(""), "n02", "52:54:00:77:00:0b")
	fakeAgent(t, h, client(token), "boot-n01", macA)

	exec := wire.Command{Kind: wire.CommandExec, Argv: []string{"hello"}}
	got, err := runCommand(t, owner, wire.CommandRequest{Nodes: "n[01-02]", Command: exec}, strings.NewReader("\nsecret"))
	if err != nil || len(got) != 4 {
		t.Fatalf("%d events, %v: %+v", len(got), err, got)
	}
	plan := &wire.CommandPlan{Nodes: []string{"n01", "n02"}, Heads: map[string][]string{"head1": {"n01"}}, Absent: map[string]string{"n02": got[0].Plan.Absent["n02"]}}
	want := []wire.CommandEvent{
		{Plan: plan},
		{Node: "n02", Done: &wire.CommandResult{Error: "no head reaches it; it " + plan.Absent["n02"], Try: "masthead node why n02"}},
		{Node: "n01", Stdout: []byte("hello\nsecret")},
		{Node: "n01", Done: &wire.CommandResult{Head: "head1"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if !strings.HasPrefix(plan.Absent["n02"], "is known, heard of ") {
		t.Errorf("n02 %q", plan.Absent["n02"])
	}

	// A large input is fetched by the node, with its own token.
	large := strings.Repeat("0123456789abcdef", 10<<10)
	got, err = runCommand(t, owner, wire.CommandRequest{Nodes: "n01", Command: exec}, strings.NewReader(large))
	text := ""
	for _, e := range got {
		text += string(e.Stdout)
	}
	if err != nil || text != "hello"+large {
		t.Errorf("%d bytes came back, %v", len(text), err)
	}

	// A dry run reaches nobody, and is in no log.
	before := h.reg.Log().Last(100)
	got, err = runCommand(t, owner, wire.CommandRequest{Nodes: "@all", Command: exec, DryRun: true}, nil)
	if err != nil || len(got) != 1 || got[0].Plan == nil || len(got[0].Plan.Nodes) != 2 || !got[0].Plan.DryRun {
		t.Errorf("dry run: %+v, %v", got, err)
	}
	if after := h.reg.Log().Last(100); len(after) != len(before) {
		t.Errorf("a dry run made events: %+v", after[len(before):])
	}
	told := before[len(before)-1].Text
	if !strings.HasPrefix(told, `node exec ["hello"], 163840 bytes of input on n01, by admin from 127.0.0.1`) {
		t.Errorf("the event says %q", told)
	}
	log, err := h.db.Audit(1)
	if err != nil || len(log) != 1 || log[0].Who != "admin" || log[0].Where != "127.0.0.1" || !strings.HasPrefix(log[0].Note, `node exec ["hello"], 163840 bytes of input on n01`) {
		t.Errorf("audit: %+v, %v", log, err)
	}
	for _, e := range before {
		if strings.Contains(e.Text, "secret") {
			t.Errorf("the input is in the log: %q", e.Text)
		}
	}
}

func TestCommandAccess(t *testing.T) {
	h, _ := testHead(t)
	client := serveAPI(t, h, false)
	owner := client(ownerToken)
	t1 := bootedNode(t, owner, client(""), "n01", macA)
	t2 := bootedNode(t, owner, client(""), "n02", "52:54:00:77:00:0b")
	exec := wire.Command{Kind: wire.CommandExec, Shell: "id"}
	for token, want := range map[string]int{"": 401, "bad": 401, t1: 403, ownerToken: 200} {
		if _, err := runCommand(t, client(token), wire.CommandRequest{Nodes: "n01", Command: exec}, nil); statusOf(err) != want {
			t.Errorf("token %.8q: %v, want %d", token, err, want)
		}
	}
	for set, want := range map[string]int{"": 400, "n[01": 400, "n09": 404, "@none": 404} {
		if _, err := runCommand(t, owner, wire.CommandRequest{Nodes: set, Command: exec}, nil); statusOf(err) != want {
			t.Errorf("nodes %q: %v, want %d", set, err, want)
		}
	}
	if _, err := runCommand(t, owner, wire.CommandRequest{Nodes: "n01", Command: wire.Command{Kind: "frob"}}, nil); statusOf(err) != 400 {
		t.Errorf("no such kind: %v", err)
	}
	if _, err := owner.PeerAttached(t.Context(), nil); statusOf(err) != 404 {
		t.Errorf("what is between heads is in the API of administrators: %v", err)
	}

	// Only the machine itself is attached in its name.
	for name, c := range map[string]*wire.Client{"no token": client(""), "another machine": client(t2)} {
		conn, err := c.Channel(t.Context())
		if err == nil {
			_ = wire.WriteFrame(conn, wire.Frame{Kind: wire.FrameAttach, MAC: macA, Boot: "boot-n01"})
			_, err = wire.ReadFrame(conn, wire.MaxHeadFrame)
			conn.Close()
		}
		if err == nil || h.commands.Count() != 0 {
			t.Errorf("%s: attached as n01", name)
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, client(t1).Base+wire.PathChannel, nil)
	req.Header.Set("Authorization", "Bearer "+t1)
	resp, err := client(t1).HTTP.Do(req)
	if err != nil || resp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("no upgrade: %v, %v", resp, err)
	}
	resp.Body.Close()

	// What a machine may ask for is its own.
	mine, err := client(t1).Mine(t.Context())
	if err != nil || mine.Name != "n01" || len(mine.Heads) != 1 || mine.Heads[0].URL != "https://10.77.0.1" || len(mine.Hosts) == 0 {
		t.Errorf("mine: %+v, %v", mine, err)
	}
	if _, err := client(t1).Input(t.Context(), "nosuch"); statusOf(err) != 404 {
		t.Errorf("an input that is not there: %v", err)
	}
}

// A head's own agent attaches over the socket, without a token.
func TestHeadsOwnAgentAttaches(t *testing.T) {
	own := "52:54:00:77:00:01"
	h, c := newHead(t, nil)
	addNode(t, c, "head1", own, "")
	fakeAgent(t, h, c, "self", own)
	got, err := runCommand(t, c, wire.CommandRequest{Nodes: "head1", Command: wire.Command{Kind: wire.CommandExec, Argv: []string{"x", "y"}}}, nil)
	if err != nil || len(got) != 3 || string(got[1].Stdout) != "x y" || got[2].Done.Exit != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// What heads ask of one another, without the certificates, which are peers.go's.
func TestPeerCommands(t *testing.T) {
	h, _ := testHead(t)
	client := serveAPI(t, h, false)
	token := bootedNode(t, client(ownerToken), client(""), "n01", macA)
	fakeAgent(t, h, client(token), "boot-n01", macA)
	mux := http.NewServeMux()
	for _, r := range (&api{head: h, now: time.Now}).commandPeerRoutes() {
		mux.Handle(r.pattern, r.handle)
	}
	srv := httptest.NewServer(mux)
	defer srv.Close()
	peer := &wire.Client{Base: srv.URL, HTTP: srv.Client()}
	heard, err := peer.PeerAttached(t.Context(), []string{macA, "52:54:00:77:00:0b"})
	if ago, ok := heard[macA]; err != nil || !ok || ago > 30 || len(heard) != 1 {
		t.Errorf("attached: %v, %v", heard, err)
	}
	var out strings.Builder
	var last wire.CommandEvent
	req := wire.PeerRequest{Targets: []wire.Target{{Name: "n01", MAC: macA}}, Fanout: 4,
		Command: wire.Command{Kind: wire.CommandExec, Argv: []string{"a"}, Timeout: 9, Output: 99}}
	err = peer.PeerCommand(t.Context(), req, strings.NewReader("in"), func(e wire.CommandEvent) error {
		out.Write(e.Stdout)
		last = e
		return nil
	})
	if err != nil || out.String() != "ain" || last.Done == nil || last.Done.Head != "head1" {
		t.Errorf("%v, %q, %+v", err, out.String(), last)
	}
}

func TestCommandText(t *testing.T) {
	for _, tc := range []struct {
		c     wire.Command
		input int64
		want  string
	}{
		{wire.Command{Kind: wire.CommandExec, Shell: "uptime; id"}, 0, "node exec uptime; id on @all"},
		{wire.Command{Kind: wire.CommandExec, Script: "#!/bin/sh\nrm x\n", Argv: []string{"a"}}, 5, `node exec a script of 15 bytes (#!/bin/sh) ["a"], 5 bytes of input on @all`},
		{wire.Command{Kind: wire.CommandCopy, Dest: "/etc"}, 7, "node copy to /etc, 7 bytes of input on @all"},
		{wire.Command{Kind: wire.CommandTask, Task: "fetch-hosts"}, 0, "node script fetch-hosts on @all"},
	} {
		if got := commandText(wire.CommandRequest{Nodes: "@all", Command: tc.c}, tc.input); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
	long := commandText(wire.CommandRequest{Nodes: "n01", Command: wire.Command{Kind: wire.CommandExec, Shell: strings.Repeat("é", 5000)}}, 0)
	if len(long) > maxNoted+100 || !strings.HasSuffix(long, "… on n01") {
		t.Errorf("%d bytes: %.30s", len(long), long)
	}
}

// Heads are in a set of a command or of a change only where the set asks for them.
func TestHeadsAreLeftOut(t *testing.T) {
	h, _ := testHead(t)
	owner := serveAPI(t, h, false)(ownerToken)
	yes, all := true, wire.CommandRequest{Nodes: "@all", Command: wire.Command{Kind: wire.CommandExec, Argv: []string{"true"}}, DryRun: true}
	add := func(name, mac string, attrs map[string]string) {
		t.Helper()
		if _, err := owner.AddNode(t.Context(), wire.NodeChange{Name: &name, MAC: &mac, Approved: &yes, Attrs: attrs}); err != nil {
			t.Fatal(err)
		}
	}
	add("head7", "52:54:00:77:00:a7", map[string]string{"role": "head"})
	const note = "heads are left out: name them to include them: head7"
	_, err := runCommand(t, owner, all, nil)
	refused(t, "heads alone", err, http.StatusNotFound, "no node matches @all", note)
	add("n01", macA, nil)
	got, err := runCommand(t, owner, all, nil)
	if err != nil || len(got) != 2 || got[0].Note != note || got[1].Plan == nil || !slices.Equal(got[1].Plan.Nodes, []string{"n01"}) {
		t.Errorf("a command: %+v, %v", got, err)
	}
	named := all
	named.Nodes = "head7"
	if got, err := runCommand(t, owner, named, nil); err != nil || len(got) != 1 || !slices.Equal(got[0].Plan.Nodes, []string{"head7"}) {
		t.Errorf("a command on a head: %+v, %v", got, err)
	}
	changed, err := owner.ChangeNodes(t.Context(), "@all", wire.NodeChange{Attrs: map[string]string{"a": "b"}})
	if err != nil || len(changed) != 1 || changed[0].Node.Name != "n01" || changed[0].Note != note {
		t.Errorf("a change: %+v, %v", changed, err)
	}
	removed, err := owner.RemoveNodes(t.Context(), "@all", true)
	if err != nil || len(removed) != 1 || removed[0].Node.Name != "n01" || removed[0].Note != note {
		t.Errorf("a removal: %+v, %v", removed, err)
	}
	if removed, err = owner.RemoveNodes(t.Context(), "head7", false); err != nil || len(removed) != 1 {
		t.Errorf("a machine that is no configured head any more: %+v, %v", removed, err)
	}
}
