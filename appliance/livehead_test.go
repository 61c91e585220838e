package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"masthead/node/wire"
)

// liveHead is a whole head on the loopback, which can be switched off and on again.
type liveHead struct {
	t    *testing.T
	cfg  Config
	stop context.CancelFunc
	done chan error
	*wire.Client
}

// freePort is one that nobody listens on at the moment.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// newLiveHead prepares a head; n makes its address.
func newLiveHead(t *testing.T, name string, n int) *liveHead {
	t.Helper()
	sockets, err := os.MkdirTemp("", "mh") // t.TempDir is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	cfg := DefaultConfig()
	cfg.Name, cfg.Version, cfg.StateDir = name, "test", t.TempDir()
	cfg.Address = netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 77, 0, byte(n)}), 8)
	cfg.HTTP, cfg.HTTPS, cfg.Gossip = freePort(t), freePort(t), freePort(t)
	cfg.Socket = filepath.Join(sockets, name)
	cfg.Log = slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})).With("at", name)
	}
	h := &liveHead{t: t, cfg: cfg, Client: wire.NewUnixClient(cfg.Socket)}
	t.Cleanup(func() { h.off(); h.Close() })
	return h
}

func startHead(t *testing.T, name string, n int) *liveHead {
	t.Helper()
	h := newLiveHead(t, name, n)
	h.on()
	return h
}

// on switches the head on and waits until it answers.
func (h *liveHead) on() {
	h.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	h.stop, h.done = stop, make(chan error, 1)
	go func() { h.done <- Serve(ctx, h.cfg) }()
	h.until("it answers", func() error { _, err := h.Membership(h.t.Context()); return err })
}

// off switches it off, which a test may do several times.
func (h *liveHead) off() {
	if h.stop == nil {
		return
	}
	h.stop()
	if err := <-h.done; err != nil {
		h.t.Errorf("head %s ended: %v", h.cfg.Name, err)
	}
	h.stop = nil
}

const headPatience = 30 * time.Second

// until waits for something that the heads do by themselves.
func (h *liveHead) until(what string, ok func() error) {
	h.t.Helper()
	deadline := time.Now().Add(headPatience)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("head %s: waited %v until %s: %v", h.cfg.Name, headPatience, what, err)
		}
		select {
		case err := <-h.done:
			h.stop = nil
			h.t.Fatalf("head %s ended: %v", h.cfg.Name, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (h *liveHead) token() string {
	h.t.Helper()
	token, err := h.HeadToken(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return token.Token
}

func (h *liveHead) untilState(want string) {
	h.t.Helper()
	h.until("it is "+want, func() error {
		m, err := h.Membership(h.t.Context())
		if err == nil && m.State != want {
			err = fmt.Errorf("it is %+v", m)
		}
		return err
	})
}

// join joins the cluster of another head, with a token of that one.
func (h *liveHead) join(other *liveHead) {
	h.t.Helper()
	if _, err := h.JoinHead(h.t.Context(), wire.JoinStart{Token: other.token()}); err != nil {
		h.t.Fatal(err)
	}
	h.untilState(wire.MemberHead)
}

// untilEqual waits until this head sees exactly these others, alive and with its own state.
func (h *liveHead) untilEqual(others ...*liveHead) {
	h.t.Helper()
	h.until("all heads are equal", func() error {
		heads, err := h.Heads(h.t.Context())
		if err != nil {
			return err
		}
		if len(heads) != len(others)+1 {
			return fmt.Errorf("%d heads, want %d", len(heads), len(others)+1)
		}
		for _, s := range heads {
			if !s.Alive || !s.Equal {
				return fmt.Errorf("head %s: alive %t, equal %t: %s", s.Name, s.Alive, s.Equal, s.Reason)
			}
		}
		return nil
	})
}

func (h *liveHead) node(name, mac string) {
	h.t.Helper()
	if _, err := h.AddNode(h.t.Context(), wire.NodeChange{Name: &name, MAC: &mac}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *liveHead) untilNode(name string) {
	h.t.Helper()
	h.until("it knows node "+name, func() error { _, err := h.Node(h.t.Context(), name); return err })
}

// refused checks that an error is a problem of that status that says these words and what to type.
func refused(t *testing.T, what string, err error, status int, words ...string) {
	t.Helper()
	var p *wire.ProblemError
	if !errors.As(err, &p) || p.Status != status {
		t.Errorf("%s: %v, want status %d", what, err, status)
		return
	}
	for _, w := range words {
		if !strings.Contains(p.Problem.Detail+" "+p.Problem.Try, w) {
			t.Errorf("%s: %q, try %q: want it to say %q", what, p.Problem.Detail, p.Problem.Try, w)
		}
	}
}

// holders counts the slots of each head, as this one knows them.
func (h *liveHead) holders() map[string]int {
	h.t.Helper()
	h.off()
	head, err := New(h.cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	count := map[string]int{}
	for _, name := range head.slotHolders() {
		count[name]++
	}
	if err := head.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.on()
	return count
}
