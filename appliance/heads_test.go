package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"masthead/images"
	"masthead/node/wire"
)

func TestJoin(t *testing.T) {
	t.Parallel()
	one, two := startHead(t, "head1", 1), startHead(t, "head2", 2)
	one.node("n01", "52:54:00:77:00:01")
	two.node("own", "52:54:00:77:00:99")

	// What it has of its own it gives up only when told to.
	token := one.token()
	_, err := two.JoinHead(t.Context(), wire.JoinStart{Token: token})
	refused(t, "a head with a node", err, http.StatusConflict, "node own", "--discard")
	would, err := two.JoinHead(t.Context(), wire.JoinStart{Token: token, DryRun: true})
	if err != nil || len(would.GiveUp) != 1 || would.State != wire.MemberSolo {
		t.Errorf("dry run: %+v, %v", would, err)
	}
	began, err := two.JoinHead(t.Context(), wire.JoinStart{Token: token, Discard: true})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(began.Export); err != nil || !strings.Contains(string(data), "52:54:00:77:00:99") {
		t.Errorf("the export %q lacks the node: %v", began.Export, err)
	}
	two.untilState(wire.MemberHead)
	one.untilEqual(two)
	two.untilEqual(one)
	two.untilNode("n01")
	if _, err := two.Node(t.Context(), "own"); err == nil {
		t.Error("the node of its own is still there after the join")
	}
	if keys, _ := filepath.Glob(filepath.Join(two.cfg.StateDir, keysDir+".old.00")); len(keys) != 1 {
		t.Error("the keys of its own cluster are not kept")
	}

	// A token is for one machine.
	three := startHead(t, "head3", 3)
	_, err = three.JoinHead(t.Context(), wire.JoinStart{Token: token})
	refused(t, "a used token", err, http.StatusUnauthorized, "was used by head head2")
	_, err = two.JoinHead(t.Context(), wire.JoinStart{Token: one.token()})
	refused(t, "a head of a cluster", err, http.StatusConflict, "head1, head2", "leave")

	// A third one, with one machine off.
	one.off()
	three.join(two)
	three.untilNode("n01")
	one.on()
	for _, h := range []*liveHead{one, two, three} {
		h.untilEqual(make([]*liveHead, 2)...)
	}
	if got := one.holders(); got["head1"]+got["head2"]+got["head3"] != 64 || got["head2"] < 16 || got["head3"] < 16 {
		t.Errorf("slots %v", got)
	}
	three.node("n03", "52:54:00:77:00:03")
	one.untilNode("n03")
}

func TestJoinIsRefused(t *testing.T) {
	t.Parallel()
	one, other := startHead(t, "head1", 1), startHead(t, "else", 9)
	two := startHead(t, "head2", 2)
	ask := func(s wire.JoinStart) error { _, err := two.JoinHead(t.Context(), s); return err }
	at := func(h *liveHead) string { return fmt.Sprintf("127.0.0.1:%d", h.cfg.HTTPS) }

	refused(t, "no token", ask(wire.JoinStart{Token: "x"}), http.StatusBadRequest, "not a join token")
	refused(t, "wrong CA", ask(wire.JoinStart{Token: one.token(), Address: at(other)}), http.StatusConflict, "another cluster")
	refused(t, "nobody there", ask(wire.JoinStart{Token: one.token(), Address: fmt.Sprintf("127.0.0.1:%d", freePort(t))}), http.StatusBadGateway, "no head of the cluster")
	refused(t, "no address", ask(wire.JoinStart{Token: one.token(), Address: "http://x/y"}), http.StatusBadRequest, "not the address")

	twin := newLiveHead(t, "head1", 3)
	twin.on()
	_, err := twin.JoinHead(t.Context(), wire.JoinStart{Token: one.token()})
	refused(t, "name of a head", err, http.StatusConflict, "a head named head1", "eject head1")
	one.node("worker", "52:54:00:77:00:01")
	worker := startHead(t, "worker", 4)
	_, err = worker.JoinHead(t.Context(), wire.JoinStart{Token: one.token()})
	refused(t, "name of a node", err, http.StatusConflict, "a node is named worker")
	twin2 := startHead(t, "head4", 1)
	_, err = twin2.JoinHead(t.Context(), wire.JoinStart{Token: one.token()})
	refused(t, "address of a head", err, http.StatusConflict, "has the address 127.77.0.1")

	if heads, err := one.Heads(t.Context()); err != nil || len(heads) != 1 {
		t.Errorf("after all these the cluster has %v, %v", heads, err)
	}
	two.join(one) // nothing of it is left over
}

