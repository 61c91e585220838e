package appliance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"masthead/appliance/ownership"
	"masthead/node/wire"
)

func readOwnerConfig(t *testing.T, dir string) ownership.Config {
	t.Helper()
	conf, err := ownership.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	return conf
}

// follows waits until the daemon's file says something.
func (h *liveHead) follows(what string, is func(ownership.Config) bool) ownership.Config {
	h.t.Helper()
	var conf ownership.Config
	h.until("the daemon's file says "+what, func() (err error) {
		if conf, err = ownership.ReadConfig(filepath.Join(h.cfg.StateDir, ownerDir)); err == nil && !is(conf) {
			err = fmt.Errorf("it says %+v", conf)
		}
		return err
	})
	return conf
}

func TestOwnerConfigFollows(t *testing.T) {
	t.Parallel()
	one, two := newLiveHead(t, "head1", 51), newLiveHead(t, "head2", 52)
	for _, h := range []*liveHead{one, two} {
		h.cfg.Address = netip.PrefixFrom(h.cfg.Address.Addr(), 1) // nodes have no addresses of the loopback
		h.on()
	}
	alone := one.follows("that it is alone", func(c ownership.Config) bool { return len(c.Heads) == 1 && c.Roster > 0 })
	info, err := os.Stat(filepath.Join(one.cfg.StateDir, ownerDir, ownership.ConfigFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want mode 0600", info.Mode(), err)
	}
	two.join(one)
	one.untilEqual(two)
	newer := func(than ownership.Config, what string, is func(ownership.Config) bool) ownership.Config {
		t.Helper()
		both := func(c ownership.Config) bool { return is(c) && c.Roster > than.Roster }
		a, b := one.follows(what, both), two.follows(what, both)
		// What a head writes while the other one writes too is written again: look once both agree.
		one.until("both heads have one list of voters", func() error {
			a = readOwnerConfig(t, filepath.Join(one.cfg.StateDir, ownerDir))
			b = readOwnerConfig(t, filepath.Join(two.cfg.StateDir, ownerDir))
			if a.Roster != b.Roster {
				return fmt.Errorf("%d and %d", a.Roster, b.Roster)
			}
			return nil
		})
		if !maps.Equal(a.Heads, b.Heads) || !maps.Equal(a.Witnesses, b.Witnesses) {
			t.Errorf("%s: version %d is two lists: %v %v, and %v %v", what, a.Roster, a.Heads, a.Witnesses, b.Heads, b.Witnesses)
		}
		return a
	}
	now := newer(alone, "two heads", func(c ownership.Config) bool { return len(c.Heads) == 2 })
	if now.Heads["head1"].Number == now.Heads["head2"].Number {
		t.Errorf("two heads with one number: %+v", now.Heads)
	}

	for i := range 3 {
		name, mac, address := fmt.Sprintf("n%02d", i+1), fmt.Sprintf("52:54:00:77:00:%02x", i+1), fmt.Sprintf("10.77.1.%d", i+1)
		if _, err := two.AddNode(t.Context(), wire.NodeChange{Name: &name, MAC: &mac, Address: &address}); err != nil {
			t.Fatal(err)
		}
	}
	set(t, two.Client, "name: demo\nwitnesses: [n01, n02, n03]\nservices:\n  - name: web\n    resources: [{name: x, script: {file: /bin/true}}]\n")
	now = newer(now, "three witnesses", func(c ownership.Config) bool { return len(c.Witnesses) == 3 })
	// A change of a node that is a witness, then one that makes the list shorter and older records the newest.
	address := "10.77.1.9"
	if _, err := one.ChangeNode(t.Context(), "n03", wire.NodeChange{Address: &address}); err != nil {
		t.Fatal(err)
	}
	now = newer(now, "another address of a witness", func(c ownership.Config) bool { return c.Witnesses["n03"] == netip.MustParseAddr(address) })
	if err := two.RemoveNode(t.Context(), "n03"); err != nil {
		t.Fatal(err)
	}
	now = newer(now, "one witness less", func(c ownership.Config) bool { return len(c.Witnesses) == 2 })

	// A wish changes no list.
	if _, err := two.ChangeService(t.Context(), "web", wire.ServiceChange{Action: "disable"}); err != nil {
		t.Fatal(err)
	}
	disabled := func(c ownership.Config) bool { return c.Wishes["web"].Wish == "disabled" && c.Roster == now.Roster }
	one.follows("that web is disabled", disabled)
	two.follows("that web is disabled", disabled)

	// A head that starts again goes on with the list that it had.
	one.off()
	one.on()
	one.follows("the same list", disabled)
}

// One version is one list, whoever writes it, and no head ever goes back.
func TestNextRoster(t *testing.T) {
	address := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }
	rapid.Check(t, func(t *rapid.T) {
		var records [3]rosterRecord // of three heads, each with what it knows
		var seen [3]uint32
		lists := map[uint32]rosterRecord{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			i := rapid.IntRange(0, 2).Draw(t, "head")
			if rapid.Bool().Draw(t, "merge") {
				records[i] = records[rapid.IntRange(0, 2).Draw(t, "from")]
			}
			want := rosterRecord{Witnesses: map[string]netip.Addr{"n01": address(rapid.IntRange(1, 3).Draw(t, "address"))}}
			next, changes := nextRoster(records[i], want, seen[i], i+1)
			if !next.sameVoters(want) {
				t.Fatalf("%+v is not %+v", next, want)
			}
			if next.Version < seen[i] || changes && next.Version <= max(seen[i], records[i].Version) {
				t.Fatalf("head %d goes from %d to %d", i+1, seen[i], next.Version)
			}
			if known, ok := lists[next.Version]; ok && !known.sameVoters(next) {
				t.Fatalf("version %d is %+v and %+v", next.Version, known, next)
			}
			lists[next.Version], records[i], seen[i] = next, next, next.Version
		}
	})
}

