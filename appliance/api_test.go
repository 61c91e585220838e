package appliance

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/httpboot"
	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

const macA = "52:54:00:77:00:0a"

// newHead is a head without a network, whose API is reached as root on its machine does.
func newHead(t *testing.T, change func(*Config)) (*Head, *wire.Client) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Name, cfg.StateDir = "head1", t.TempDir()
	if change != nil {
		change(&cfg)
	}
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	srv := httptest.NewServer((&api{head: h, now: time.Now}).handler(true))
	t.Cleanup(srv.Close)
	return h, &wire.Client{Base: srv.URL, HTTP: srv.Client()}
}

func addNode(t *testing.T, c *wire.Client, name, mac, address string) {
	t.Helper()
	if _, err := c.AddNode(t.Context(), wire.NodeChange{Name: &name, MAC: &mac, Address: &address}); err != nil {
		t.Fatal(err)
	}
}

func status(err error) int {
	if p, ok := err.(*wire.ProblemError); ok {
		return p.Problem.Status
	}
	return 0
}

func TestSettingsAPI(t *testing.T) {
	h, c := newHead(t, nil)
	fresh := wire.Settings{NamePattern: "n%02d"}
	if got, err := c.Settings(t.Context()); err != nil || got != fresh {
		t.Errorf("fresh: %+v, %v", got, err)
	}
	yes, none := true, "nosuch"
	auto := wire.SettingsChanged{
		Settings: wire.Settings{AutoApprove: true, NamePattern: "n%02d"}, Diff: []wire.Difference{{Field: "auto-approve", Old: "false", New: "true"}},
	}
	for _, dry := range []bool{true, false} {
		auto.Applied = !dry
		got, err := c.ChangeSettings(t.Context(), wire.SettingsChange{AutoApprove: &yes, DryRun: dry})
		if diff := cmp.Diff(auto, got); err != nil || diff != "" {
			t.Errorf("dry run %t: %v\n%s", dry, err, diff)
		}
		if s := h.reg.Settings(); s.AutoApprove == dry {
			t.Errorf("dry run %t: %+v", dry, s)
		}
	}
	if _, err := c.ChangeSettings(t.Context(), wire.SettingsChange{DefaultImage: &none}); status(err) != http.StatusBadRequest {
		t.Errorf("an image that is not there: %v", err)
	}
	if log, err := h.db.Audit(1); err != nil || len(log) != 1 || log[0].Who != "admin" || log[0].Changes[0].Key != string(state.KindSetting)+"/auto-approve" {
		t.Errorf("audit: %+v, %v", log, err)
	}

	// Over the network it takes the administrator's token.
	srv := httptest.NewServer((&api{head: h, now: time.Now}).handler(false))
	defer srv.Close()
	stranger := &wire.Client{Base: srv.URL, HTTP: srv.Client()}
	if _, err := stranger.ChangeSettings(t.Context(), wire.SettingsChange{AutoApprove: &yes}); status(err) != http.StatusUnauthorized {
		t.Errorf("a stranger: %v", err)
	}
}

// What the agent does when a head has forgotten its boot: the status is what it looks at.
func TestReportOfUnknownBootIs404(t *testing.T) {
	_, c := newHead(t, nil)
	addNode(t, c, "n01", macA, "")
	if err := c.Report(t.Context(), wire.Report{Boot: "b", MAC: macA}); status(err) != http.StatusNotFound {
		t.Errorf("before its hello: %v", err)
	}
	if _, err := c.Hello(t.Context(), wire.Hello{Boot: "b", MAC: macA, Role: images.RoleWorker}); err != nil {
		t.Fatal(err)
	}
	if err := c.Report(t.Context(), wire.Report{Boot: "b", MAC: macA}); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// The head's own agent reports over the socket; its hello was said by the head itself when it started.
func TestOwnAgent(t *testing.T) {
	own := images.DigestOf([]byte("the head's image"))
	h, c := newHead(t, func(cfg *Config) {
		cfg.Self = &wire.Hello{Boot: "self", MAC: macA, Image: own, Role: images.RoleHead}
	})
	if err := h.knowSelf(t.Context()); err != nil {
		t.Fatal(err)
	}
	up := []wire.StageResult{{Stage: wire.StageUp, Outcome: wire.OutcomeDone, At: 9}}
	if err := c.Report(t.Context(), wire.Report{Boot: "self", MAC: macA, Stages: up}); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Node(t.Context(), "head1"); err != nil || n.Running != own || n.Phase != wire.PhaseUp {
		t.Errorf("%+v, %v", n, err)
	}
	// Where the head could not (its disk was full), the agent greets by itself and is given a token.
	spec, err := c.Hello(t.Context(), *h.cfg.Self)
	if err != nil || spec.Verdict != wire.VerdictBoot || spec.Token == "" || spec.Image != own {
		t.Errorf("its agent's hello: %+v, %v", spec, err)
	}
}

// A loader that UEFI fetches by HTTP is a machine's first stage after DHCP, told by the address that it comes from.
func TestLoaderByHTTPIsAStage(t *testing.T) {
	h, c := newHead(t, nil)
	addNode(t, c, "n01", macA, "10.77.0.11")
	fetch := httpboot.Fetch{Stage: wire.StageTFTP, Remote: netip.MustParseAddr("10.77.0.11"), Path: "/boot/snponly.efi", Began: time.Now()}
	show := func() string {
		t.Helper()
		why, err := c.Why(context.Background(), "n01")
		if err != nil || len(why.Stages) != 1 {
			t.Fatalf("%+v, %v", why, err)
		}
		s := why.Stages[0]
		return string(s.Stage) + " " + string(s.Outcome) + " " + s.Detail
	}
	h.fetched(fetch)
	if got, want := show(), "tftp running snponly.efi by HTTP"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	fetch.Ended, fetch.Whole, fetch.Bytes, fetch.Size = true, true, 300_000, 300_000
	h.fetched(fetch)
	if got, want := show(), "tftp done snponly.efi by HTTP, 300000 bytes"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	fetch.Remote = netip.MustParseAddr("10.77.0.99") // nobody's address: an event alone
	h.fetched(fetch)
	if last := h.reg.Log().Last(1); len(last) != 1 || last[0].MAC != "" || last[0].Kind != "http" {
		t.Errorf("a stranger's fetch: %+v", last)
	}
}