// Two machines use one token at the same moment, at two heads of the cluster: one of them gets in.
func TestTokenIsForOne(t *testing.T) {
	t.Parallel()
	one, two := startHead(t, "head1", 1), startHead(t, "head2", 2)
	two.join(one)
	three, four := startHead(t, "head3", 3), startHead(t, "head4", 4)
	token := one.token()
	two.until("it knows the token", func() error { return tokenKnown(t, two, token) })
	errs := make(chan error, 2)
	for joiner, at := range map[*liveHead]*liveHead{three: one, four: two} {
		go func() {
			_, err := joiner.JoinHead(t.Context(), wire.JoinStart{Token: token, Address: fmt.Sprintf("127.0.0.1:%d", at.cfg.HTTPS)})
			errs <- err
		}()
	}
	a, b := <-errs, <-errs
	if (a == nil) == (b == nil) {
		t.Fatalf("one of two must get in: %v, %v", a, b)
	}
	if a == nil {
		a = b
	}
	if got := statusOf(a); got != http.StatusConflict && got != http.StatusUnauthorized {
		t.Errorf("the other is told %v", a)
	}
	one.until("there are three heads", func() error {
		heads, err := one.Heads(t.Context())
		if err == nil && len(heads) != 3 {
			err = fmt.Errorf("%d", len(heads))
		}
		return err
	})
}

// tokenKnown asks a head whether it would take a token, as a machine that is refused for its clock.
func tokenKnown(t *testing.T, h *liveHead, token string) error {
	key := testKey(t)
	request, err := key.Request("probe")
	if err != nil {
		return err
	}
	_, err = h.AcceptHead(t.Context(), wire.JoinRequest{
		Token: token, Name: "probe", Address: netip.MustParseAddr("127.77.0.200"), HTTPS: 1, Version: "test",
		Protocol: wire.HeadProtocol, Oldest: wire.OldestHeadProtocol, Request: request, Time: time.Now(), DryRun: true,
	})
	return err
}

func TestLeave(t *testing.T) {
	t.Parallel()
	one, two := startHead(t, "head1", 1), startHead(t, "head2", 2)
	_, err := one.LeaveHead(t.Context(), wire.HeadChange{Confirm: "head1"})
	refused(t, "a single head", err, http.StatusConflict, "only head")
	two.join(one)
	two.node("n02", "52:54:00:77:00:02")
	would, err := two.LeaveHead(t.Context(), wire.HeadChange{DryRun: true})
	if err != nil || would.Applied || len(would.Steps) < 3 || !strings.HasPrefix(would.Steps[0], "head2 leaves: ") {
		t.Errorf("dry run: %+v, %v", would, err)
	}
	_, err = two.LeaveHead(t.Context(), wire.HeadChange{Confirm: "head1"})
	refused(t, "another name", err, http.StatusBadRequest, "head2", "--yes")
	one.off()
	_, err = two.LeaveHead(t.Context(), wire.HeadChange{Confirm: "head2"})
	refused(t, "with the other off", err, http.StatusConflict, "no other head answers", "recover")
	one.on()
	one.untilEqual(two)
	if _, err := two.LeaveHead(t.Context(), wire.HeadChange{Confirm: "head2"}); err != nil {
		t.Fatal(err)
	}
	two.untilState(wire.MemberSolo)
	one.untilEqual()
	one.untilNode("n02")
	if nodes, err := two.Nodes(t.Context(), ""); err != nil || len(nodes) != 0 {
		t.Errorf("who left still has %v, %v", nodes, err)
	}
	a, _ := one.Status(t.Context())
	b, err := two.Status(t.Context())
	if err != nil || a.CA == b.CA {
		t.Errorf("who left still has the keys of the cluster (%v)", err)
	}
	if got := one.holders(); got["head1"] != 64 {
		t.Errorf("slots %v", got)
	}
	two.join(one)
	one.untilEqual(two)
}

