package appliance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/configuration"
	"masthead/appliance/pki"
	"masthead/appliance/registry"
	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// set changes the configuration, whatever it was.
func set(t *testing.T, c *wire.Client, text string) wire.ClusterChanged {
	t.Helper()
	changed, err := c.SetCluster(t.Context(), wire.ClusterChange{Text: text, Version: -1})
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func TestClusterDocument(t *testing.T) {
	h, c := newHead(t, nil)
	fresh, err := c.Cluster(t.Context())
	if err != nil || fresh != (wire.ClusterConfig{}) {
		t.Errorf("fresh: %+v, %v", fresh, err)
	}
	const one, two = "name: demo # ours\n", "name: demo # ours\nvips: [{address: 10.77.0.100/24}]\n"
	want := wire.ClusterChanged{Diff: []string{"+ name: demo # ours"}}
	got, err := c.SetCluster(t.Context(), wire.ClusterChange{Text: one, DryRun: true})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("dry run: %v\n%s", err, diff)
	}
	if now, err := c.Cluster(t.Context()); err != nil || now.Version != 0 {
		t.Errorf("after a dry run: %+v, %v", now, err)
	}
	if log, err := h.db.Audit(10); err != nil || len(log) != 0 {
		t.Errorf("a dry run is in the audit log: %+v, %v", log, err)
	}
	if got := set(t, c, one); got.Version != 1 || !got.Applied {
		t.Errorf("%+v", got)
	}
	want = wire.ClusterChanged{Version: 2, Applied: true, Diff: []string{"  name: demo # ours", "+ vips: [{address: 10.77.0.100/24}]"}}
	if diff := cmp.Diff(want, set(t, c, two)); diff != "" {
		t.Error(diff)
	}
	if got := set(t, c, two); got.Version != 2 || got.Applied || len(got.Diff) != 0 {
		t.Errorf("the same again: %+v", got)
	}
	now, err := c.Cluster(t.Context())
	if err != nil || now.Version != 2 || now.Text != two || now.By != "admin" || time.Since(now.At) > time.Minute {
		t.Errorf("%+v, %v", now, err)
	}
	if log, err := h.db.Audit(1); err != nil || log[0].Changes[0].Key != "cluster/configuration" || !strings.Contains(string(log[0].Changes[0].New), "10.77.0.100") {
		t.Errorf("audit: %+v, %v", log, err)
	}
	// One who began with another version is told, and changes nothing.
	_, err = c.SetCluster(t.Context(), wire.ClusterChange{Text: one, Version: 1})
	refused(t, "an old version", err, http.StatusConflict, "version 1", "version 2 is in force, by admin", "masthead cluster edit")
}

// Of those who change it at the same moment one is refused, and nobody's change is lost unseen.
func TestClusterWritersAtOnce(t *testing.T) {
	_, c := newHead(t, nil)
	set(t, c, "name: begin\n")
	const writers = 4
	errs := make([]error, writers)
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			_, errs[i] = c.SetCluster(t.Context(), wire.ClusterChange{Text: fmt.Sprintf("name: writer%d\n", i), Version: 1})
		})
	}
	all.Wait()
	won := -1
	for i, err := range errs {
		if err == nil {
			if won >= 0 {
				t.Errorf("writers %d and %d both made version 2", won, i)
			}
			won = i
			continue
		}
		refused(t, "who comes second", err, http.StatusConflict, "masthead cluster edit")
	}
	now, err := c.Cluster(t.Context())
	if err != nil || won < 0 || now.Version != 2 || now.Text != fmt.Sprintf("name: writer%d\n", won) {
		t.Errorf("writer %d won, and there is %+v, %v", won, now, err)
	}
}

