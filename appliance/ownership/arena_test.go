package ownership

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"masthead/appliance/failover"
	"masthead/node/wire"
	"masthead/node/witness"
	"masthead/vmtest/arena"
	"masthead/vmtest/prober"
)

// The real daemon, as processes in network namespaces, with a prober outside of the heads.

var vipAddress = netip.MustParsePrefix("10.9.0.100/24")

// need says why a test cannot run here. Where everything is required it fails.
func need(t testing.TB, ok bool, what string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("MASTHEAD_REQUIRE") != "" {
		t.Fatalf("this test needs %s", what)
	}
	t.Skipf("this test needs %s", what)
}

var build struct {
	once sync.Once
	path string
	err  error
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

// ring is an arena with heads that are daemons.
type ring struct {
	*arena.Arena
	t       testing.TB
	bin     string
	dir     string
	names   []string
	conf    Config
	boots   map[string]int
	running map[string]*exec.Cmd
	cable   *arena.Cable
	prober  *prober.Prober
	stop    []func()
}

// newRing makes heads and, with witnesses, a panel. Nothing runs yet but the prober. document is the configuration
// but for the VIP.
func newRing(t testing.TB, heads, witnesses int, document string) *ring {
	t.Helper()
	need(t, os.Geteuid() == 0, "root")
	for _, tool := range []string{"ip", "nft"} {
		_, err := exec.LookPath(tool)
		need(t, err == nil, tool)
	}
	r := &ring{t: t, bin: program(t), dir: t.TempDir(), boots: map[string]int{}, running: map[string]*exec.Cmd{}}
	names := []string{}
	for i := range heads {
		r.names = append(r.names, fmt.Sprintf("head%d", i+1))
	}
	names = append(names, r.names...)
	var nodes []string
	for i := range witnesses {
		nodes = append(nodes, fmt.Sprintf("n%02d", i+1))
	}
	names = append(append(names, nodes...), "client")
	var err error
	if r.Arena, err = arena.New(names...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	r.conf = Config{Cluster: "test", Gen: 1, Heads: map[string]Head{}, Key: bytes.Repeat([]byte{7}, 32), Version: 1, Roster: 1, Witnesses: map[string]netip.Addr{}}
	for i, name := range r.names {
		r.conf.Heads[name] = Head{Number: i + 1, Address: r.Machine(name).Address.Addr()}
	}
	text := fmt.Sprintf("name: test\nboot_wait: 2s\nvips: [{address: %s}]\n", vipAddress)
	if heads == 2 {
		if r.cable, err = r.Cable(); err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("heads:\n  head1: {serial: [{device: %s}]}\n  head2: {serial: [{device: %s}]}\n", r.cable.Devices[0], r.cable.Devices[1])
	}
	if witnesses > 0 {
		text += "witnesses: [" + strings.Join(nodes, ", ") + "]\n"
	}
	r.conf.Document = text + document
	for _, name := range nodes {
		r.conf.Witnesses[name] = r.Machine(name).Address.Addr()
		r.startWitness(name)
	}
	r.startProber()
	return r
}

func (r *ring) close() {
	for _, stop := range r.stop {
		stop()
	}
	if r.t.Failed() {
		for _, name := range r.names {
			if data, err := os.ReadFile(r.log(name)); err == nil {
				r.t.Logf("%s:\n%s", name, data[max(0, len(data)-8000):])
			}
		}
		if r.prober != nil {
			r.t.Logf("who answered:\n%s", prober.Text(r.prober.Record.Answers(0), r.NameOf))
		}
	}
	if err := r.Close(); err != nil {
		r.t.Errorf("take the arena down: %v", err)
	}
}

func (r *ring) log(head string) string { return filepath.Join(r.dir, head+".log") }

// startWitness runs the vote of a worker.
func (r *ring) startWitness(name string) {
	var server *witness.Server
	timing := failover.Normal()
	if err := r.Machine(name).In(func() (err error) {
		server, err = witness.New(witness.Config{
			Listen: netip.AddrPortFrom(netip.IPv4Unspecified(), PortWitness), Cluster: r.conf.Cluster, Key: r.conf.key("witness"),
			Longest: timing.TTL, Margin: timing.Margin,
		})
		return err
	}); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	r.stop = append(r.stop, func() { cancel(); <-done })
}

func (r *ring) startProber() {
	client := r.Machine("client")
	w, err := client.Wire()
	if err != nil {
		r.t.Fatal(err)
	}
	mac := append([]byte(nil), client.MAC...)
	mac[5] = 0xee // not the kernel's own, which would answer too
	if r.prober, err = prober.New(w, mac, netip.MustParseAddr("10.9.0.200"), vipAddress.Addr()); err != nil {
		r.t.Fatal(err)
	}
	if _, err := client.Run("ip", "link", "set", arena.NIC, "promisc", "on"); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.prober.Run(ctx) }()
	r.stop = append(r.stop, func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
}

func (r *ring) stateDir(head string) string { return filepath.Join(r.dir, head) }
func (r *ring) socket(head string) string   { return filepath.Join(r.dir, head+".sock") }

// configure writes what a head's daemon must know.
func (r *ring) configure(head string) {
	r.t.Helper()
	c := r.conf
	c.Self = head
	if _, err := WriteConfig(r.stateDir(head), c); err != nil {
		r.t.Fatal(err)
	}
}

// boot starts a head as after a power-on; restart starts its daemon again in the same boot.
func (r *ring) boot(head string) {
	r.t.Helper()
	r.boots[head]++
	if err := os.RemoveAll(filepath.Join(r.dir, head+".run")); err != nil {
		r.t.Fatal(err)
	}
	r.configure(head)
	r.restart(head)
}

func (r *ring) restart(head string) {
	r.t.Helper()
	cmd, err := r.Machine(head).Start(r.log(head), r.bin, "owner", "run", "--shared-machine",
		"--dir", r.stateDir(head), "--run-dir", filepath.Join(r.dir, head+".run"), "--socket", r.socket(head),
		"--boot-id", fmt.Sprintf("%s-boot-%d", head, r.boots[head]))
	if err != nil {
		r.t.Fatal(err)
	}
	r.running[head] = cmd
}

func (r *ring) kill(head string) {
	r.t.Helper()
	if err := r.running[head].Process.Kill(); err != nil {
		r.t.Fatal(err)
	}
	_ = r.running[head].Wait() // it was killed
}

func (r *ring) signal(head string, s unix.Signal) {
	r.t.Helper()
	if err := r.running[head].Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// powerOn is boot after a power cut.
func (r *ring) powerOn(head string) {
	r.t.Helper()
	if err := r.Machine(head).PowerOn(); err != nil {
		r.t.Fatal(err)
	}
	r.boot(head)
}

func (r *ring) powerCut(head string) {
	r.t.Helper()
	if err := r.Machine(head).PowerCut(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *ring) client(head string) *wire.Client { return wire.NewUnixClient(r.socket(head)) }

func (r *ring) status(head string) (wire.OwnerStatus, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c := r.client(head)
	defer c.Close()
	return c.Owner(ctx)
}

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
		if mac, at := r.prober.Record.Last(); r.NameOf(mac) != head || r.prober.Record.Now()-at > 100*time.Millisecond {
			return fmt.Errorf("the address was last answered by %q, %v ago", r.NameOf(mac), r.prober.Record.Now()-at)
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

// gap is the longest silence of the VIP since from, and fails the test if two heads answered at once.
func (r *ring) gap(from time.Duration) prober.Gap {
	r.t.Helper()
	answers := r.prober.Record.Answers(from - 4*prober.Every) // the last answer before is where a silence begins
	for _, d := range prober.Doubles(answers, 4*prober.Every) {
		r.t.Errorf("two owners at once: %s answered from %v to %v between answers of another", r.NameOf(d.MAC), d.First, d.Last)
	}
	return prober.Longest(answers)
}

// replaceSwitch puts the namespace of the arena's switch into a script.
func replaceSwitch(script string, r *ring) string {
	return strings.ReplaceAll(script, "SWITCH", r.SwitchNS())
}