func TestEjectAndReturn(t *testing.T) {
	t.Parallel()
	one, two, three := startHead(t, "head1", 1), startHead(t, "head2", 2), startHead(t, "head3", 3)
	two.join(one)
	three.join(one)
	for _, h := range []*liveHead{one, two, three} {
		h.untilEqual(make([]*liveHead, 2)...)
	}
	_, err := one.EjectHead(t.Context(), "head2", wire.HeadChange{Confirm: "head2"})
	refused(t, "a head that answers", err, http.StatusConflict, "it is not dead", "leave", "--force")
	_, err = one.EjectHead(t.Context(), "head1", wire.HeadChange{})
	refused(t, "oneself", err, http.StatusConflict, "leave")
	_, err = one.EjectHead(t.Context(), "head9", wire.HeadChange{})
	refused(t, "a stranger", err, http.StatusNotFound, "head9")
	_, err = one.EjectHead(t.Context(), "head9", wire.HeadChange{Confirm: "head9", Stolen: true})
	refused(t, "a stolen stranger", err, http.StatusNotFound, "head9")

	two.off()
	three.off() // a second one that is off, and comes back after the key has changed
	would, err := one.EjectHead(t.Context(), "head2", wire.HeadChange{DryRun: true})
	if err != nil || would.Applied || !strings.Contains(would.Steps[0], "head2") {
		t.Errorf("dry run: %+v, %v", would, err)
	}
	if heads, _ := one.Heads(t.Context()); len(heads) != 3 {
		t.Errorf("after a dry run: %+v", heads)
	}
	_, err = one.EjectHead(t.Context(), "head2", wire.HeadChange{Confirm: "head3"})
	refused(t, "another name", err, http.StatusBadRequest, "head2", "--yes")
	done, err := one.EjectHead(t.Context(), "head2", wire.HeadChange{Confirm: "head2"})
	if err != nil || !done.Applied || done.Degraded == "" {
		t.Fatalf("%+v, %v; want it done, and degraded", done, err)
	}
	three.on()
	one.untilEqual(three)
	three.untilEqual(one)

	two.on()
	two.untilState(wire.MemberRemoved)
	m, err := two.Membership(t.Context())
	if err != nil || !strings.Contains(m.Reason, "was ejected") || !strings.Contains(m.Reason, "head1") || !strings.Contains(m.Try, "head join") {
		t.Errorf("who comes back says %+v, %v", m, err)
	}
	_, err = two.Status(t.Context())
	refused(t, "who comes back", err, http.StatusGone, "was ejected", "head join")
	name, mac := "lost", "52:54:00:77:00:66"
	_, err = two.AddNode(t.Context(), wire.NodeChange{Name: &name, MAC: &mac})
	refused(t, "a change at who comes back", err, http.StatusGone)
	two.off()
	two.on() // also after another start
	two.untilState(wire.MemberRemoved)

	two.join(three)
	for _, h := range []*liveHead{one, two, three} {
		h.untilEqual(make([]*liveHead, 2)...)
	}
	if got := one.holders(); got["head2"] == 0 || got["head1"]+got["head2"]+got["head3"] != 64 {
		t.Errorf("slots %v", got)
	}
}

