package registry

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// A head that is killed between a boot and its sweep is told anew by the machine, and keeps what only it saw.
func TestReportOfForgottenBoot(t *testing.T) {
	dir := t.TempDir()
	db := openState(t, dir)
	r := newRegistry(t, db)
	add(t, r, "n01", 1)
	if err := r.Observe(mac(1), results("dhcp")[0], start); err != nil {
		t.Fatal(err)
	}
	if err := r.SaveSummaries(t.Context()); err != nil { // the sweep
		t.Fatal(err)
	}
	hello := wire.Hello{Boot: "b1", MAC: mac(1), Role: images.RoleWorker}
	if _, err := r.Hello(t.Context(), hello, here, start); err != nil {
		t.Fatal(err)
	}
	if err := r.Report(wire.Report{Boot: "b1", MAC: mac(1), Stages: results("mounts", "network", "up")}, start); err != nil {
		t.Fatal(err)
	}
	db.Close() // and nothing saved

	r = newRegistry(t, openState(t, dir))
	last := wire.Report{Boot: "b1", MAC: mac(1), Uptime: 60, Running: imageA}
	var refusal *Refusal
	if err := r.Report(last, start); !errors.Is(err, ErrNotFound) || !errors.As(err, &refusal) || refusal.Field != "boot" {
		t.Fatalf("a report of a boot that nobody knows: %v", err)
	}
	if n, err := r.Node("n01", start); err != nil || n.Phase != wire.PhaseBooting || n.Running != "" {
		t.Errorf("it left a trace: %+v, %v", n, err)
	}
	if _, err := r.Hello(t.Context(), hello, here, start); err != nil {
		t.Fatal(err)
	}
	last.Stages = results("mounts", "network", "up")
	if err := r.Report(last, start); err != nil {
		t.Fatal(err)
	}
	why, err := r.Why("n01", start)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range why.Stages {
		got = append(got, string(s.Stage))
	}
	if diff := cmp.Diff([]string{"dhcp", "mounts", "network", "up"}, got); diff != "" || why.Node.Phase != wire.PhaseUp || why.Boot != "b1" {
		t.Errorf("%+v\n%s", why, diff)
	}
}

// countingStore counts changes of the last boots.
type countingStore struct {
	state.Store
	writes, boots int
}

func (s *countingStore) Apply(ctx context.Context, o state.Origin, ops ...state.Op) (state.Ack, error) {
	if len(ops) > 0 && ops[0].Key.Kind == state.KindBoot {
		s.writes++
		s.boots += len(ops)
	}
	return s.Store.Apply(ctx, o, ops...)
}

