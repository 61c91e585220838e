package vip

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"masthead/appliance/failover"
)

// headEnv marks a process that is one head: a VIP in a network namespace, worked by requests on standard input. A
// namespace belongs to a thread, and a head has many; it must also be possible to stop and to kill one.
const headEnv = "VIP_TEST_HEAD"

type request struct {
	Op      string
	Epoch   uint64
	For     time.Duration // open and hold: until then from now
	Every   time.Duration // hold
	On      bool          // probe
	Config  *headConfig   `json:",omitempty"`
	Address string        // listen
	Answer  []netip.Addr  // answer: those that open and hold are for from now on; all until then
}

type headConfig struct {
	Addresses []Address
	Peers     []netip.Addr
	PeerMACs  []string
	Gateway   netip.Addr
	Gate      time.Duration
}

type answer struct {
	Err      string `json:",omitempty"`
	Open     bool
	Epoch    uint64
	Left     time.Duration
	Probe    failover.Probe
	Holder   string
	Peer     bool
	Conflict string
	Uplink   failover.Reading
	Late     int           // refreshes of hold that failed
	Slowest  time.Duration // refresh of hold: from when the one before began until it was done
	Events   []string
	Renamed  bool
}

// runHead answers requests until standard input ends.
func runHead(in io.Reader, out io.Writer) int {
	zero := time.Now()
	h := &headProcess{now: func() failover.Instant { return time.Since(zero) }}
	ctx, cancel := context.WithCancel(context.Background())
	defer h.end(cancel)
	requests := json.NewDecoder(bufio.NewReader(in))
	answers := json.NewEncoder(out)
	for {
		var r request
		if requests.Decode(&r) != nil {
			return 0
		}
		var a answer
		if err := h.do(ctx, r, &a); err != nil {
			a.Err = err.Error()
		}
		if answers.Encode(a) != nil {
			return 1
		}
	}
}

type headProcess struct {
	now     func() failover.Instant
	v       *VIP
	work    sync.WaitGroup
	release context.CancelFunc

	mu      sync.Mutex
	answer  []netip.Addr
	late    int
	slowest time.Duration
	events  []string
	renamed bool
}

func (h *headProcess) end(cancel context.CancelFunc) {
	cancel()
	h.work.Wait()
}

func (h *headProcess) open(epoch uint64, until failover.Instant) error {
	h.mu.Lock()
	answer := h.answer
	h.mu.Unlock()
	return h.v.Open(epoch, until, answer)
}

func (h *headProcess) do(ctx context.Context, r request, a *answer) (err error) {
	switch r.Op {
	case "new":
		c := Config{Addresses: r.Config.Addresses, Peers: r.Config.Peers, Gateway: r.Config.Gateway, Gate: r.Config.Gate, Now: h.now}
		c.PeerMACs = func() (list []net.HardwareAddr) {
			for _, s := range r.Config.PeerMACs {
				mac, _ := net.ParseMAC(s)
				list = append(list, mac)
			}
			return list
		}
		c.Event = func(text string, _ bool) { h.mu.Lock(); h.events = append(h.events, text); h.mu.Unlock() }
		c.Renamed = func() { h.mu.Lock(); h.renamed = true; h.mu.Unlock() }
		for _, v := range c.Addresses {
			h.answer = append(h.answer, v.Prefix.Addr())
		}
		if h.v, err = New(c); err != nil {
			return err
		}
		var until failover.Instant
		a.Open, a.Epoch, until = h.v.Left()
		a.Left = until - h.now()
		h.work.Go(func() {
			if err := h.v.Run(ctx); err != nil {
				c.Event("run: "+err.Error(), true)
			}
		})
	case "prepare":
		return h.v.Prepare(ctx)
	case "open":
		return h.open(r.Epoch, h.now()+r.For)
	case "answer":
		h.mu.Lock()
		h.answer = r.Answer
		h.mu.Unlock()
	case "hold": // as the owner daemon does
		held, release := context.WithCancel(ctx)
		h.release = release
		if err := h.open(r.Epoch, h.now()+r.For); err != nil {
			return err
		}
		h.work.Go(func() {
			tick := time.NewTicker(r.Every)
			defer tick.Stop()
			last := h.now()
			for {
				select {
				case <-held.Done():
					return
				case <-tick.C:
				}
				began := h.now()
				err := h.open(r.Epoch, began+r.For)
				h.mu.Lock()
				if err != nil {
					h.late++
				}
				h.slowest = max(h.slowest, h.now()-last)
				h.mu.Unlock()
				last = began
			}
		})
	case "release":
		h.release()
	case "shut":
		return h.v.Shut(ctx)
	case "announce":
		h.v.Announce()
	case "probe":
		h.v.Probe(r.On)
	case "look":
		h.mu.Lock()
		a.Late, a.Slowest, a.Renamed, a.Events = h.late, h.slowest, h.renamed, append(a.Events, h.events...)
		h.mu.Unlock()
		a.Probe, a.Conflict, a.Uplink = h.v.Probed(), h.v.Conflict(), h.v.Uplink()
		a.Open, _, _ = h.v.Left()
		mac, peer := h.v.Holder()
		a.Holder, a.Peer = mac.String(), peer
	case "listen": // a service that echoes
		l, err := net.Listen("tcp", r.Address)
		if err != nil {
			return err
		}
		h.work.Go(func() { <-ctx.Done(); l.Close() })
		h.work.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		})
	default:
		return fmt.Errorf("no such request: %q", r.Op)
	}
	return nil
}

