package appliance

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"masthead/appliance/httpboot"
	"masthead/appliance/pki"
	"masthead/appliance/registry"
	"masthead/images"
	"masthead/node/wire"
)

// What a machine boots that is being made a head, and one that is a head.
func TestCloneBoots(t *testing.T) {
	h, worker := testHead(t)
	m, err := images.ReadManifest(h.library.store, worker)
	if err != nil {
		t.Fatal(err)
	}
	m.Name, m.Role = "head", images.RoleHead
	own, err := h.library.store.PutManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		role  string
		self  *wire.Hello
		image images.Digest
		local bool
		err   string
	}{
		{"", nil, worker, false, ""},
		{registry.RoleClone, nil, "", false, "was not started from an image"},
		{registry.RoleClone, &wire.Hello{Image: own}, own, false, ""},
		{string(images.RoleHead), nil, "", true, ""},
	} {
		h.cfg.Self = tt.self
		name, mac := "head2", macA
		yes := true
		change := wire.NodeChange{Name: &name, MAC: &mac, Approved: &yes, Attrs: map[string]string{"role": tt.role}}
		var err error
		if _, ok := h.reg.Record(name); ok {
			_, err = h.reg.Set(t.Context(), ownOrigin, []string{name}, wire.NodeChange{Attrs: change.Attrs})
		} else {
			_, err = h.reg.Add(t.Context(), ownOrigin, change)
		}
		if err != nil {
			t.Fatal(err)
		}
		m, err := h.target(t.Context(), httpboot.Query{MAC: mac})
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: %v, want %q", tt.role, err, tt.err)
		}
		if m.Image != tt.image || m.Local != tt.local || err == nil && !m.Local && m.Boot.Role != images.RoleWorker {
			t.Errorf("%q: %+v", tt.role, m)
		}
	}
}

// The ISO is for machines that are being made heads, and for the administrator.
func TestMediumAccess(t *testing.T) {
	h, _ := testHead(t)
	srv := httptest.NewServer((&api{head: h, now: time.Now}).handler(false))
	t.Cleanup(srv.Close)
	yes := true
	for name, role := range map[string]string{"n01": "", "head2": registry.RoleClone} {
		mac := map[string]string{"n01": "52:54:00:77:00:01", "head2": macA}[name]
		if _, err := h.reg.Add(t.Context(), ownOrigin, wire.NodeChange{Name: &name, MAC: &mac, Approved: &yes, Attrs: map[string]string{"role": role}}); err != nil {
			t.Fatal(err)
		}
	}
	token := func(mac string) string {
		text, err := h.tokens.Issue(pki.Boot{ID: "b", MAC: mac, Role: images.RoleWorker, Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for name, tt := range map[string]struct {
		token string
		want  int
	}{
		"nobody":        {"", http.StatusUnauthorized},
		"a worker":      {token("52:54:00:77:00:01"), http.StatusForbidden},
		"a clone":       {token(macA), http.StatusNotFound}, // the machine of this test was not started from an ISO
		"administrator": {ownerToken, http.StatusNotFound},
	} {
		c := &wire.Client{Base: srv.URL, HTTP: srv.Client(), Token: tt.token}
		if _, err := c.Medium(t.Context()); status(err) != tt.want {
			t.Errorf("%s: %v, want %d", name, err, tt.want)
		}
	}
}

// A join token that was taken back opens nothing.
func TestForgetToken(t *testing.T) {
	h, _ := testHead(t)
	srv := httptest.NewServer((&api{head: h, now: time.Now}).handler(true))
	t.Cleanup(srv.Close)
	c := &wire.Client{Base: srv.URL, HTTP: srv.Client()}
	made, err := c.HeadToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	token, err := pki.ParseJoinToken(made.Token)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.useJoinToken(token, "head2", "", time.Now()); err != nil {
		t.Errorf("before: %v", err)
	}
	if err := c.ForgetHeadToken(t.Context(), token.ID()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.useJoinToken(token, "head2", "", time.Now()); err == nil || !strings.Contains(err.Error(), "does not know the join token") {
		t.Errorf("after it was taken back: %v", err)
	}
}