func TestClusterDocumentIsRefused(t *testing.T) {
	h, c := newHead(t, func(cfg *Config) { cfg.Address = netip.MustParsePrefix("10.77.0.1/24") })
	if err := h.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	addNode(t, c, "n01", macA, "10.77.0.11")
	addNode(t, c, "n02", "52:54:00:77:00:0b", "")
	for ip, expires := range map[string]time.Time{"10.77.0.130": time.Now().Add(time.Hour), "10.77.0.131": time.Now().Add(-time.Hour)} {
		l := registry.Lease{IP: netip.MustParseAddr(ip), MAC: "52:54:00:77:00:" + ip[len(ip)-2:], State: "bound", Renewed: expires.Add(-time.Hour), Expires: expires}
		if err := h.reg.CommitLease(t.Context(), l, func(registry.Lease) bool { return true }); err != nil {
			t.Fatal(err)
		}
	}
	third := func() { // a cluster of three, whose others are off
		for i, name := range []string{"head2", "head3"} {
			op, err := state.Put(state.KindHead, name, wire.HeadRecord{Address: netip.AddrFrom4([4]byte{10, 77, 0, byte(2 + i)}), Number: 2 + i, Key: images.DigestOf([]byte(name))})
			if err == nil {
				_, err = h.db.Apply(t.Context(), ownOrigin, op)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"no YAML", "name: [\n", []string{"document:"}},
		{"unknown field", "name: a\nvpis: []\n", []string{"document:2: vpis: no such field"}},
		{"several at once", "arbiter: king\n\nprofile: slow\n", []string{"document:1: arbiter", "document:3: profile"}},
		{"own address", "name: a\nvips:\n  - address: 10.77.0.1/24\n", []string{`document:3: vips[0].address: "10.77.0.1": head head1 has it`}},
		{"reserved", "vips:\n  - address: 10.77.0.100/24\n  - address: 10.77.0.11/24\n", []string{"document:3: vips[1].address", "reserved for node n01", "masthead node set n01 --address NEW"}},
		{"leased", "vips:\n  - address: 10.77.0.130/24\n", []string{"document:2: vips[0].address", "DHCP has leased it to 52:54:00:77:00:30 until"}},
		{"an address of a service", "services:\n  - name: web\n    resources:\n      - {name: site, ip: {address: 10.77.0.11/24}}\n", []string{"document:4: services[0].resources[0].ip.address", "node n01"}},
		{"of a heartbeat", "vips: [{address: 10.99.0.1/24}]\nheads: {head1: {heartbeats: [10.99.0.1]}}\n", []string{"document:1: vips[0].address", "head1 has it for its heartbeats"}},
		{"witnesses", "name: a\nwitnesses:\n  - n01\n  - n02\n  - n09\n", []string{"document:4: witnesses[1]", "masthead node set n02 --address", "document:5: witnesses[2]", "no such node"}},
		{"a head as witness", "witnesses: [n01, head1, n02]\n", []string{"document:1: witnesses[1]", "is a head"}},
		{"a password", "fence_devices:\n  - {name: bmc1, agent: redfish, params: {ip: 10.77.0.9, username: u, password: hunter2}}\nheads:\n  head1: {fence: [[{device: bmc1}]]}\nmail: {server: a, to: [b@example.org], user: c, password: hunter3}\n",
			[]string{"document:2: fence_devices[0].params.password", "masthead cluster secret", "document:5: mail.password"}},
		{"a secret that is not there", "fence_devices:\n  - {name: bmc1, agent: redfish, params: {ip: 10.77.0.9, username: u, password: 'secret:bmc'}}\nheads:\n  head1: {fence: [[{device: bmc1}]]}\n", []string{`there is no secret "bmc"`, "masthead cluster secret bmc --file FILE"}},
		{"an agent that is not there", "fence_devices: [{name: f, agent: fence_nosuch}]\nheads:\n  head1: {fence: [[{device: f}]]}\n", []string{"document:", "fence_nosuch"}},
	} {
		for _, dry := range []bool{false, true} {
			_, err := c.SetCluster(t.Context(), wire.ClusterChange{Text: test.text, Version: -1, DryRun: dry})
			if dry && strings.HasPrefix(test.name, "a secret that") {
				if err != nil {
					t.Errorf("%s, dry run: %v", test.name, err)
				}
				continue
			}
			refused(t, test.name, err, http.StatusBadRequest, test.want...)
			if err != nil && strings.Contains(err.Error(), "hunter") {
				t.Errorf("%s: the password is told: %v", test.name, err)
			}
		}
	}
	third()
	_, err := c.SetCluster(t.Context(), wire.ClusterChange{Text: "name: a\narbiter: panel\nwitnesses: [n01, n02, n03]\n", Version: -1})
	refused(t, "a panel of three heads", err, http.StatusBadRequest, "document:2: arbiter", "has 3")
	if now, err := c.Cluster(t.Context()); err != nil || now.Version != 0 {
		t.Errorf("after all these: %+v, %v", now, err)
	}
	// A lease that has run out is nobody's.
	set(t, c, "vips: [{address: 10.77.0.131/24}]\n")
}

// What works, and is not what one wants.
func TestClusterWarnings(t *testing.T) {
	_, c := newHead(t, nil)
	got := set(t, c, "heads:\n  head7: {}\ndomains:\n  - {name: d, heads: [head8]}\n")
	want := []string{"domain d: head head8 is not in the cluster yet", "heads.head7: no such head is in the cluster yet"}
	if diff := cmp.Diff(want, got.Warning); diff != "" {
		t.Error(diff)
	}
}

// A pair without proof is told what comes of it.
func TestUnproved(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "both may own (loss: available)",
		"loss: safe":                         "nobody takes over before",
		"data: [{name: d}]":                  "nobody takes over before",
		"loss: available\ndata: [{name: d}]": "both may own (loss: available)",
	} {
		doc, err := configuration.Parse("document", []byte("name: c\n"+text+"\n"))
		if got := unproved(doc.LossInForce()); err != nil || !strings.Contains(got, want) {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

// A virtual address is reserved for no node.
func TestVirtualAddressIsTaken(t *testing.T) {
	h, c := newHead(t, func(cfg *Config) { cfg.Address = netip.MustParsePrefix("10.77.0.1/24") })
	if err := h.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	set(t, c, "vips: [{address: 10.77.0.100/24}]\n")
	if err := h.tellOwner(t.Context()); err != nil {
		t.Fatal(err)
	}
	name, mac, address := "n01", macA, "10.77.0.100"
	_, err := c.AddNode(t.Context(), wire.NodeChange{Name: &name, MAC: &mac, Address: &address})
	refused(t, "a node on it", err, http.StatusConflict, "the owner of the cluster (a virtual address)")
}

// A secret goes in, and comes out nowhere but in the daemon's own file.
func TestClusterSecretIsNeverShown(t *testing.T) {
	const password = "correct-horse-battery"
	var logged bytes.Buffer
	h, c := newHead(t, func(cfg *Config) {
		cfg.Address = netip.MustParsePrefix("10.77.0.1/24")
		cfg.Log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	if err := h.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	const doc = "fence_devices:\n  - {name: bmc1, agent: redfish, params: {ip: 10.77.0.9, username: u, password: 'secret:bmc'}}\nheads:\n  head1: {fence: [[{device: bmc1}]]}\n"
	kept, err := c.SetClusterSecret(t.Context(), "bmc", password+"\n")
	if err != nil || kept.Name != "bmc" || kept.Named {
		t.Fatalf("%+v, %v", kept, err)
	}
	set(t, c, doc)
	if kept, err := c.SetClusterSecret(t.Context(), "bmc", password); err != nil || !kept.Named {
		t.Fatalf("%+v, %v", kept, err)
	}
	if err := h.tellOwner(t.Context()); err != nil {
		t.Fatal(err)
	}
	shown := map[string]func(*bytes.Buffer) error{
		"export": func(b *bytes.Buffer) error { return c.StateExport(t.Context(), false, b) },
		"document": func(b *bytes.Buffer) error {
			conf, err := c.Cluster(t.Context())
			return errorsOf(err, json.NewEncoder(b).Encode(conf))
		},
		"audit": func(b *bytes.Buffer) error {
			log, err := h.db.Audit(100)
			return errorsOf(err, json.NewEncoder(b).Encode(log))
		},
		"status": func(b *bytes.Buffer) error {
			s, err := c.Status(t.Context())
			return errorsOf(err, json.NewEncoder(b).Encode(s))
		},
		"log": func(b *bytes.Buffer) error { b.Write(logged.Bytes()); return nil },
	}
	for name, show := range shown {
		var b bytes.Buffer
		if err := show(&b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(b.String(), password) {
			t.Errorf("%s shows the secret", name)
		}
	}
	if conf := readOwnerConfig(t, h.ownerDir()); !strings.Contains(conf.Document, password) {
		t.Error("the daemon does not get the secret")
	}
	for name, value := range map[string]string{"": "x", "a b": "x", "../x": "x", strings.Repeat("n", 65): "x", "empty": "\n", "long": strings.Repeat("x", maxSecret+1)} {
		if _, err := c.SetClusterSecret(t.Context(), name, value); err == nil {
			t.Errorf("secret %q of %d bytes was taken", name, len(value))
		}
	}
	// Names are listed, and what nothing names can be removed.
	if _, err := c.SetClusterSecret(t.Context(), "old", password); err != nil {
		t.Fatal(err)
	}
	list := func(want ...wire.ClusterSecretState) {
		t.Helper()
		got, err := c.ClusterSecrets(t.Context())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	bmc, old := wire.ClusterSecretState{Name: "bmc", Kept: true, Named: true}, wire.ClusterSecretState{Name: "old", Kept: true}
	list(bmc, old)
	_, err = c.RemoveClusterSecret(t.Context(), "bmc", false)
	refused(t, "a secret that is named", err, http.StatusConflict, "the configuration names secret bmc", "masthead cluster edit")
	_, err = c.RemoveClusterSecret(t.Context(), "nosuch", true)
	refused(t, "no such secret", err, http.StatusNotFound, `no secret "nosuch"`, "masthead cluster secret list")
	if removed, err := c.RemoveClusterSecret(t.Context(), "old", true); err != nil || removed.Applied {
		t.Errorf("dry run: %+v, %v", removed, err)
	}
	list(bmc, old)
	if removed, err := c.RemoveClusterSecret(t.Context(), "old", false); err != nil || !removed.Applied {
		t.Errorf("%+v, %v", removed, err)
	}
	list(bmc)
	// A state that was imported without its secrets: what needs one has trouble, the rest works.
	if _, err := h.db.Apply(t.Context(), ownOrigin, state.Delete(state.KindSecret, secretCluster+"bmc")); err != nil {
		t.Fatal(err)
	}
	if err := h.tellOwner(t.Context()); err != nil {
		t.Error(err)
	}
	list(wire.ClusterSecretState{Name: "bmc", Named: true})
	if diff := cmp.Diff([]string{"bmc"}, h.missingSecrets(doc)); diff != "" {
		t.Error(diff)
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// A machine's own token opens nothing of ownership, and no token less.
func TestOwnershipIsTheAdministrators(t *testing.T) {
	h, _ := newHead(t, nil)
	srv := httptest.NewServer((&api{head: h, now: time.Now}).handler(false))
	defer srv.Close()
	token, err := h.tokens.Issue(pki.Boot{ID: "b", MAC: macA, Role: images.RoleWorker, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	a := &api{head: h}
	routes := append(a.ownerRoutes(), a.clusterRoutes()...)
	for _, r := range routes {
		method, path, _ := strings.Cut(r.pattern, " ")
		path = strings.NewReplacer("{name}", "x", "{head}", "x").Replace(path)
		for token, want := range map[string]int{token: http.StatusForbidden, "": http.StatusUnauthorized} {
			req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			if token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			resp, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s with token %t: status %d, want %d", r.pattern, token != "", resp.StatusCode, want)
			}
		}
	}
}

func TestOwnershipInOpenAPI(t *testing.T) {
	h, _ := newHead(t, nil)
	out, err := (&api{head: h}).openAPI(t.Context(), caller{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	paths := out.(map[string]any)["paths"].(map[string]map[string]any)
	for _, path := range []string{
		"/api/v1/owner", "/api/v1/owner/switch", "/api/v1/owner/promote", "/api/v1/owner/confirm-dead", "/api/v1/owner/fence-test/{head}",
		"/api/v1/fence/agents", "/api/v1/fence/agents/{name}", "/api/v1/services/{name}", "/api/v1/cluster", "/api/v1/cluster/secrets/{name}",
	} {
		if paths[path] == nil {
			t.Errorf("%s is not described", path)
		}
	}
	if _, err := json.Marshal(out); err != nil {
		t.Error(err)
	}
}

// A volume keeps the number by which the kernels know it, and is not taken from under what uses it.
func TestClusterVolumesStay(t *testing.T) {
	h, c := newHead(t, nil)
	if err := h.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	role := "Primary"
	farEnd(t, h, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `[{"name": "a", "head": "head1", "role": %q}]`, role)
	}))
	const a, b = "  - {name: a, device: /dev/vdb", "  - {name: b, device: /dev/vdc"
	set(t, c, "data:\n"+a+"}\n"+b+"}\n")
	refuse := func(what, text string, words ...string) {
		t.Helper()
		_, err := c.SetCluster(t.Context(), wire.ClusterChange{Text: text, Version: -1})
		refused(t, what, err, http.StatusBadRequest, words...)
	}
	refuse("another order", "data:\n"+b+"}\n"+a+"}\n", "document:2", "data[0].number", "it is volume 2", "number: 2", "number: 1")
	refuse("one without the first", "data:\n"+b+"}\n", "it is volume 2", "number: 2")
	refuse("another port", "data:\n"+a+", port: 7800}\n"+b+"}\n", "data[0].port", "it has 7788")
	refuse("one number twice", "data:\n"+a+"}\n"+b+", number: 1}\n", "is that of volume a")
	refuse("one that is in use", "data:\n"+b+", number: 2}\n", "volume a is in use on head1", "masthead service disable")
	set(t, c, "data:\n"+b+", number: 2}\n"+a+", number: 1}\n")
	role = wire.RoleUnknown
	refuse("one of which DRBD has not said how it stands", "data:\n"+b+", number: 2}\n", "nobody knows whether volume a is in use on head1", "again in a moment")
	role = "Secondary"
	set(t, c, "data:\n"+b+", number: 2}\n")
}

// A volume that its owner may have in use stays, whoever else has answered. One that never came up, and one of which the other head is
// off, can go.
func TestClusterVolumesThatMayBeUsed(t *testing.T) {
	h, c := newHead(t, nil)
	if err := h.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	op, err := state.Put(state.KindHead, "head2", wire.HeadRecord{Address: netip.MustParseAddr("127.0.0.1"), HTTPS: freePort(t), Number: 2, Key: images.DigestOf(nil)})
	if err == nil {
		_, err = h.db.Apply(t.Context(), ownOrigin, op)
	}
	if err != nil {
		t.Fatal(err)
	}
	owner, own := "", []wire.DataVolume{}
	farEnd(t, h, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == wire.PathOwner {
			writeJSON(w, http.StatusOK, wire.OwnerStatus{Self: "head1", Owner: owner})
			return
		}
		writeJSON(w, http.StatusOK, own)
	}))
	const with = "data: [{name: a, device: /dev/vdb}]\n"
	for _, tt := range []struct {
		name, owner string
		own         []wire.DataVolume
		want        string // part of why it is refused; empty: it is not
	}{
		{"the other head is off", "head1", []wire.DataVolume{{Name: "a", Head: "head1", Role: "Secondary"}}, ""},
		{"never came up", "head1", []wire.DataVolume{{Name: "a", Head: "head1", State: "unknown"}}, ""},
		{"the owner does not answer", "head2", []wire.DataVolume{{Name: "a", Head: "head1", Role: "Secondary"}}, "volume a is in use on head2: the head does not answer: again in a moment (masthead data status)"},
		{"nobody knows who owns", "", []wire.DataVolume{{Name: "a", Head: "head1", Role: "Secondary"}}, "volume a is in use on head2: the head does not answer: again in a moment (masthead status --why)"},
		{"the daemon is late", "head1", nil, "volume a is in use on head1: its daemon has not heard of it yet"},
		{"DRBD has not said", "head1", []wire.DataVolume{{Name: "a", Head: "head1", Role: wire.RoleUnknown, Doing: "DRBD has not said yet"}}, "volume a is in use on head1: DRBD has not said yet"},
	} {
		set(t, c, with)
		owner, own = tt.owner, tt.own
		_, err := c.SetCluster(t.Context(), wire.ClusterChange{Text: "name: none\n", Version: -1})
		if tt.want != "" {
			refused(t, tt.name, err, http.StatusBadRequest, tt.want)
		} else if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// All heads with copies are asked where nobody knows who owns, and the owner alone where somebody does.
func TestInUse(t *testing.T) {
	one := func(head, role string) wire.DataVolume {
		return wire.DataVolume{Name: "a", Head: head, Role: role, Doing: "quiet"}
	}
	copies := []string{"head1", "head2"}
	for _, tt := range []struct {
		name, owner string
		all         []wire.DataVolume
		want        string // the head that is named; empty: none
	}{
		{"nobody writes", "", []wire.DataVolume{one("head1", "Secondary"), one("head2", "")}, ""},
		{"the owner writes", "head1", []wire.DataVolume{one("head1", "Primary"), one("head2", "Secondary")}, "in use on head1: stop"},
		{"another head writes", "head1", []wire.DataVolume{one("head1", "Secondary"), one("head2", "Primary")}, "in use on head2: stop"},
		{"the owner is silent", "head2", []wire.DataVolume{one("head1", "Secondary"), one("head2", "Unknown")}, "in use on head2: quiet"},
		{"the other one is silent", "head1", []wire.DataVolume{one("head1", "Secondary"), one("head2", "Unknown")}, ""},
		{"the owner says nothing of it", "head1", []wire.DataVolume{{Name: "b", Head: "head1"}, one("head2", "Secondary")}, "in use on head1: its daemon"},
		{"one is silent, and nobody owns", "", []wire.DataVolume{one("head1", ""), one("head2", "Unknown")}, "in use on head2: quiet"},
		{"a third head owns, without a copy", "head3", []wire.DataVolume{one("head1", "Unknown"), one("head3", "Unknown")}, ""},
		{"a third head is silent, and nobody owns", "", []wire.DataVolume{one("head1", ""), one("head2", ""), one("head3", "Unknown")}, ""},
	} {
		got := inUse("a", tt.owner, copies, tt.all)
		if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// What was wanted of a service is not wanted of another one that has its name later; all else that was said stays.
func TestClusterForgetsWishes(t *testing.T) {
	h, c := newHead(t, nil)
	if err := h.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	farEnd(t, h, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `[{"name": "a", "head": "head1", "role": "Secondary"}]`)
	}))
	const both = "data:\n  - {name: a, device: /dev/nope}\nservices: [{name: web, resources: [{unit: {name: web}}]}]\n"
	set(t, c, both)
	for _, name := range []string{"data-a", "web"} {
		if _, err := c.ChangeService(t.Context(), name, wire.ServiceChange{Action: "disable"}); err != nil {
			t.Fatal(err)
		}
	}
	without := "services: [{name: web, resources: [{unit: {name: web}}]}]\n"
	set(t, c, without)
	if got := h.wish("data-a"); got != "disabled" {
		t.Errorf("while it goes %q is wanted of the volume: who hears of that first would start it", got)
	}
	got := set(t, c, both)
	if got, web := h.wish("data-a"), h.wish("web"); got != "" || web != "disabled" {
		t.Errorf("of the new volume %q is wanted, of the service that stayed %q", got, web)
	}
	if !slices.Contains(got.Warning, "data[0]: volume a waits: head1 has no device /dev/nope") {
		t.Errorf("warnings %q", got.Warning)
	}
}
