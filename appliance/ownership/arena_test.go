package ownership

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"masthead/appliance/failover"
	"masthead/node/wire"
	"masthead/vmtest/arena"
	"masthead/vmtest/arena/heads"
	"masthead/vmtest/prerequisite"
	"masthead/vmtest/prober"
)

// The real daemon, as processes in network namespaces, with a prober outside of the heads.

var errNotYet = errors.New("not yet")

var build struct {
	once sync.Once
	path string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if build.path != "" {
		_ = os.RemoveAll(filepath.Dir(build.path)) // a temporary folder of the host's: what is left there is its business
	}
	os.Exit(code)
}

// program is the masthead that is tested: MASTHEAD_BIN, or one that is built now.
func program(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("MASTHEAD_BIN"); path != "" {
		return path
	}
	build.once.Do(func() {
		dir, err := os.MkdirTemp("", "masthead-ownership-")
		if err != nil {
			build.err = err
			return
		}
		build.path = filepath.Join(dir, "masthead")
		out, err := exec.Command("go", "build", "-o", build.path, "masthead/cmd/masthead").CombinedOutput()
		if err != nil {
			build.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.path
}

// ring is a cluster in an arena, with a prober: what fails ends the test.
type ring struct {
	*heads.Cluster
	t      testing.TB
	dir    string // of the heads' files
	prober *arena.Watch
}

// newRing makes heads and, with witnesses, a panel. Nothing runs yet but the prober. document is the configuration
// but for the VIP and the heads.
func newRing(t testing.TB, n, witnesses int, document string) *ring {
	t.Helper()
	return newRingOf(t, heads.Config{Heads: n, Witnesses: witnesses, Document: document})
}

func newRingOf(t testing.TB, c heads.Config) *ring {
	t.Helper()
	prerequisite.Root(t)
	prerequisite.Programs(t, "ip", "nft")
	c.Program, c.Dir = program(t), t.TempDir()
	r := &ring{t: t, dir: c.Dir}
	var err error
	if r.Cluster, err = heads.New(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	r.prober, err = r.Machine(heads.Client).Watch(heads.VIP.Addr())
	r.must(err)
	return r
}

func (r *ring) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *ring) close() {
	if r.prober != nil {
		if err := r.prober.Close(); err != nil {
			r.t.Error(err)
		}
	}
	if r.t.Failed() {
		for _, name := range r.Names {
			if data, err := os.ReadFile(r.Log(name)); err == nil {
				r.t.Logf("%s:\n%s", name, data[max(0, len(data)-8000):])
			}
		}
		if r.prober != nil {
			r.t.Logf("who answered:\n%s", prober.Text(r.prober.Answers(0), r.NameOf))
		}
	}
	if err := r.Close(); err != nil {
		r.t.Errorf("take the arena down: %v", err)
	}
}

func (r *ring) boot(head string)                  { r.t.Helper(); r.must(r.Boot(head)) }
func (r *ring) restart(head string)               { r.t.Helper(); r.must(r.Restart(head)) }
func (r *ring) kill(head string)                  { r.t.Helper(); r.must(r.Kill(head)) }
func (r *ring) signal(head string, s unix.Signal) { r.t.Helper(); r.must(r.Signal(head, s)) }
func (r *ring) powerCut(head string)              { r.t.Helper(); r.must(r.PowerCut(head)) }
func (r *ring) powerOn(head string)               { r.t.Helper(); r.must(r.PowerOn(head)) }

func (r *ring) client(head string) *wire.Client              { return r.API(head) }
func (r *ring) status(head string) (wire.OwnerStatus, error) { return r.Status(head) }

// await waits until something is so.
func (r *ring) await(within time.Duration, what string, is func() error) {
	r.t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := is()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: not within %v: %v", what, within, err)
		}
		time.Sleep(10 * time.Millisecond) // other processes have no events for us
	}
}

// owner waits until a head owns the cluster and answers for the VIP.
func (r *ring) owner(head string, within time.Duration) {
	r.t.Helper()
	r.await(within, head+" owns the cluster", func() error {
		s, err := r.status(head)
		if err != nil {
			return err
		}
		if s.Owner != head || s.Why.Phase != failover.Active.String() {
			text, _ := json.Marshal(s.Why)
			return fmt.Errorf("owner %q: %s", s.Owner, text)
		}
		if mac, at := r.prober.Last(); r.NameOf(mac) != head || r.prober.Now()-at > 100*time.Millisecond {
			return fmt.Errorf("the address was last answered by %q, %v ago", r.NameOf(mac), r.prober.Now()-at)
		}
		return nil
	})
}

// phase waits until a head is in a phase.
func (r *ring) phase(head string, p failover.Phase, within time.Duration) {
	r.t.Helper()
	r.await(within, fmt.Sprintf("%s is in phase %s", head, p), func() error {
		s, err := r.status(head)
		if err == nil && s.Why.Phase != p.String() {
			err = fmt.Errorf("it is in phase %s: %s", s.Why.Phase, s.Why.Summary)
		}
		return err
	})
}

// longest is the longest silence of another address since from.
func (r *ring) longest(w *arena.Watch, from time.Duration) time.Duration {
	return prober.Longest(w.Answers(from - 4*prober.Every)).Length()
}

// gap is the longest silence of the VIP since from, and fails the test if two heads answered at once.
func (r *ring) gap(from time.Duration) prober.Gap {
	r.t.Helper()
	answers := r.prober.Answers(from - 4*prober.Every) // the last answer before is where a silence begins
	for _, d := range prober.Doubles(answers, 4*prober.Every) {
		r.t.Errorf("two owners at once: %s answered from %v to %v between answers of another", r.NameOf(d.MAC), d.First, d.Last)
	}
	return prober.Longest(answers)
}