// One write takes all that changed, and machines that only say that they live, or wait, cost none.
func TestSummariesAreCheap(t *testing.T) {
	store := &countingStore{Store: openState(t, t.TempDir())}
	r, err := New(Config{Store: store, Image: resolveTest, Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	const n = 20
	for i := range n {
		add(t, r, nodeName("n%d", i), i)
	}
	round := func(stages ...string) {
		t.Helper()
		for i := range n {
			if _, err := r.Hello(t.Context(), wire.Hello{Boot: "1", MAC: mac(i)}, here, start); err != nil {
				t.Fatal(err)
			}
			if err := r.Report(wire.Report{Boot: "1", MAC: mac(i), Stages: results(stages...), Running: imageA}, start); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.SaveSummaries(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	round("up")
	if store.writes != 1 || store.boots != n {
		t.Errorf("%d boots in %d writes, want %d in 1", store.boots, store.writes, n)
	}
	round()
	if store.writes != 1 {
		t.Errorf("machines that are as they were cost %d writes", store.writes-1)
	}
	for range 2 { // a machine that waits for approval, and asks again
		if _, err := r.Hello(t.Context(), wire.Hello{Boot: "w", MAC: mac(n)}, here, start); err != nil {
			t.Fatal(err)
		}
		if err := r.SaveSummaries(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if store.writes != 2 || store.boots != n+1 {
		t.Errorf("a machine that waits cost %d writes of %d boots, want 1 of 1", store.writes-1, store.boots-n)
	}
}

// A head runs what it booted from, whatever the store has for workers, and machines say best what they run.
func TestHeadsOwnRecord(t *testing.T) {
	own := images.DigestOf([]byte("head"))
	r := newRegistry(t, openState(t, t.TempDir())) // without a default image
	name, bare := "head1", "head2"
	for i, name := range []*string{&name, &bare} {
		if _, err := r.Add(t.Context(), admin, wire.NodeChange{Name: name, MAC: ptr(mac(i + 1)), Approved: ptr(true)}); err != nil {
			t.Fatal(err)
		}
	}
	hello := wire.Hello{Boot: "h", MAC: mac(1), Image: own, Role: images.RoleHead}
	spec, err := r.Hello(t.Context(), hello, netip.Addr{}, start)
	want := wire.Spec{Verdict: wire.VerdictBoot, Name: name, Image: own}
	if diff := cmp.Diff(want, spec); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	why, err := r.Why(name, start)
	if err != nil || why.Node.Running != own || strings.Contains(why.Verdict, "image") {
		t.Errorf("%+v, %v", why, err)
	}
	if got, want := why.Events[len(why.Events)-1].Text, "says hello, runs image "+own.Short(); got != want {
		t.Errorf("event %q, want %q", got, want)
	}
	if spec, err := r.Hello(t.Context(), wire.Hello{Boot: "h", MAC: mac(2), Role: images.RoleHead}, here, start); err != nil || spec.Verdict != wire.VerdictBoot || spec.Image != "" {
		t.Errorf("a head without an image: %+v, %v", spec, err)
	}
	hello.MAC = mac(3)
	if spec, err := r.Hello(t.Context(), hello, here, start); err != nil || spec.Verdict != wire.VerdictWait || spec.Image != "" {
		t.Errorf("a stranger that calls itself a head: %+v, %v", spec, err)
	}
	hello.Image = "sha256:x"
	if _, err := r.Hello(t.Context(), hello, here, start); !errors.Is(err, ErrInvalid) {
		t.Errorf("a hello with no digest for its image: %v", err)
	}

	// Told to run one image, the machine still runs another: it was greeted anew after the administrator chose.
	add(t, r, "n01", 9)
	if _, err := r.Hello(t.Context(), wire.Hello{Boot: "w", MAC: mac(9)}, here, start); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ says, want images.Digest }{{"", imageA}, {own, own}, {"", own}} {
		if err := r.Report(wire.Report{Boot: "w", MAC: mac(9), Running: tc.says}, start); err != nil {
			t.Fatal(err)
		}
		if n, err := r.Node("n01", start); err != nil || n.Running != tc.want {
			t.Errorf("it says %q: running %s, want %s, %v", tc.says.Short(), n.Running.Short(), tc.want.Short(), err)
		}
	}
}

func TestNodeShowsLease(t *testing.T) {
	r := newRegistry(t, openState(t, t.TempDir()))
	add(t, r, "n01", 1)
	ip := netip.MustParseAddr("10.0.0.130")
	lease := Lease{IP: ip, MAC: mac(1), State: "bound", Renewed: start, Expires: start.Add(time.Hour)}
	if err := r.CommitLease(t.Context(), lease, func(Lease) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Set(t.Context(), admin, []string{"n01"}, wire.NodeChange{Root: ptr("ram")}); err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]netip.Addr{0: ip, time.Hour: {}} {
		n, err := r.Node("n01", start.Add(after))
		if err != nil || n.Lease != want || n.Address.IsValid() {
			t.Errorf("after %v: lease %v, address %v, %v; want lease %v alone", after, n.Lease, n.Address, err, want)
		}
	}
}

// Something on a running machine that fetches a loader in its name is not a restart of the machine.
func TestFetchOnARunningMachineIsNoBoot(t *testing.T) {
	r := newRegistry(t, openState(t, t.TempDir()))
	add(t, r, "n01", 1)
	if _, err := r.Hello(t.Context(), wire.Hello{Boot: "b1", MAC: mac(1), Role: images.RoleWorker}, here, start); err != nil {
		t.Fatal(err)
	}
	report := func(after time.Duration) wire.Node {
		t.Helper()
		if err := r.Report(wire.Report{Boot: "b1", MAC: mac(1), Uptime: 60, Stages: results("up")}, start.Add(after)); err != nil {
			t.Fatal(err)
		}
		n, err := r.Node("n01", start.Add(after))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := report(0); n.Phase != wire.PhaseUp {
		t.Fatalf("after its report: %s", n.Phase)
	}
	fetched := results("script")[0]
	if err := r.Observe(mac(1), fetched, start.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	// A report that was under way when the machine restarted looks the same for a moment.
	if n := report(time.Minute + 2*time.Second); n.Phase != wire.PhaseBooting {
		t.Errorf("2 s after a script was fetched: %s, want booting", n.Phase)
	}
	if n := report(time.Minute + lateWord); n.Phase != wire.PhaseUp {
		t.Errorf("a machine that goes on reporting is %s, want up", n.Phase)
	}
}

// Firmware gives up one transfer for another; the first times out when the machine is past it, or just has the other.
func TestLateFailureOfAnEarlierStage(t *testing.T) {
	for _, seen := range [][]wire.StageResult{results("dhcp", "tftp"), results("dhcp", "tftp", "script")} {
		r := newRegistry(t, openState(t, t.TempDir()))
		add(t, r, "n01", 1)
		for _, s := range append(seen, wire.StageResult{Stage: wire.StageTFTP, Outcome: wire.OutcomeFailed, Cause: "timeout"}) {
			if err := r.Observe(mac(1), s, start); err != nil {
				t.Fatal(err)
			}
		}
		why, err := r.Why("n01", start)
		if err != nil || len(why.Stages) != len(seen) || why.Stages[1].Outcome != wire.OutcomeDone {
			t.Errorf("stages %+v, %v; want the transfer that was done", why.Stages, err)
		}
	}
}