// head is such a process, as a test sees it.
type head struct {
	t       testing.TB
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	answers *json.Decoder
	dead    bool
}

// start runs a head in a namespace and has it make its VIP.
func (l *lab) start(name string, c headConfig) (*head, answer) {
	l.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", l.ns(name), "/proc/self/exe")
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	cmd.Args[len(cmd.Args)-1] = self
	cmd.Env = append(os.Environ(), headEnv+"=1")
	cmd.Stderr = os.Stderr
	h := &head{t: l.t, cmd: cmd}
	out, err := cmd.StdoutPipe()
	if err == nil {
		h.stdin, err = cmd.StdinPipe()
	}
	if err == nil {
		err = cmd.Start() // ip replaces itself by the program: the pid is the head's
	}
	if err != nil {
		l.t.Fatal(err)
	}
	h.answers = json.NewDecoder(bufio.NewReader(out))
	l.t.Cleanup(func() {
		if !h.dead {
			cmd.Process.Signal(syscall.SIGCONT) // a test that failed may have left it stopped
			h.stdin.Close()
			cmd.Wait()
		}
	})
	return h, h.ask(request{Op: "new", Config: &c})
}

// try sends a request and returns its answer.
func (h *head) try(r request) answer {
	h.t.Helper()
	if err := json.NewEncoder(h.stdin).Encode(r); err != nil {
		h.t.Fatalf("%s: %v", r.Op, err)
	}
	var a answer
	if err := h.answers.Decode(&a); err != nil {
		h.t.Fatalf("%s: %v", r.Op, err)
	}
	return a
}

// ask is try for what must not fail.
func (h *head) ask(r request) answer {
	h.t.Helper()
	a := h.try(r)
	if a.Err != "" {
		h.t.Fatalf("%s: %s", r.Op, a.Err)
	}
	return a
}

func (h *head) do(op string) { h.t.Helper(); h.ask(request{Op: op}) }
func (h *head) look() answer { h.t.Helper(); return h.ask(request{Op: "look"}) }

func (h *head) hold(epoch uint64, lease, every time.Duration) {
	h.t.Helper()
	h.ask(request{Op: "hold", Epoch: epoch, For: lease, Every: every})
}

func (h *head) signal(s os.Signal) {
	h.t.Helper()
	if err := h.cmd.Process.Signal(s); err != nil {
		h.t.Fatal(err)
	}
}

// kill ends the process as a power cut would, but for the kernel.
func (h *head) kill() {
	h.t.Helper()
	h.signal(os.Kill)
	h.cmd.Wait()
	h.dead = true
}
