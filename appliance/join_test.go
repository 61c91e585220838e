package appliance

import (
	"errors"
	"fmt"
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

func statusOfProblem(err error) int {
	if p, ok := err.(*problem); ok {
		return p.status
	}
	if err != nil {
		return -1
	}
	return http.StatusOK
}

func TestJoinCheck(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	keyA, keyB := images.DigestOf([]byte("a")), images.DigestOf([]byte("b"))
	ip := netip.MustParseAddr
	c := joinCheck{
		heads:   map[string]wire.HeadRecord{"head1": {Address: ip("10.77.0.1"), Key: keyA}},
		version: "v1", now: now,
		owner: func(a netip.Addr) (string, bool) {
			if a == ip("10.77.0.9") {
				return "n09", true
			}
			return "", false
		},
		worker: func(name string) bool { return name == "n09" },
	}
	good := wire.JoinRequest{Name: "head2", Address: ip("10.77.0.2"), Version: "v2", Protocol: wire.HeadProtocol, Oldest: wire.OldestHeadProtocol, Time: now}
	with := func(change func(*wire.JoinRequest)) wire.JoinRequest {
		r := good
		change(&r)
		return r
	}
	for _, tt := range []struct {
		name string
		r    wire.JoinRequest
		key  images.Digest
		want int
		say  []string
	}{
		{"good", good, keyB, 200, nil},
		{"again", with(func(r *wire.JoinRequest) { r.Name, r.Address = "head1", ip("10.77.0.1") }), keyA, 200, nil},
		{"under another name", good, keyA, 409, []string{"as head1"}},
		{"name of a head", with(func(r *wire.JoinRequest) { r.Name = "head1" }), keyB, 409, []string{"head1", "eject head1"}},
		{"name of a node", with(func(r *wire.JoinRequest) { r.Name = "n09" }), keyB, 409, []string{"node is named n09", "masthead node set n09 --name NEW"}},
		{"address of a head", with(func(r *wire.JoinRequest) { r.Address = ip("10.77.0.1") }), keyB, 409, []string{"head1", "10.77.0.1"}},
		{"address of a node", with(func(r *wire.JoinRequest) { r.Address = ip("10.77.0.9") }), keyB, 409, []string{"n09"}},
		{"no address", with(func(r *wire.JoinRequest) { r.Address = netip.Addr{} }), keyB, 400, []string{"no address"}},
		{"name of no node", with(func(r *wire.JoinRequest) { r.Name = "head.2" }), keyB, 400, []string{`name "head.2": want a host name`}},
		{"no name", with(func(r *wire.JoinRequest) { r.Name = "Head 2" }), keyB, 400, []string{"name"}},
		{"too old", with(func(r *wire.JoinRequest) { r.Protocol = wire.OldestHeadProtocol - 1 }), keyB, 409, []string{"v1", "v2"}},
		{"too new", with(func(r *wire.JoinRequest) { r.Protocol, r.Oldest = wire.HeadProtocol+2, wire.HeadProtocol+1 }), keyB, 409, []string{"v1", "v2"}},
		{"newer, and understands ours", with(func(r *wire.JoinRequest) { r.Protocol++ }), keyB, 200, nil},
		{"clock behind", with(func(r *wire.JoinRequest) { r.Time = now.Add(-11 * time.Second) }), keyB, 409, []string{"11s behind", "date -u -s '2026-05-01 12:00:00'"}},
		{"clock ahead", with(func(r *wire.JoinRequest) { r.Time = now.Add(11 * time.Second) }), keyB, 409, []string{"11s ahead"}},
		{"clock a little off", with(func(r *wire.JoinRequest) { r.Time = now.Add(-9 * time.Second) }), keyB, 200, nil},
	} {
		err := c.check(tt.r, tt.key)
		if got := statusOfProblem(err); got != tt.want {
			t.Errorf("%s: %d %v, want %d", tt.name, got, err, tt.want)
			continue
		}
		p, _ := err.(*problem)
		for _, say := range tt.say {
			if !strings.Contains(p.detail+" "+p.try, say) {
				t.Errorf("%s: %q, try %q: want it to say %q", tt.name, p.detail, p.try, say)
			}
		}
	}
}

func TestJoinTokenExpires(t *testing.T) {
	h, _ := testHead(t)
	if err := h.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	token, err := h.makeJoinToken(t.Context(), ownOrigin, now)
	if err != nil {
		t.Fatal(err)
	}
	key := testKey(t)
	request, err := key.Request("head2")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(at time.Time) error {
		_, err := h.acceptJoin(t.Context(), wire.JoinRequest{
			Token: token.Token, Name: "head2", Address: netip.MustParseAddr("10.77.0.2"), HTTPS: 443, Version: "x",
			Protocol: wire.HeadProtocol, Oldest: wire.OldestHeadProtocol, Request: request, Time: at,
		}, netip.MustParseAddr("10.77.0.2"), at)
		return err
	}
	late := ask(now.Add(joinTokenLife))
	if p, ok := late.(*problem); !ok || p.status != http.StatusUnauthorized || !strings.Contains(p.detail, "expired") {
		t.Errorf("after ten minutes: %v", late)
	}
	if len(h.heads()) != 1 {
		t.Errorf("heads %v", h.heads())
	}
	for range 2 { // the answer of the first may have been lost
		if err := ask(now.Add(joinTokenLife - time.Minute)); err != nil {
			t.Errorf("within them: %v", err)
		}
	}
	// Old ones are forgotten, a day later, when the next one is made.
	if _, err := h.makeJoinToken(t.Context(), ownOrigin, now.Add(joinTokenLife+joinTokenKeep+time.Second)); err != nil {
		t.Fatal(err)
	}
	if all := h.db.List("secret", joinPrefix); len(all) != 1 {
		t.Errorf("%d tokens are kept", len(all))
	}
}

func TestEnterPlan(t *testing.T) {
	key, other := images.DigestOf([]byte("a")), images.DigestOf([]byte("b"))
	own := wire.HeadRecord{Address: netip.MustParseAddr("10.77.0.1"), Key: key}
	all := func(name string) []string {
		holders := make([]string, 64)
		for i := range holders {
			holders[i] = name
		}
		return holders
	}
	for _, tt := range []struct {
		name    string
		heads   map[string]wire.HeadRecord
		holders []string
		hasKey  bool
		ops     int // -1: refused
	}{
		{"first start", nil, all(""), false, 1 + 64 + 1},
		{"again", map[string]wire.HeadRecord{"head1": own}, all("head1"), true, 1},
		{"renamed", map[string]wire.HeadRecord{"old": own}, all("old"), true, 2 + 64},
		{"one of two", map[string]wire.HeadRecord{"head1": own, "head2": {Key: other}}, all("head2"), true, 1},
		{"alone, with a new key", map[string]wire.HeadRecord{"head1": {Key: other}}, all("head1"), true, 1},
		{"with others, and a new key", map[string]wire.HeadRecord{"head1": {Key: other}, "head2": {}}, all("head1"), true, -1},
		{"state of another head", map[string]wire.HeadRecord{"head2": {Key: other}}, all("head2"), true, -1},
	} {
		ops, err := enterPlan("head1", own, tt.heads, tt.holders, tt.hasKey, time.Now())
		if got := len(ops); err != nil && tt.ops != -1 || err == nil && got != tt.ops {
			t.Errorf("%s: %d changes, %v; want %d", tt.name, got, err, tt.ops)
		}
	}
}

func TestJoinURLs(t *testing.T) {
	known := []string{"https://10.77.0.1"}
	for address, want := range map[string]string{
		"": "https://10.77.0.1", "10.77.0.2": "https://10.77.0.2:443", "10.77.0.2:8443": "https://10.77.0.2:8443", "head2": "https://head2:443",
		"fd00::1": "https://[fd00::1]:443", "[fd00::1]": "https://[fd00::1]:443", "[fd00::1]:8443": "https://[fd00::1]:8443",
		"https://10.77.0.2": "https://10.77.0.2", "https://10.77.0.2/": "https://10.77.0.2",
		"http://10.77.0.2": "", "https://10.77.0.2/x": "", "10.77.0.2:http": "", "10.77.0.2:0": "", "a b": "", "u@h": "",
	} {
		got, err := joinURLs(address, known)
		if want == "" {
			if err == nil {
				t.Errorf("%q: %v", address, got)
			}
			continue
		}
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%q: %v, %v; want %s", address, got, err, want)
		}
	}
	if got, err := joinURLs("", nil); err == nil {
		t.Errorf("without any: %v", got)
	}
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