// farEnd is a daemon that answers as a test wants. A real one is in TestOwnerDaemons; this one hangs, and refuses.
func farEnd(t *testing.T, h *Head, handler http.Handler) {
	t.Helper()
	dir, err := os.MkdirTemp("", "mh") // t.TempDir is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: handler}}
	srv.Start()
	t.Cleanup(srv.Close)
	h.owner.Close()
	h.owner = wire.NewUnixClient(filepath.Join(dir, "s"))
}

func TestOwnerDaemonIsGone(t *testing.T) {
	h, c := newHead(t, func(cfg *Config) { cfg.OwnerSocket = filepath.Join(t.TempDir(), "none") })
	if err := h.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	set(t, c, "services:\n  - name: web\n    resources: [{name: x, script: {file: /bin/true}}]\n")
	for what, call := range map[string]func(context.Context) error{
		"status":  func(ctx context.Context) error { _, err := c.Owner(ctx); return err },
		"switch":  func(ctx context.Context) error { _, err := c.Switch(ctx, wire.SwitchRequest{}); return err },
		"promote": func(ctx context.Context) error { _, err := c.Promote(ctx, wire.PromoteRequest{}); return err },
		"dead": func(ctx context.Context) error {
			_, err := c.ConfirmDead(ctx, wire.ConfirmDead{Head: "head2"})
			return err
		},
		"fence": func(ctx context.Context) error { _, err := c.FenceTest(ctx, "head2"); return err },
		"relocate": func(ctx context.Context) error {
			_, err := c.ChangeService(ctx, "web", wire.ServiceChange{Action: "relocate"})
			return err
		},
	} {
		refused(t, what, call(t.Context()), http.StatusServiceUnavailable, "the owner daemon of head1 does not run: no such file", "systemctl start masthead-owner.service")
	}
	// The page is there all the same, and says so.
	s, err := c.Status(t.Context())
	if err != nil || s.Owner != nil || len(s.Trouble) == 0 || !strings.Contains(s.Trouble[0], "systemctl start masthead-owner.service") {
		t.Errorf("%+v, %v", s.Trouble, err)
	}
	// What a person has said is in the audit log even where nothing came of it.
	log, err := h.db.Audit(10)
	if err != nil {
		t.Fatal(err)
	}
	var notes []string
	for _, e := range log {
		notes = append(notes, e.Note)
	}
	if text := strings.Join(notes, "\n"); !strings.Contains(text, "promote head1, force false") || !strings.Contains(text, "confirm that head2 is off") {
		t.Errorf("audit:\n%s", text)
	}
}

func TestOwnerDaemonHangs(t *testing.T) {
	h, c := newHead(t, nil)
	release := make(chan struct{})
	farEnd(t, h, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer close(release)
	began := time.Now()
	s, err := c.Status(t.Context())
	if err != nil || len(s.Trouble) == 0 || !strings.Contains(s.Trouble[0], "does not answer in time: systemctl restart masthead-owner.service") {
		t.Errorf("%+v, %v", s.Trouble, err)
	}
	if took := time.Since(began); took > 3*ownerWait {
		t.Errorf("the page took %v", took)
	}
}

func TestOwnerRefusalIsPassedOn(t *testing.T) {
	h, c := newHead(t, nil)
	farEnd(t, h, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			writeJSON(w, http.StatusOK, wire.OwnerStatus{Self: "head1"})
			return
		}
		writeProblem(w, &problem{http.StatusConflict, "nobody owns the cluster", "masthead status --why"})
	}))
	_, err := c.Switch(t.Context(), wire.SwitchRequest{})
	refused(t, "switch", err, http.StatusConflict, "nobody owns the cluster", "masthead status --why")
}