func TestRecover(t *testing.T) {
	t.Parallel()
	one, two := startHead(t, "head1", 1), startHead(t, "head2", 2)
	_, err := one.RecoverHead(t.Context(), wire.HeadChange{Confirm: "head1"})
	refused(t, "a single head", err, http.StatusConflict, "only configured head")
	two.join(one)
	name, mac := "head1", "52:54:00:77:00:0b" // a head that masthead booted is a node too
	if _, err := two.AddNode(t.Context(), wire.NodeChange{Name: &name, MAC: &mac, Attrs: map[string]string{"role": "head"}}); err != nil {
		t.Fatal(err)
	}
	_, err = two.RemoveNodes(t.Context(), "head1", false)
	refused(t, "a head as a node", err, http.StatusConflict, "configured head", "masthead head eject head1")
	other := "head7"
	_, err = two.ChangeNode(t.Context(), "head1", wire.NodeChange{Name: &other})
	refused(t, "another name for a head", err, http.StatusConflict, "head1 is a configured head")
	one.untilEqual(two)
	_, err = two.RecoverHead(t.Context(), wire.HeadChange{Confirm: "head2"})
	refused(t, "while the other answers", err, http.StatusConflict, "head1 answers")
	one.off()
	_, err = two.RecoverHead(t.Context(), wire.HeadChange{Confirm: "head1"})
	refused(t, "another name", err, http.StatusBadRequest, "head2", "--yes")
	would, err := two.RecoverHead(t.Context(), wire.HeadChange{DryRun: true})
	if err != nil || would.Applied {
		t.Errorf("dry run: %+v, %v", would, err)
	}
	done, err := two.RecoverHead(t.Context(), wire.HeadChange{Confirm: "head2"})
	if err != nil || !done.Applied || !strings.Contains(strings.Join(done.Steps, "\n"), "generation 2") {
		t.Fatalf("%+v, %v", done, err)
	}
	if done.Degraded != "" {
		t.Errorf("of one head, and degraded: %s", done.Degraded)
	}
	two.until("the node that head1 was is gone", func() error {
		if _, err := two.Node(t.Context(), "head1"); statusOf(err) != http.StatusNotFound {
			return fmt.Errorf("%v", err)
		}
		return nil
	})
	two.untilState(wire.MemberSolo)
	two.node("after", "52:54:00:77:00:0a")
	if got := two.holders(); got["head2"] != 64 {
		t.Errorf("slots %v", got)
	}
	one.on()
	one.untilState(wire.MemberRemoved)
	one.join(two)
	one.untilNode("after")
	two.untilEqual(one)
}

// A head that its owner has told to join does it by itself as soon as it can, and serves nobody before.
func TestJoinBySelf(t *testing.T) {
	t.Parallel()
	one := startHead(t, "head1", 1)
	one.node("n01", "52:54:00:77:00:01")
	two := newLiveHead(t, "head2", 2)
	two.cfg.Join, two.cfg.JoinToken = true, one.token()
	one.off()
	two.on()
	two.until("it says what it waits for", func() error {
		m, err := two.Membership(t.Context())
		if err == nil && (m.State != wire.MemberJoining || !strings.Contains(m.Reason, "no head of the cluster")) {
			err = fmt.Errorf("%+v", m)
		}
		return err
	})
	_, err := two.Status(t.Context())
	refused(t, "before it has joined", err, http.StatusServiceUnavailable, "joins a cluster")
	one.on()
	two.untilState(wire.MemberHead)
	two.untilNode("n01")
	two.off()
	two.on() // the token is of no use by now, and not needed
	two.untilState(wire.MemberHead)
	one.untilEqual(two)
}

