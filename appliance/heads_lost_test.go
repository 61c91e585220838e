package appliance

import (
	"bytes"
	"log/slog"
	"masthead/node/wire"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMemberFileDamaged(t *testing.T) {
	h := newLiveHead(t, "head1", 1)
	path := filepath.Join(h.cfg.StateDir, memberFileName)
	for _, text := range []string{"", "{", `{"phase":"king"}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if head, err := New(h.cfg); err == nil {
			head.Close()
			t.Errorf("%q is taken for a phase", text)
		}
	}
}

// A head whose state file is gone or damaged fetches the state from the others, and does not found a cluster.
func TestStateFileLost(t *testing.T) {
	t.Parallel()
	one, two := startHead(t, "head1", 1), startHead(t, "head2", 2)
	two.join(one)
	two.node("n01", "52:54:00:77:00:01")
	one.untilNode("n01") // a write may be acknowledged as degraded, and is lost with the only state that has it
	one.untilEqual(two)
	file := filepath.Join(two.cfg.StateDir, stateDir, "state.db")
	for what, harm := range map[string]func() error{
		"gone":    func() error { return os.Remove(file) },
		"damaged": func() error { return os.WriteFile(file, []byte("nothing of a state"), 0o600) },
	} {
		if known, err := os.ReadFile(filepath.Join(two.cfg.StateDir, knownFile)); err != nil || !bytes.Contains(known, []byte("head1")) {
			t.Fatalf("%s: it has not written down the heads: %q, %v", what, known, err)
		}
		two.off()
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		var told bytes.Buffer
		two.cfg.Log = slog.New(slog.NewTextHandler(&told, nil))
		two.on()
		two.untilState(wire.MemberHead)
		two.untilNode("n01")
		two.off() // nobody writes any more
		if text := told.String(); !strings.Contains(text, "is whole again: it was fetched from head1") || strings.Contains(text, "has joined") {
			t.Errorf("%s: it tells\n%s", what, text)
		}
		two.cfg.Log = slog.New(slog.DiscardHandler)
		two.on()
		one.untilEqual(two)
		if got := one.holders(); got["head1"] != 32 || got["head2"] != 32 {
			t.Errorf("%s: slots %v", what, got)
		}
	}
}

// A head that has lost its key cannot prove to the others who it is: it says so, and serves nobody.
func TestKeysLost(t *testing.T) {
	t.Parallel()
	one, two := startHead(t, "head1", 1), startHead(t, "head2", 2)
	two.join(one)
	one.untilEqual(two)
	two.off()
	if err := os.RemoveAll(filepath.Join(two.cfg.StateDir, keysDir)); err != nil {
		t.Fatal(err)
	}
	two.on()
	two.untilState(wire.MemberRemoved)
	m, err := two.Membership(t.Context())
	if err != nil || !strings.Contains(m.Reason, "key") {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := one.EjectHead(t.Context(), "head2", wire.HeadChange{Confirm: "head2"}); err != nil {
		t.Fatal(err)
	}
	two.join(one)
	one.untilEqual(two)
}
