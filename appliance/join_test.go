package appliance

import (
	"net/http"
	"net/netip"
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
