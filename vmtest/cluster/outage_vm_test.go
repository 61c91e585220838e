package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest"
)

// memory is what a head must not forget.
type memory struct {
	CA    images.Digest
	Nodes map[string]remembered
}

type remembered struct {
	Node   wire.Node
	Boot   string
	Stages []wire.StageResult
}

func (l *life) memory(t *testing.T) memory {
	t.Helper()
	m := memory{CA: l.ca, Nodes: map[string]remembered{}}
	list, err := l.head.Nodes(t.Context(), "")
	must(t, err)
	for _, n := range list {
		if n.Name == "head1" {
			continue // its boots come and go with the machine
		}
		why, err := l.head.Why(t.Context(), n.Name)
		must(t, err)
		n.Seen, n.RootState = time.Time{}, nil
		m.Nodes[n.Name] = remembered{n, why.Boot, why.Stages}
	}
	return m
}

// remembers holds the head against what it knew before; phases are let settle by agents that report again.
func (l *life) remembers(t *testing.T, before memory) {
	t.Helper()
	var diff string
	eventually(t, replyTime, "the head knows what it knew", func(context.Context) error {
		// Wall times come by way of the machines' seconds and shift a little.
		diff = cmp.Diff(before, l.memory(t), cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateApproxTime(2*time.Second))
		if diff != "" {
			return fmt.Errorf("(-before +after):\n%s", diff)
		}
		return nil
	})
}

// diskFull leaves the head no room for its state: it must say so, keep what it acknowledged, and go on once there is room.
func (l *life) diskFull(t *testing.T) {
	const fill, most = images.StateDir + "/fill", 500
	if out, status := l.sh(t, "head1", "cat /dev/zero > "+fill); status == "0" {
		t.Fatalf("filling the head's disk: status %s\n%s", status, out)
	}
	note := strings.Repeat("x", 1000)
	add := func(name string, n int) error {
		mac := fmt.Sprintf("52:54:00:f0:%02x:%02x", n>>8, n&255)
		_, err := l.head.AddNode(t.Context(), wire.NodeChange{Name: &name, MAC: &mac, Attrs: map[string]string{"note": note}})
		return err
	}
	var kept []string
	var err error
	for n := 0; n < most && err == nil; n++ { // what is free inside of the state's file goes first
		name := fmt.Sprintf("full%03d", n)
		if err = add(name, n); err == nil {
			kept = append(kept, name)
		}
	}
	var p *wire.ProblemError
	if !errors.As(err, &p) || p.Status != http.StatusInsufficientStorage || p.Try() == "" {
		t.Errorf("a change on a full disk, after %d: %v, want status 507 and what to try", len(kept), err)
	}
	t.Logf("on a full disk: %v", err)
	s, err := l.head.Status(t.Context())
	if err != nil || s.ReadOnly == "" {
		t.Errorf("status on a full disk: read-only %q, %v", s.ReadOnly, err)
	}
	l.awaitUp(t, "n01", "n01", "")
	l.mustSh(t, "head1", "rm "+fill)
	eventually(t, replyTime, "the head takes changes again", func(context.Context) error { return add("after", most) })
	list, err := l.head.Nodes(t.Context(), "~^full")
	must(t, err)
	var got []string
	for _, n := range list {
		got = append(got, n.Name)
	}
	if diff := cmp.Diff(kept, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("nodes that were acknowledged on a full disk (-acknowledged +there):\n%s", diff)
	}
	l.cli(t, "node", "rm", "after,~^full")
}

// daemonKilled ends the head's process as an out-of-memory killer would.
func (l *life) daemonKilled(t *testing.T) {
	before := l.memory(t)
	status, err := l.head.Status(t.Context())
	must(t, err)
	began := time.Now()
	l.mustSh(t, "head1", `ps | grep 'masthead head ru[n]' | while read pid rest; do kill -9 $pid; done`)
	eventually(t, replyTime, "the head's daemon is back", func(ctx context.Context) error {
		now, err := l.head.Status(ctx)
		if err == nil && now.Started.Equal(status.Started) {
			err = errors.New("it still runs")
		}
		return err
	})
	t.Logf("the head's daemon was back after %.1f s", time.Since(began).Seconds())
	l.remembers(t, before)
}

// headCut takes the power from the head while n01 reads its root from it.
func (l *life) headCut(t *testing.T) {
	before := l.memory(t)
	port := l.Machine("n01").Port(0)
	must(t, l.Delay("n01", 0, vmtest.Both, 50*time.Millisecond, 0)) // so that the read lasts
	received := port.Counters().ReceivedBytes
	console := l.Machine("n01").Console.ReaderFromHere()
	l.begin(t, "n01", "sha256sum /dev/nbd0")
	eventually(t, replyTime, "n01 reads", func(context.Context) error {
		if n := port.Counters().ReceivedBytes - received; n < 600<<10 {
			return fmt.Errorf("%d bytes came", n)
		}
		return nil
	})
	must(t, l.PowerCut("head1"))
	must(t, l.HealLink("n01", 0))
	ctx, cancel := context.WithTimeout(t.Context(), replyTime)
	defer cancel()
	if _, err := console.Expect(ctx, `no source of the root answers: reads wait`); err != nil {
		t.Fatalf("n01: %v", err)
	}

	// n02 has its whole root in memory, and misses nobody.
	if out := l.mustSh(t, "n02", "sha256sum /dev/nbd0"); !strings.Contains(out, l.worker.root) {
		t.Errorf("n02 read its root without a head as\n%swant %s", out, l.worker.root)
	}

	back := time.Now()
	must(t, l.PowerOn(t.Context(), "head1"))
	l.awaitHead(t, "head1")
	t.Logf("the head was back after %.1f s", time.Since(back).Seconds())
	out, status := l.finish(t, "n01", bootTime)
	if status != "0" || !strings.Contains(out, l.worker.root) {
		t.Errorf("n01 read its root across the outage with status %s as\n%swant %s", status, out, l.worker.root)
	}
	again, cancel := context.WithTimeout(t.Context(), replyTime)
	defer cancel()
	if _, err := console.Expect(again, `the chunks of the root come again`); err != nil {
		t.Errorf("n01: %v", err)
	}
	l.remembers(t, before)
}