// A head goes on with a join wherever the power was cut.
func TestJoinSurvivesPowerCuts(t *testing.T) {
	t.Parallel()
	one := startHead(t, "head1", 1)
	one.node("n01", "52:54:00:77:00:01")
	two := newLiveHead(t, "head2", 2)

	// The answer is on the disk, nothing else has happened.
	accept := func() {
		h, err := New(two.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.join(t.Context(), wire.JoinStart{Token: one.token()}); err != nil {
			t.Fatal(err)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
	accept()
	dir := two.cfg.StateDir
	exists := func(name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	if m, err := readMember(dir); err != nil || m.Phase != phaseAccepted || !exists(joiningDir) {
		t.Fatalf("%+v, %v", m, err)
	}
	// The old keys are aside, the new ones not in their place yet.
	if err := moveAside(filepath.Join(dir, keysDir)); err != nil {
		t.Fatal(err)
	}
	// The state was emptied, the phase not written yet.
	h, err := New(two.cfg)
	if err != nil {
		t.Fatal(err)
	}
	m := h.member.file
	if m.Phase != phaseSyncing || exists(joiningDir) {
		t.Fatalf("after the start: %+v", m)
	}
	m.Phase, m.Records = phaseAccepted, encodeForTest(h)
	if err := errors.Join(writeMember(dir, m), h.Close()); err != nil {
		t.Fatal(err)
	}
	one.off() // and the cluster is not there at the moment
	two.on()
	two.until("it waits for the cluster", func() error {
		now, err := two.Membership(t.Context())
		if err == nil && (now.State != wire.MemberJoining || now.Reason == "") {
			err = fmt.Errorf("%+v", now)
		}
		return err
	})
	one.on()
	two.untilState(wire.MemberHead)
	two.untilNode("n01")
	one.untilEqual(two)
}

func TestSettleLeft(t *testing.T) {
	h := newLiveHead(t, "head1", 1)
	head, err := New(h.cfg)
	if err != nil {
		t.Fatal(err)
	}
	before := head.authority.Digest()
	if err := errors.Join(head.enter(t.Context()), head.setPhase(memberFile{Phase: phaseLeft}), head.Close()); err != nil {
		t.Fatal(err)
	}
	if err := moveAside(filepath.Join(h.cfg.StateDir, keysDir)); err != nil { // and then the power was cut
		t.Fatal(err)
	}
	head, err = New(h.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if head.authority.Digest() == before || len(head.heads()) != 0 || head.member.phase() != phaseNone {
		t.Errorf("after leaving: %v, phase %q", head.heads(), head.member.phase())
	}
	if err := head.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestJoinedIsSaidLast: whoever is told that a head has joined can use it at once, so it is said after the head has begun
// anew, and its socket with it.
func TestJoinedIsSaidLast(t *testing.T) {
	h := newLiveHead(t, "head1", 1)
	head, err := New(h.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer head.Close()
	if err := head.setPhase(memberFile{Phase: phaseSyncing}); err != nil {
		t.Fatal(err)
	}
	_, stop := head.restartable(t.Context())
	defer stop()
	if err := head.setPhase(memberFile{}); err != nil {
		t.Fatal(err)
	}
	if now := head.membershipNow(); now.State != wire.MemberJoining || now.Step == "" {
		t.Errorf("synced, and not begun anew: %+v", now)
	}
	_, stop = head.restartable(t.Context())
	defer stop()
	if now := head.membershipNow(); now.State != wire.MemberSolo || now.Step != "" {
		t.Errorf("begun anew: %+v", now)
	}
}

func TestMemberFileDamaged(t *testing.T) {
	h := newLiveHead(t, "head1", 1)
	path := filepath.Join(h.cfg.StateDir, memberFileName)
	for _, text := range []string{"", "{", `{"phase":"king"}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if head, err := New(h.cfg); err == nil {
			head.Close()
			t.Errorf("%q is taken for a phase", text)
		}
	}
}

func TestStrangersAreNoPeers(t *testing.T) {
	t.Parallel()
	one, two, other := startHead(t, "head1", 1), startHead(t, "head2", 2), startHead(t, "else", 9)
	two.join(one)
	url := fmt.Sprintf("https://127.0.0.1:%d%s", one.cfg.HTTPS, wire.PathPeerView)
	get := func(c *http.Client) int {
		t.Helper()
		resp, err := c.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	with := func(h *liveHead) *http.Client {
		h.off()
		head, err := New(h.cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer head.Close()
		return &http.Client{Transport: peerTransport(head.server, func(images.Digest) error { return nil })}
	}
	for what, tt := range map[string]struct {
		client *http.Client
		want   int
	}{
		"no certificate":     {wire.NewClient("", caOf(t, one), "").HTTP, http.StatusUnauthorized},
		"of another cluster": {with(other), http.StatusForbidden},
		"of the cluster":     {with(two), http.StatusOK},
	} {
		if got := get(tt.client); got != tt.want {
			t.Errorf("%s: status %d, want %d", what, got, tt.want)
		}
		tt.client.CloseIdleConnections()
	}
}

// Both of two heads leave at once: one of them stays, with everything.
func TestBothLeave(t *testing.T) {
	t.Parallel()
	one, two := startHead(t, "head1", 1), startHead(t, "head2", 2)
	two.join(one)
	one.untilEqual(two)
	one.node("n01", "52:54:00:77:00:01")
	two.untilNode("n01")
	for _, h := range []*liveHead{one, two} {
		if _, err := h.LeaveHead(t.Context(), wire.HeadChange{Confirm: h.cfg.Name}); err != nil {
			t.Fatal(err)
		}
	}
	one.untilState(wire.MemberSolo)
	two.untilState(wire.MemberSolo)
	two.untilNode("n01")
	if _, err := one.Node(t.Context(), "n01"); err == nil {
		t.Error("both have stayed")
	}
}

// A head whose state file is gone or damaged fetches the state from the others, and does not found a cluster.
func TestStateFileLost(t *testing.T) {
	t.Parallel()
	one, two := startHead(t, "head1", 1), startHead(t, "head2", 2)
	two.join(one)
	two.node("n01", "52:54:00:77:00:01")
	one.untilNode("n01") // a write may be acknowledged as degraded, and is lost with the only state that has it
	one.untilEqual(two)
	file := filepath.Join(two.cfg.StateDir, stateDir, "state.db")
	for what, harm := range map[string]func() error{
		"gone":    func() error { return os.Remove(file) },
		"damaged": func() error { return os.WriteFile(file, []byte("nothing of a state"), 0o600) },
	} {
		if known, err := os.ReadFile(filepath.Join(two.cfg.StateDir, knownFile)); err != nil || !bytes.Contains(known, []byte("head1")) {
			t.Fatalf("%s: it has not written down the heads: %q, %v", what, known, err)
		}
		two.off()
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		var told bytes.Buffer
		two.cfg.Log = slog.New(slog.NewTextHandler(&told, nil))
		two.on()
		two.untilState(wire.MemberHead)
		two.untilNode("n01")
		two.off() // nobody writes any more
		if text := told.String(); !strings.Contains(text, "is whole again: it was fetched from head1") || strings.Contains(text, "has joined") {
			t.Errorf("%s: it tells\n%s", what, text)
		}
		two.cfg.Log = slog.New(slog.DiscardHandler)
		two.on()
		one.untilEqual(two)
		if got := one.holders(); got["head1"] != 32 || got["head2"] != 32 {
			t.Errorf("%s: slots %v", what, got)
		}
	}
}

// Everything happened to a leaving head but that it heard of it.
func TestLeaveAnswerLost(t *testing.T) {
	t.Parallel()
	one, two := startHead(t, "head1", 1), startHead(t, "head2", 2)
	two.join(one)
	one.untilEqual(two)
	two.off()
	if err := writeMember(two.cfg.StateDir, memberFile{Phase: phaseLeaving}); err != nil {
		t.Fatal(err)
	}
	if _, err := one.EjectHead(t.Context(), "head2", wire.HeadChange{Confirm: "head2"}); err != nil {
		t.Fatal(err)
	}
	two.on()
	two.untilState(wire.MemberSolo)
	if heads, err := two.Heads(t.Context()); err != nil || len(heads) > 1 {
		t.Errorf("%+v, %v", heads, err)
	}
}

// A head that has lost its key cannot prove to the others who it is: it says so, and serves nobody.
func TestKeysLost(t *testing.T) {
	t.Parallel()
	one, two := startHead(t, "head1", 1), startHead(t, "head2", 2)
	two.join(one)
	one.untilEqual(two)
	two.off()
	if err := os.RemoveAll(filepath.Join(two.cfg.StateDir, keysDir)); err != nil {
		t.Fatal(err)
	}
	two.on()
	two.untilState(wire.MemberRemoved)
	m, err := two.Membership(t.Context())
	if err != nil || !strings.Contains(m.Reason, "key") {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := one.EjectHead(t.Context(), "head2", wire.HeadChange{Confirm: "head2"}); err != nil {
		t.Fatal(err)
	}
	two.join(one)
	one.untilEqual(two)
}
