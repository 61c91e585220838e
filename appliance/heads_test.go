package appliance

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
