package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/images"
	"masthead/node/wire"
)

const ownerToken = "0123456789abcdef0123456789abcdef-owner"

// testHead is a head without a network, with one worker image in its store.
func testHead(t *testing.T) (*Head, images.Digest) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Name, cfg.Version, cfg.StateDir, cfg.AdminToken = "head1", "test", t.TempDir(), ownerToken
	cfg.Address = netip.MustParsePrefix("10.77.0.1/24")
	cfg.Log = slog.New(slog.DiscardHandler)
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	put := func(text string) images.Blob {
		b, err := h.library.store.PutBytes([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	d, err := h.library.store.PutManifest(images.Manifest{
		Format: images.ManifestFormat, Name: "worker", Role: images.RoleWorker, Arch: "amd64", KernelRelease: "6.12",
		Kernel: put("kernel"), Initramfs: put("initramfs"), Loaders: map[string]images.Blob{"undionly.kpxe": put("loader")},
		Root: images.Root{Size: 4096, ChunkSize: 4096, Chunks: []images.Chunk{images.Chunk(put("chunk"))}},
	})
	if err == nil {
		err = h.library.store.Tag("worker", d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return h, d
}

// serveAPI gives a client maker for the API of h over plain HTTP: the pinning is wire's own test.
func serveAPI(t *testing.T, h *Head, local bool) func(token string) *wire.Client {
	t.Helper()
	srv := httptest.NewServer((&api{head: h, now: time.Now}).handler(local))
	t.Cleanup(srv.Close)
	return func(token string) *wire.Client { return &wire.Client{Base: srv.URL, HTTP: srv.Client(), Token: token} }
}

func statusOf(err error) int {
	var p *wire.ProblemError
	if errors.As(err, &p) {
		return p.Problem.Status
	}
	if err != nil {
		return -1
	}
	return http.StatusOK
}

func TestAccess(t *testing.T) {
	h, d := testHead(t)
	client := serveAPI(t, h, false)
	ctx := t.Context()
	name, mac, yes := "n01", "52:54:00:77:00:0a", true
	if _, err := client(ownerToken).AddNode(ctx, wire.NodeChange{Name: &name, MAC: &mac, Approved: &yes}); err != nil {
		t.Fatal(err)
	}
	spec, err := client("").Hello(ctx, wire.Hello{Boot: "boot-1", MAC: mac, Role: images.RoleWorker})
	if err != nil || spec.Verdict != wire.VerdictBoot || spec.Image != d || spec.Token == "" {
		t.Fatalf("hello of an approved node: %+v, %v", spec, err)
	}
	if want := []wire.Head{{Name: "head1", URL: "https://10.77.0.1"}}; !cmp.Equal(want, spec.Heads) {
		t.Errorf("heads %v, want %v", spec.Heads, want)
	}
	report := func(boot, mac string) func(*wire.Client) error {
		return func(c *wire.Client) error {
			return c.Report(ctx, wire.Report{Boot: boot, MAC: mac, Uptime: 3, Stages: []wire.StageResult{{Stage: wire.StageUp, Outcome: wire.OutcomeDone, At: 3}}})
		}
	}
	blob := func(c *wire.Client) error {
		r, _, err := c.Blob(ctx, d)
		if err == nil {
			r.Close()
		}
		return err
	}
	nodes := func(c *wire.Client) error { _, err := c.Nodes(ctx, ""); return err }
	tests := []struct {
		name string
		call func(*wire.Client) error
		want map[string]int // by token: none, bad, boot, owner
	}{
		{"nodes", nodes, map[string]int{"": 401, "bad": 401, spec.Token: 403, ownerToken: 200}},
		{"blob", blob, map[string]int{"": 401, "bad": 401, spec.Token: 200, ownerToken: 200}},
		{"report", report("boot-1", mac), map[string]int{"": 401, "bad": 401, spec.Token: 200}},
		{"report of another machine", report("boot-1", "52:54:00:77:00:0b"), map[string]int{spec.Token: 403}},
		{"report of another boot", report("boot-2", mac), map[string]int{spec.Token: 403}},
	}
	for _, tt := range tests {
		for token, want := range tt.want {
			if got := statusOf(tt.call(client(token))); got != want {
				t.Errorf("%s with token %.12q: status %d, want %d", tt.name, token, got, want)
			}
		}
	}
	// On the socket nobody needs a token: its permissions are the credentials.
	if err := nodes(serveAPI(t, h, true)("")); err != nil {
		t.Errorf("nodes over the socket: %v", err)
	}
	n, err := client(ownerToken).Node(ctx, name)
	if err != nil || n.Phase != wire.PhaseUp || n.Running != d {
		t.Errorf("after its report the node is %+v, %v; want up with %s", n, err, d.Short())
	}
}

func TestUnknownMachineWaitsForApproval(t *testing.T) {
	h, d := testHead(t)
	c := serveAPI(t, h, false)(ownerToken)
	ctx := t.Context()
	hello := wire.Hello{Boot: "b", MAC: "52:54:00:77:00:0c", Inventory: wire.Inventory{CPUs: 2, MemoryMB: 512}}
	spec, err := c.Hello(ctx, hello)
	if err != nil || spec.Verdict != wire.VerdictWait || spec.Token != "" || !strings.HasPrefix(spec.Try, "masthead node approve ") {
		t.Fatalf("an unknown machine is told %+v, %v", spec, err)
	}
	list, err := c.Nodes(ctx, "")
	if err != nil || len(list) != 1 || list[0].Phase != wire.PhaseDiscovered || list[0].Inventory.CPUs != 2 {
		t.Fatalf("nodes: %+v, %v", list, err)
	}
	yes, name := true, "n07"
	dry, err := c.ChangeNode(ctx, list[0].Name, wire.NodeChange{Name: &name, Approved: &yes, DryRun: true})
	if err != nil || dry.Applied || len(dry.Diff) != 2 {
		t.Errorf("dry run: %+v, %v", dry, err)
	}
	if spec, _ := c.Hello(ctx, hello); spec.Verdict != wire.VerdictWait {
		t.Errorf("a dry run has approved the machine: %+v", spec)
	}
	if _, err := c.ChangeNode(ctx, list[0].Name, wire.NodeChange{Name: &name, Approved: &yes}); err != nil {
		t.Fatal(err)
	}
	if spec, err := c.Hello(ctx, hello); err != nil || spec.Verdict != wire.VerdictBoot || spec.Name != name || spec.Image != d {
		t.Errorf("after the approval: %+v, %v", spec, err)
	}
}

func TestProblemsSayWhatToType(t *testing.T) {
	h, _ := testHead(t)
	c := serveAPI(t, h, false)(ownerToken)
	ctx := t.Context()
	a, b, mac := "n01", "n02", "52:54:00:77:00:0a"
	if _, err := c.AddNode(ctx, wire.NodeChange{Name: &a, MAC: &mac}); err != nil {
		t.Fatal(err)
	}
	image := "nosuch"
	_, conflict := c.AddNode(ctx, wire.NodeChange{Name: &b, MAC: &mac})
	_, missing := c.Node(ctx, "n99")
	_, invalid := c.ChangeNode(ctx, a, wire.NodeChange{Image: &image})
	tests := []struct {
		name string
		err  error
		want int
		say  string
	}{
		{"two machines, one MAC", conflict, 409, "n01"},
		{"no such node", missing, 404, "n99"},
		{"no such image", invalid, 400, "nosuch"},
	}
	for _, tt := range tests {
		if got := statusOf(tt.err); got != tt.want || !strings.Contains(tt.err.Error(), tt.say) {
			t.Errorf("%s: %d %v, want %d that names %s", tt.name, got, tt.err, tt.want, tt.say)
		}
		var p *wire.ProblemError
		if errors.As(tt.err, &p) && p.Try() == "" {
			t.Errorf("%s: %v does not say what to type", tt.name, tt.err)
		}
	}
}

func TestBodiesAreStrict(t *testing.T) {
	h, _ := testHead(t)
	srv := httptest.NewServer((&api{head: h, now: time.Now}).handler(true))
	defer srv.Close()
	tests := []struct {
		body string
		want int
	}{
		{`{"name":"n01","colour":"red"}`, 400},
		{`{"name":"n01"}{"name":"n02"}`, 400},
		{`{`, 400},
		{`"` + strings.Repeat("x", maxBody) + `"`, 413},
	}
	for _, tt := range tests {
		resp, err := http.Post(srv.URL+wire.PathNodes, "application/json", strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.want {
			t.Errorf("body %.30q: status %d, want %d", tt.body, resp.StatusCode, tt.want)
		}
	}
}

func TestOpenAPIHasEveryRoute(t *testing.T) {
	h, _ := testHead(t)
	a := &api{head: h, now: time.Now}
	srv := httptest.NewServer(a.handler(false))
	defer srv.Close()
	resp, err := http.Get(srv.URL + wire.PathOpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc struct {
		Paths      map[string]map[string]any
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	for _, r := range a.routes() {
		method, path, _ := strings.Cut(r.pattern, " ")
		if doc.Paths[path][strings.ToLower(method)] == nil {
			t.Errorf("%s is not in the document", r.pattern)
		}
	}
	if doc.Components.Schemas["Hello"].Properties["inventory"] == nil {
		t.Errorf("the schema of Hello lacks its inventory: %v", doc.Components.Schemas["Hello"])
	}
}

func TestEventsStream(t *testing.T) {
	h, _ := testHead(t)
	srv := httptest.NewServer((&api{head: h, now: time.Now}).handler(true))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+wire.PathEvents, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.reg.Event(wire.Event{Kind: "dhcp", Text: "before"})
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h.reg.Event(wire.Event{Kind: "dhcp", Text: "after"})
	var got strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(got.String(), `"after"`) {
		n, err := resp.Body.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, got.String())
		}
		got.Write(buf[:n])
	}
	if !strings.Contains(got.String(), `"before"`) || !strings.HasPrefix(got.String(), "data: {") {
		t.Errorf("stream %q", got.String())
	}
}

func TestFirmwareGetsItsFilesAndNothingElse(t *testing.T) {
	h, d := testHead(t)
	srv := httptest.NewServer(h.boot)
	defer srv.Close()
	get := func(path string) (int, string) {
		resp, err := http.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if code, body := get("/boot/undionly.kpxe"); code != 200 || body != "loader" {
		t.Errorf("loader: %d %q", code, body)
	}
	code, script := get("/boot/script?mac=52:54:00:77:00:0a")
	for _, want := range []string{"#!ipxe", d.Hex()[:12], "masthead.head=https://10.77.0.1", "masthead.ca=" + string(h.authority.Digest())} {
		if code != 200 || !strings.Contains(script, want) {
			t.Errorf("script lacks %q: %d\n%s", want, code, script)
		}
	}
	if n, ok := h.reg.ByMAC("52:54:00:77:00:0a"); !ok || n.Approved {
		t.Errorf("the machine that asked is %+v; want it discovered", n)
	}
	for _, path := range []string{"/boot/../../etc/passwd", "/boot/%2e%2e/%2e%2e/etc/passwd", "/etc/passwd", "/boot/..%5c..%5cboot.ini", "/api/v1/nodes", "/boot/" + strings.Repeat("a/", 500)} {
		if code, body := get(path); code != 404 || strings.Contains(body, "root:") {
			t.Errorf("%s: %d %.60q, want 404", path, code, body)
		}
	}
	if f, err := h.tftpFiles("undionly.kpxe"); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
	if _, err := h.tftpFiles("vmlinuz"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("TFTP of a name that is no loader: %v", err)
	}
}

func TestPackOfTheMediumIsServed(t *testing.T) {
	h, d := testHead(t)
	plan, err := images.PlanPack(h.library.store, map[string]images.Digest{"worker": d, "spare": d})
	if err != nil {
		t.Fatal(err)
	}
	r, err := plan.Open()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pack")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Name, cfg.StateDir, cfg.Pack = "head2", t.TempDir(), file
	other, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	list, _, err := other.library.list()
	if err != nil || len(list) != 2 || list[0].Tag != "spare" || list[1].Digest != d {
		t.Errorf("images of a head without a store of its own: %+v, %v", list, err)
	}
	if got, err := other.library.resolve("worker"); got != d || err != nil {
		t.Errorf("resolve: %s, %v", got, err)
	}
	if got := other.library.defaultImage(); got != "" {
		t.Errorf("of two worker images %q became the default", got)
	}
	cut := filepath.Join(t.TempDir(), "cut")
	if err := os.WriteFile(cut, data[:len(data)-1], 0o644); err != nil {
		t.Fatal(err)
	}
	cfg.Pack, cfg.StateDir = cut, t.TempDir()
	if _, err := New(cfg); !errors.Is(err, images.ErrTruncated) {
		t.Errorf("a truncated pack: %v", err)
	}
}

func TestOneDamagedImageStopsNoOther(t *testing.T) {
	h, d := testHead(t)
	bad, err := h.library.store.Manifest(d)
	if err != nil {
		t.Fatal(err)
	}
	bad.Name = "bad"
	broken, err := h.library.store.PutManifest(bad)
	if err == nil {
		err = h.library.store.Tag("bad", broken)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(h.library.store.Dir(), "blobs", broken.Hex()[:2], broken.Hex()), []byte("{}"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if list, err := h.images(); err != nil || len(list) != 2 || list[0].Tag != "bad" || !strings.Contains(list[0].Note, "cannot be used") || list[1].Note != "" {
			t.Errorf("images: %+v, %v; want the whole one, and the other with why it is none", list, err)
		}
	}
	if h.defaultImage() != "worker" {
		t.Errorf("default image %q", h.defaultImage())
	}
	if f, err := h.tftpFiles("undionly.kpxe"); err != nil {
		t.Errorf("loader: %v", err)
	} else {
		f.Close()
	}
	said := 0
	for _, e := range h.reg.Log().Last(100) {
		if strings.Contains(e.Text, "masthead image rm bad") {
			said++
		}
	}
	if said != 1 {
		t.Errorf("the damaged image is an event %d times, want once", said)
	}
}

func TestConfigReportsEverything(t *testing.T) {
	_, err := Config{Name: "Bad Name", DHCP: "maybe", Interface: "eth0"}.complete()
	for _, want := range []string{"name", "folder for the state", `dhcp "maybe"`, "interface eth0: no address"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not mention %s", err, want)
		}
	}
}