func TestServices(t *testing.T) {
	h, c := newHead(t, nil)
	set(t, c, `domains:
  - {name: here, restricted: true, heads: [head1]}
services:
  - name: web
    domain: here
    resources: [{name: x, script: {file: /bin/true}}]
`)
	_, err := c.ChangeService(t.Context(), "nosuch", wire.ServiceChange{Action: "enable"})
	refused(t, "no such service", err, http.StatusNotFound, `no service "nosuch"`, "masthead service list")
	_, err = c.ChangeService(t.Context(), "web", wire.ServiceChange{Action: "frob"})
	refused(t, "no such action", err, http.StatusBadRequest, "want enable, disable, stop or relocate")

	before := ""
	for _, step := range []struct{ action, wish string }{{"disable", "disabled"}, {"enable", "enabled"}, {"stop", "stopped"}} {
		for _, dry := range []bool{true, false} {
			want := wire.ServiceChanged{Name: "web", Wish: step.wish, Before: before, Applied: !dry}
			got, err := c.ChangeService(t.Context(), "web", wire.ServiceChange{Action: step.action, DryRun: dry})
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%s, dry run %t: %v\n%s", step.action, dry, err, diff)
			}
			if is := h.wish("web") == step.wish; is == dry {
				t.Errorf("%s, dry run %t: the wish is %q", step.action, dry, h.wish("web"))
			}
		}
		before = step.wish
	}

	// Relocation moves all that the owner holds; not to where the service must not run.
	to := "head2"
	var asked []wire.SwitchRequest
	farEnd(t, h, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			writeJSON(w, http.StatusOK, wire.OwnerStatus{Self: "head1", Owner: "head1"})
			return
		}
		req, err := decode[wire.SwitchRequest](r)
		if err != nil {
			writeProblem(w, err)
			return
		}
		asked = append(asked, req)
		writeJSON(w, http.StatusOK, wire.SwitchAnswer{From: "head1", To: to, Moves: []string{"service web"}})
	}))
	_, err = c.ChangeService(t.Context(), "web", wire.ServiceChange{Action: "relocate"})
	refused(t, "out of its domain", err, http.StatusConflict, "must not run on head2", "restricted to head1", "masthead head switch --to head2")
	to = "head1"
	done, err := c.ChangeService(t.Context(), "web", wire.ServiceChange{Action: "relocate", To: "head1"})
	if err != nil || !done.Applied || done.Switched == nil || done.Switched.To != "head1" {
		t.Errorf("%+v, %v", done, err)
	}
	last := asked[len(asked)-1]
	if want := (wire.SwitchRequest{To: "head1", Why: "service web is relocated"}); last != want || len(asked) != 3 {
		t.Errorf("asked %+v", asked)
	}
	for _, r := range asked[:2] {
		if !r.DryRun {
			t.Errorf("moved before it was known where to: %+v", asked)
		}
	}
}

// The events of the daemon become those of the cluster: each once, also where nothing happens for long, and where another
// daemon begins to count anew.
func TestOwnerEventsAreTheClusters(t *testing.T) {
	h, _ := newHead(t, nil)
	type poll struct {
		answer []wire.OwnerEvent
		broken bool
	}
	event := func(seq uint64, text string) wire.OwnerEvent {
		return wire.OwnerEvent{Seq: seq, Time: time.Now(), Kind: "owner", Text: text}
	}
	polls := []poll{
		{answer: []wire.OwnerEvent{event(1, "one"), event(2, "two")}},
		{answer: []wire.OwnerEvent{}}, // nothing for as long as one waits
		{answer: []wire.OwnerEvent{event(3, "three")}},
		{broken: true}, // it is killed; a client asks once more by itself
		{broken: true},
		{answer: []wire.OwnerEvent{event(1, "one of another")}},
	}
	var after []string
	ended := make(chan struct{})
	farEnd(t, h, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != wire.PathOwnerEvents {
			writeJSON(w, http.StatusOK, wire.OwnerStatus{})
			return
		}
		if len(after) == len(polls) {
			close(ended)
			<-r.Context().Done()
			return
		}
		p := polls[len(after)]
		after = append(after, r.URL.Query().Get("after"))
		if p.broken {
			panic(http.ErrAbortHandler)
		}
		writeJSON(w, http.StatusOK, p.answer)
	}))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.followOwner(ctx) }()
	select {
	case <-ended:
	case <-time.After(headPatience):
		t.Error("it does not go on")
	}
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"0", "2", "3", "0"}, slices.Compact(after)); diff != "" {
		t.Errorf("asked for what came after: %s", diff)
	}
	var got []string
	for _, e := range h.reg.Log().Last(10) {
		got = append(got, e.Text)
	}
	if diff := cmp.Diff([]string{"one", "two", "three", "one of another"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestFenceAgentsOfTheHead(t *testing.T) {
	_, c := newHead(t, nil)
	names, err := c.FenceAgents(t.Context())
	if err != nil || !slices.Contains(names, "qmp") {
		t.Errorf("%v, %v", names, err)
	}
	agent, err := c.FenceAgent(t.Context(), "redfish")
	if err != nil {
		t.Fatal(err)
	}
	secret := false
	for _, p := range agent.Params {
		secret = secret || p.Name == "password" && p.Secret
	}
	if !secret || agent.Summary == "" {
		t.Errorf("%+v", agent)
	}
	_, err = c.FenceAgent(t.Context(), "fence_nosuch")
	refused(t, "no such agent", err, http.StatusNotFound, "fence_nosuch", "masthead fence agents")
}
