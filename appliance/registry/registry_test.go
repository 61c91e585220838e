package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"masthead/appliance/state"
	"masthead/node/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	admin = state.Origin{Who: "admin", Where: "local"}
	here  = netip.MustParseAddr("10.0.0.50")
	start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

func openState(tb testing.TB, dir string) *state.DB {
	tb.Helper()
	db, err := state.Open(state.Config{Dir: dir, Head: "head-1"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	return db
}

func newRegistry(tb testing.TB, db *state.DB) *Registry {
	tb.Helper()
	r, err := New(Config{
		Store: db, Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, Image: resolveTest,
		Taken: func(a netip.Addr) (string, bool) { return "head-1", a == netip.MustParseAddr("10.0.0.1") },
		Now:   func() time.Time { return start },
	})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func mac(n int) string { return fmt.Sprintf("52:54:00:00:%02x:%02x", n>>8, n&255) }

func add(t *testing.T, r *Registry, name string, n int) {
	t.Helper()
	if _, err := r.Add(t.Context(), admin, wire.NodeChange{Name: &name, MAC: ptr(mac(n)), Image: ptr("worker")}); err != nil {
		t.Fatal(err)
	}
}

// began enters that a machine has said hello, without the events of it.
func began(r *Registry, n int, boot string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(mac(n)).boot(boot, at)
}

func names(nodes []wire.Node) (s []string) {
	for _, n := range nodes {
		s = append(s, n.Name)
	}
	return s
}

func list(t *testing.T, r *Registry, set string) []string {
	t.Helper()
	nodes, err := r.List(set, start)
	if err != nil {
		t.Fatal(err)
	}
	return names(nodes)
}

func TestChanges(t *testing.T) {
	dir := t.TempDir()
	db := openState(t, dir)
	r := newRegistry(t, db)
	dry := wire.NodeChange{Name: ptr("n01"), MAC: ptr(mac(1)), DryRun: true}
	changed, err := r.Add(t.Context(), admin, dry)
	if err != nil || changed.Applied || len(changed.Diff) != 3 || changed.Node.Phase != wire.PhaseKnown {
		t.Errorf("dry run: %+v, %v", changed, err)
	}
	if got := list(t, r, ""); len(got) != 0 {
		t.Errorf("a dry run made %v", got)
	}
	for i := 12; i > 0; i-- {
		add(t, r, fmt.Sprintf("n%d", i), i)
	}
	if diff := cmp.Diff([]string{"n1", "n2", "n9", "n10"}, list(t, r, "n[1-2,9-10]")); diff != "" {
		t.Error(diff)
	}

	all, err := r.Set(t.Context(), admin, []string{"n1", "n2"}, wire.NodeChange{Groups: &[]string{"rack1"}, Root: ptr("ram")})
	if err != nil || len(all) != 2 || !all[1].Applied || all[1].Node.Root != "ram" {
		t.Errorf("Set: %+v, %v", all, err)
	}
	if diff := cmp.Diff([]string{"n1"}, list(t, r, "@rack1,-n2,root=x")); diff != "" {
		t.Error(diff)
	}
	again, err := r.Set(t.Context(), admin, []string{"n1"}, wire.NodeChange{Root: ptr("ram")})
	if err != nil || len(again[0].Diff) != 0 {
		t.Errorf("Set to the same: %+v, %v", again, err)
	}
	if _, err := r.Set(t.Context(), admin, []string{"n1", "n2"}, wire.NodeChange{Name: ptr("x")}); !errors.Is(err, ErrInvalid) {
		t.Errorf("one name for two: %v", err)
	}
	if _, err := r.Set(t.Context(), admin, []string{"n1", "n99"}, wire.NodeChange{Root: ptr("lazy")}); !errors.Is(err, ErrNotFound) {
		t.Errorf("one of two is unknown: %v", err)
	}
	if n, _ := r.Node("n1", start); n.Root != "ram" {
		t.Error("a change of two nodes was half made")
	}
	if _, err := r.Set(t.Context(), admin, []string{"n1"}, wire.NodeChange{Address: ptr("10.0.0.1")}); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "head-1") {
		t.Errorf("a head's address: %v", err)
	}

	if _, err := r.Set(t.Context(), admin, []string{"n1"}, wire.NodeChange{Name: ptr("login"), MAC: ptr(mac(100)), Address: ptr("10.0.0.77")}); err != nil {
		t.Fatal(err)
	}
	if removed, err := r.Remove(t.Context(), admin, []string{"n3", "n4"}, false); err != nil || len(removed) != 2 || removed[0].Node.Name != "n3" {
		t.Errorf("Remove: %+v, %v", removed, err)
	}
	check := func(r *Registry) {
		t.Helper()
		if diff := cmp.Diff([]string{"login", "n2", "n5", "n6", "n7", "n8", "n9", "n10", "n11", "n12"}, list(t, r, "")); diff != "" {
			t.Error(diff)
		}
		login, ok := r.ByMAC(strings.ToUpper(mac(100)))
		byAddr, ok2 := r.ByAddress(netip.MustParseAddr("10.0.0.77"))
		if !ok || !ok2 || login.Name != "login" || byAddr.Name != "login" {
			t.Errorf("login: %+v %t, by address %+v %t", login, ok, byAddr, ok2)
		}
		if _, ok := r.ByMAC(mac(1)); ok {
			t.Error("the MAC address of before is still known")
		}
	}
	check(r)
	entries, err := db.Audit(1)
	if err != nil || len(entries) != 1 || len(entries[0].Changes) != 2 || entries[0].Who != "admin" {
		t.Errorf("audit: %+v, %v", entries, err)
	}
	db.Close()
	check(newRegistry(t, openState(t, dir)))
}

func TestDiscoverApproveHello(t *testing.T) {
	r := newRegistry(t, openState(t, t.TempDir()))
	hello := wire.Hello{Boot: "b1", MAC: mac(1), Role: "worker", Inventory: wire.Inventory{UUID: "U1", CPUs: 4, MACs: []string{mac(1), mac(2)}}}
	say := func(h wire.Hello) wire.Spec {
		t.Helper()
		spec, err := r.Hello(t.Context(), h, here, start)
		if err != nil {
			t.Fatal(err)
		}
		return spec
	}
	if err := r.Observe(mac(1), results("dhcp")[0], start); err != nil {
		t.Fatal(err)
	}
	spec := say(hello)
	const auto = "x-525400000001"
	want := wire.Spec{Verdict: wire.VerdictWait, Name: auto, Reason: "this machine waits for the administrator's approval", Try: "masthead node approve " + auto, RetryAfter: retryApproval}
	if diff := cmp.Diff(want, spec); diff != "" {
		t.Error(diff)
	}
	say(hello)
	say(hello)
	n, err := r.Node(auto, start)
	if err != nil || n.Phase != wire.PhaseDiscovered || n.Inventory.CPUs != 4 || n.Stage != wire.StageDHCP {
		t.Errorf("discovered: %+v, %v", n, err)
	}
	if name, found, err := r.Discover(t.Context(), Discovery{MAC: mac(1)}); name != auto || found || err != nil {
		t.Errorf("Discover again: %s %t %v", name, found, err)
	}

	if _, err := r.Set(t.Context(), admin, []string{auto}, wire.NodeChange{Approved: ptr(true), Name: ptr("n01")}); err != nil {
		t.Fatal(err)
	}
	if spec := say(hello); spec.Verdict != wire.VerdictWait || !strings.Contains(spec.Reason, "there is no default") {
		t.Errorf("without an image: %+v", spec)
	}
	if _, err := r.ChangeSettings(t.Context(), admin, wire.SettingsChange{DefaultImage: ptr("nosuch")}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a default image that is not there: %v", err)
	}
	if _, err := r.ChangeSettings(t.Context(), admin, wire.SettingsChange{DefaultImage: ptr("worker")}); err != nil {
		t.Fatal(err)
	}
	if spec := say(hello); spec.Verdict != wire.VerdictBoot || spec.Name != "n01" || spec.Image != imageA {
		t.Errorf("approved: %+v", spec)
	}

	// The other NIC of the machine, at its next boot; and a stranger that has the same address on a second NIC.
	other := hello
	other.MAC, other.Boot = mac(2), "b2"
	if spec := say(other); spec.Name != "n01" || spec.Verdict != wire.VerdictBoot {
		t.Errorf("by the other NIC: %+v", spec)
	}
	if rec, ok := r.ByMAC(mac(2)); ok {
		t.Errorf("the other NIC would get the address of %+v", rec)
	}
	if name, found, err := r.Discover(t.Context(), Discovery{MAC: mac(2)}); name != "n01" || found || err != nil {
		t.Errorf("Discover by the other NIC: %s %t %v", name, found, err)
	}
	if err := r.Report(wire.Report{Boot: "b2", MAC: mac(2), Stages: results("up")}, start); err != nil {
		t.Error(err)
	}
	stranger := wire.Hello{Boot: "b3", MAC: mac(3), Inventory: wire.Inventory{UUID: "U3", MACs: []string{mac(3), mac(1)}}}
	if spec := say(stranger); spec.Name != "x-525400000003" {
		t.Errorf("a stranger: %+v", spec)
	}
	clone := hello
	clone.Boot, clone.Inventory.UUID = "b4", "U4"
	if spec := say(clone); spec.Verdict != wire.VerdictRefused || !strings.Contains(spec.Reason, "two machines claim the name n01") {
		t.Errorf("a clone while the first lives: %+v", spec)
	}
	why, err := r.Why("n01", start)
	if err != nil || !strings.Contains(why.Verdict, "two machines claim the name n01") || why.Node.Phase != wire.PhaseUp {
		t.Errorf("why: %+v, %v", why, err)
	}
	if later, err := r.Why("n01", start.Add(StalledAfter)); err != nil || strings.Contains(later.Verdict, "two machines") {
		t.Errorf("why, long after: %+v, %v", later, err)
	}
	count := 0
	for _, e := range why.Events {
		if strings.Contains(e.Text, "approval") && e.Kind == "hello" {
			count++
		}
	}
	if count != 1 {
		t.Errorf("a machine that asks again and again made %d events, want 1: %+v", count, why.Events)
	}
	for _, bad := range []wire.Hello{{}, {Boot: "x", MAC: "zz"}, {MAC: mac(1)}, {Boot: strings.Repeat("x", 65), MAC: mac(1)}} {
		if _, err := r.Hello(t.Context(), bad, here, start); !errors.Is(err, ErrInvalid) {
			t.Errorf("Hello(%+v) = %v", bad, err)
		}
	}
}

func TestAutoApproveStorm(t *testing.T) {
	dir := t.TempDir()
	r := newRegistry(t, openState(t, dir))
	change := wire.SettingsChange{AutoApprove: ptr(true), NamePattern: ptr("c%03d"), DefaultImage: ptr("worker")}
	if _, err := r.ChangeSettings(t.Context(), admin, change); err != nil {
		t.Fatal(err)
	}
	const n = 300
	var wg sync.WaitGroup
	for i := range n {
		for range 2 { // its DHCP request and its hello, at once
			wg.Go(func() {
				spec, err := r.Hello(context.Background(), wire.Hello{Boot: fmt.Sprint(i), MAC: mac(i)}, here, start)
				if err != nil || spec.Verdict != wire.VerdictBoot {
					t.Errorf("%+v, %v", spec, err)
				}
			})
		}
	}
	wg.Wait()
	got := list(t, r, "")
	if len(got) != n || got[0] != "c001" || got[n-1] != "c300" {
		t.Errorf("%d nodes, %s to %s", len(got), got[0], got[len(got)-1])
	}
	if next := r.NextName(); next != "c301" {
		t.Errorf("NextName() = %s", next)
	}
}

func TestReport(t *testing.T) {
	r := newRegistry(t, openState(t, t.TempDir()))
	add(t, r, "n01", 1)
	report := func(at time.Duration, rep wire.Report) wire.Node {
		t.Helper()
		rep.MAC = mac(1)
		if err := r.Report(rep, start.Add(at)); err != nil {
			t.Fatal(err)
		}
		n, err := r.Node("n01", start.Add(at))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	began(r, 1, "1", start)
	n := report(0, wire.Report{Boot: "1", Uptime: 5, Stages: append(results("mounts"),
		wire.StageResult{Stage: wire.StageNetwork, Outcome: wire.OutcomeFailed, Cause: "no DHCP reply"},
		wire.StageResult{Stage: wire.StageKernel, Outcome: wire.OutcomeFailed, Cause: "a machine does not say this"})})
	if n.Phase != wire.PhaseFailed || n.Stage != wire.StageNetwork {
		t.Errorf("a failed stage: %+v", n)
	}
	n = report(time.Second, wire.Report{Boot: "1", Stages: append(results("network", "hello", "root", "handover"),
		wire.StageResult{Stage: wire.StageUp, Outcome: wire.OutcomeDone, At: 12.5}), Root: &wire.RootStatus{Source: "head-1", Chunks: 10}})
	if n.Phase != wire.PhaseUp || n.BootedIn != 12.5 || n.RootState.Chunks != 10 {
		t.Errorf("up: %+v", n)
	}
	report(2*time.Second, wire.Report{Boot: "1", Root: &wire.RootStatus{Source: "", Errors: 2, Waiting: 3}})
	report(3*time.Second, wire.Report{Boot: "1", Root: &wire.RootStatus{Source: "head-2", Errors: 2}, Note: "hello there"})
	began(r, 1, "2", start.Add(4*time.Second))
	n = report(4*time.Second, wire.Report{Boot: "2", Stages: results("mounts")})
	if n.Phase != wire.PhaseBooting || n.RootState != nil || n.BootedIn != 0 {
		t.Errorf("the next boot: %+v", n)
	}
	n = report(100*time.Second, wire.Report{Boot: "1", Stages: results("up")})
	if !n.Seen.Equal(start.Add(4*time.Second)) || n.Phase == wire.PhaseUp {
		t.Errorf("a late word of the boot before counted: %+v", n)
	}
	var texts []string
	for _, e := range r.Log().Last(100) {
		texts = append(texts, e.Kind+": "+e.Text)
	}
	want := []string{
		"admin: is added (admin)", "report: stage network failed: no DHCP reply",
		"root: no source of its root answers; reads wait", "root: 2 fetches of its root failed or did not verify",
		"root: reads its root from head-2", "report: hello there",
	}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Error(diff)
	}
	if err := r.Report(wire.Report{Boot: "1", MAC: mac(9)}, start); !errors.Is(err, ErrNotFound) {
		t.Errorf("a stranger's report: %v", err)
	}
	for _, bad := range []wire.Report{{MAC: mac(1)}, {MAC: mac(1), Boot: "2", Running: "worker"}} {
		if err := r.Report(bad, start); !errors.Is(err, ErrInvalid) {
			t.Errorf("Report(%+v) = %v", bad, err)
		}
	}
}

func TestSummariesSurvive(t *testing.T) {
	dir := t.TempDir()
	db := openState(t, dir)
	r := newRegistry(t, db)
	add(t, r, "n01", 1)
	if err := r.Observe(mac(1), results("dhcp")[0], start); err != nil {
		t.Fatal(err)
	}
	began(r, 1, "1", start)
	if err := r.Report(wire.Report{Boot: "1", MAC: mac(1), Stages: results("up"), Running: imageA}, start); err != nil {
		t.Fatal(err)
	}
	if err := r.SaveSummaries(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, _ := r.Why("n01", start)
	db.Close()
	after, err := newRegistry(t, openState(t, dir)).Why("n01", start)
	if diff := cmp.Diff(before, after, cmpopts.IgnoreFields(wire.Why{}, "Events"), cmpopts.EquateComparable(netip.Addr{})); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if n := after.Node; n.Phase != wire.PhaseUp || len(after.Stages) != 2 || n.Running != imageA {
		t.Errorf("after a restart: %+v", after)
	}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		db := openState(t, dir)
		r, err := New(Config{Store: db})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		synctest.Wait()
		add(t, r, "n01", 1)
		began(r, 1, "1", time.Now())
		if err := r.Report(wire.Report{Boot: "1", MAC: mac(1), Stages: results("up")}, time.Now()); err != nil {
			t.Fatal(err)
		}

		// A change that somebody else made in the state.
		op, err := state.Put(state.KindNode, "n02", Record{MAC: mac(2), Approved: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Apply(t.Context(), admin, op, state.Delete(state.KindNode, "nosuch")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n, err := r.Node("n02", time.Now()); err != nil || n.MAC != mac(2) {
			t.Errorf("a node made elsewhere: %+v, %v", n, err)
		}

		time.Sleep(sweepEvery)
		synctest.Wait()
		if got := db.List(state.KindBoot, ""); len(got) != 1 {
			t.Errorf("%d summaries in the state after %v, want 1", len(got), sweepEvery)
		}
		time.Sleep(DownAfter + 2*sweepEvery)
		synctest.Wait()
		last := r.Log().Last(1)
		if len(last) != 1 || last[0].Node != "n01" || !strings.HasPrefix(last[0].Text, "is down: silent for 3") {
			t.Errorf("a node that fell silent: %+v", last)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		db.Close()
	})
}

func TestLog(t *testing.T) {
	l := newLog()
	events, at := l.After(0)
	if len(events) != 0 || at != 0 {
		t.Errorf("empty: %v, %d", events, at)
	}
	for i := range keepLog + 10 {
		l.add(wire.Event{Text: fmt.Sprint(i)})
	}
	events, at = l.After(3)
	if len(events) != keepLog || events[0].Text != "10" || at != keepLog+10 {
		t.Errorf("a slow follower: %d events from %s, number %d", len(events), events[0].Text, at)
	}
	if events, _ := l.After(at - 2); len(events) != 2 || events[1].Text != fmt.Sprint(keepLog+9) {
		t.Errorf("the last two: %v", events)
	}
	if events, _ := l.After(1 << 60); len(events) != 0 {
		t.Errorf("from the future: %v", events)
	}
	got := make(chan []wire.Event)
	go func() {
		events, _, err := l.Next(t.Context(), at)
		if err != nil {
			t.Error(err)
		}
		got <- events
	}()
	l.add(wire.Event{Text: "new"})
	if events := <-got; len(events) != 1 || events[0].Text != "new" {
		t.Errorf("Next: %v", events)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := l.Next(ctx, at+1); !errors.Is(err, context.Canceled) {
		t.Errorf("Next after cancel: %v", err)
	}
}

// A full disk or a closed state stops changes with a clear word, and no machine that boots.
func TestStateRefuses(t *testing.T) {
	db := openState(t, t.TempDir())
	r := newRegistry(t, db)
	add(t, r, "n01", 1)
	db.Close()
	if _, err := r.Set(t.Context(), admin, []string{"n01"}, wire.NodeChange{Root: ptr("ram")}); !errors.Is(err, state.ErrClosed) {
		t.Errorf("Set: %v", err)
	}
	if n, _ := r.Node("n01", start); n.Root != "" {
		t.Error("a change that failed shows")
	}
	spec, err := r.Hello(t.Context(), wire.Hello{Boot: "1", MAC: mac(1), Inventory: wire.Inventory{CPUs: 1}}, here, start)
	if err != nil || spec.Verdict != wire.VerdictBoot {
		t.Errorf("Hello: %+v, %v", spec, err)
	}
}

func BenchmarkList5000(b *testing.B) {
	db := openState(b, b.TempDir())
	var ops []state.Op
	for i := range 5000 {
		op, err := state.Put(state.KindNode, fmt.Sprintf("n%04d", i), Record{MAC: mac(i), Approved: true, Groups: []string{"rack1"}, Attrs: map[string]string{"a": "b"}})
		if err != nil {
			b.Fatal(err)
		}
		inv, err := state.Put(state.KindInventory, mac(i), wire.Inventory{UUID: fmt.Sprint(i), MACs: []string{mac(i)}, Disks: []wire.Disk{{Name: "sda"}}})
		if err != nil {
			b.Fatal(err)
		}
		ops = append(ops, op, inv)
	}
	if _, err := db.Apply(b.Context(), admin, ops...); err != nil {
		b.Fatal(err)
	}
	r := newRegistry(b, db)
	for i := range 5000 {
		began(r, i, "1", start)
		if err := r.Report(wire.Report{Boot: "1", MAC: mac(i), Stages: results("up")}, start); err != nil {
			b.Fatal(err)
		}
	}
	for _, set := range []string{"", "@rack1,-n[0100-0200]", "n[0000-4999],-phase=down"} {
		b.Run("set="+set, func(b *testing.B) {
			for b.Loop() {
				if _, err := r.List(set, start); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("report", func(b *testing.B) {
		for i := range b.N {
			if err := r.Report(wire.Report{Boot: "1", MAC: mac(i % 5000), Root: &wire.RootStatus{Source: "a"}}, start); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sweep", func(b *testing.B) {
		for b.Loop() {
			r.Sweep(start)
		}
	})
	save := func(b *testing.B) {
		if err := r.SaveSummaries(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	save(b)
	b.Run("save/changed=0", func(b *testing.B) {
		for b.Loop() {
			save(b)
		}
	})
	for _, changed := range []int{1, 200, 5000} { // 200: a storm of 5,000 machines in a minute
		b.Run(fmt.Sprintf("save/changed=%d", changed), func(b *testing.B) {
			now := start
			for b.Loop() {
				now = now.Add(time.Second)
				up := results("up")
				up[0].At = now.Sub(start).Seconds()
				for i := range changed {
					if err := r.Report(wire.Report{Boot: "1", MAC: mac(i), Uptime: 1, Stages: up}, now); err != nil {
						b.Fatal(err)
					}
				}
				save(b)
			}
		})
	}
}
