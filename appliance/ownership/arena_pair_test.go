package ownership

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"masthead/appliance/failover"
	"masthead/node/wire"
	"masthead/vmtest/arena/heads"
)

// Two heads with a serial cable and nothing else. A virtual address alone: the standby takes over when everything about the
// owner is silent.
func TestArenaPairAvailable(t *testing.T) {
	r := newRing(t, 2, 0, "loss: available\n")
	r.boot("head1")
	r.boot("head2")
	r.owner("head1", 15*time.Second)
	r.phase("head2", failover.Standby, 5*time.Second)

	// The cable is cut: that is trouble, and nothing else (I7).
	from := r.prober.Now()
	r.Cable.Cut(true)
	r.await(5*time.Second, "the cut cable is noticed", func() error {
		s, err := r.status("head1")
		if err != nil {
			return err
		}
		for _, l := range s.Links {
			if l.Kind == "serial" && !l.Up {
				return nil
			}
		}
		return errors.New("no serial link is down")
	})
	r.owner("head1", time.Second)
	r.Cable.Cut(false)

	// The network of the owner is cut, the cable is not: the owner hands over along it, if its own way out is gone. Its card
	// keeps its carrier here, so it goes on, and nobody else answers.
	if err := r.Machine("head1").Cut(true); err != nil {
		t.Fatal(err)
	}
	r.await(5*time.Second, "head2 says why it does not take over", func() error {
		s, err := r.status("head2")
		if err == nil && s.Why.Phase == failover.Active.String() {
			t.Fatalf("head2 took over though the serial cable says that head1 is alive: %+v", s.Why)
		}
		return err
	})
	if err := r.Machine("head1").Cut(false); err != nil {
		t.Fatal(err)
	}
	r.owner("head1", 3*time.Second)
	if d := r.gap(from).Length(); d > 10*time.Second {
		t.Errorf("silent for %v", d)
	}

	// Everything of the owner falls silent.
	from = r.prober.Now()
	r.powerCut("head1")
	r.owner("head2", 5*time.Second)
	t.Logf("power cut of a pair: silent for %v", r.gap(from).Length())
	r.powerOn("head1")
	r.phase("head1", failover.Standby, 10*time.Second)
	r.owner("head2", time.Second)
}

// The same with data that must not have two owners: the standby is blocked, until a person vouches.
func TestArenaPairSafe(t *testing.T) {
	r := newRing(t, 2, 0, "loss: safe\n")
	r.boot("head1")
	r.boot("head2")
	r.owner("head1", 15*time.Second)
	r.phase("head2", failover.Standby, 5*time.Second)
	r.powerCut("head1")
	r.phase("head2", failover.Blocked, 5*time.Second)
	s, err := r.status("head2")
	if err != nil {
		t.Fatal(err)
	}
	if s.Why.Try == "" {
		t.Errorf("blocked, and nothing to type: %+v", s.Why)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c := r.client("head2")
	defer c.Close()
	if _, err := c.ConfirmDead(ctx, wire.ConfirmDead{Head: "head2"}); err == nil {
		t.Error("a head vouched for its own death")
	}
	if _, err := c.ConfirmDead(ctx, wire.ConfirmDead{Head: "head1", By: "test"}); err != nil {
		t.Fatal(err)
	}
	r.owner("head2", 5*time.Second)

	// A head that boots alone waits: it cannot know.
	r.powerCut("head2")
	r.powerOn("head1")
	r.phase("head1", failover.Blocked, 10*time.Second)
	r.powerOn("head2") // whose epoch is higher
	r.owner("head2", 10*time.Second)
	r.phase("head1", failover.Standby, 5*time.Second)
}

// Two heads that can switch one another off, by a program of the fence-agents protocol.
func TestArenaPairFencing(t *testing.T) {
	dir := t.TempDir()
	agent := filepath.Join(dir, "fence_arena")
	r := newRingOf(t, heads.Config{Heads: 2, Document: fmt.Sprintf(`fence_devices:
  - {name: d1, agent: %[1]s, params: {plug: head1}}
  - {name: d2, agent: %[1]s, params: {plug: head2}}
`, agent), Head: map[string]string{"head1": "fence: [[{device: d1}]]", "head2": "fence: [[{device: d2}]]"}})
	script := `#!/bin/sh
# Switches a head of the arena off: its cable out of the switch, its daemon killed.
while IFS='=' read -r k v; do
	case $k in
	action | option) action=$v ;;
	plug) plug=$v ;;
	esac
done
state=` + dir + `/$plug.state
case $action in
metadata)
	echo '<?xml version="1.0" ?><resource-agent name="fence_arena"><parameters><parameter name="plug" required="1"><content type="string"/></parameter><parameter name="action"><content type="string" default="off"/></parameter></parameters><actions><action name="off"/><action name="status"/><action name="monitor"/><action name="metadata"/></actions></resource-agent>'
	;;
off)
	[ -e ` + dir + `/broken ] && exit 1
	kill -9 "$(cat ` + dir + `/$plug.pid)" 2>/dev/null
	nsenter --net=/run/netns/` + r.SwitchNS() + ` ip link set "p-$plug" nomaster
	echo off >"$state"
	echo "$plug" >>` + dir + `/fenced
	;;
status | monitor) [ "$(cat "$state" 2>/dev/null)" = off ] && exit 2 ;;
esac
exit 0
`
	if err := os.WriteFile(agent, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	pid := func(head string) {
		must(t, os.WriteFile(filepath.Join(dir, head+".pid"), fmt.Append(nil, r.Process(head)), 0o644))
		must(t, os.WriteFile(filepath.Join(dir, head+".state"), []byte("on"), 0o644))
	}
	r.boot("head1")
	r.boot("head2")
	pid("head1")
	pid("head2")
	r.owner("head1", 15*time.Second)
	r.phase("head2", failover.Standby, 5*time.Second)

	from := r.prober.Now()
	r.powerCut("head1")
	r.owner("head2", 5*time.Second)
	t.Logf("power cut with fencing: silent for %v", r.gap(from).Length())
	if fenced, err := os.ReadFile(filepath.Join(dir, "fenced")); err != nil || string(fenced) != "head1\n" {
		t.Errorf("fenced: %q, %v; want head1 once", fenced, err)
	}
	r.powerOn("head1")
	pid("head1")
	r.phase("head1", failover.Standby, 10*time.Second)

	// A device that fails proves nothing: nobody takes over.
	must(t, os.WriteFile(filepath.Join(dir, "broken"), nil, 0o644))
	r.powerCut("head2")
	r.phase("head1", failover.Blocked, 10*time.Second)
	must(t, os.Remove(filepath.Join(dir, "broken")))
	r.owner("head1", 20*time.Second) // it is tried again
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
