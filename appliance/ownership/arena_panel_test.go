package ownership

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"masthead/appliance/failover"
	"masthead/node/wire"
)

// atRest is less than any takeover takes, and more than a busy host keeps a daemon waiting.
const atRest = 400 * time.Millisecond

// Two heads and a panel of three: every fault that a daemon on a running kernel can meet, one after another, and the prober
// never sees two owners.
func TestArenaPanel(t *testing.T) {
	r := newRing(t, 2, 3, "")
	begin := r.prober.Now()
	r.boot("head1")
	r.boot("head2")
	r.owner("head1", 15*time.Second)
	r.phase("head2", failover.Standby, 5*time.Second)

	// A planned switch, and back.
	for _, to := range []string{"head2", "head1"} {
		from := r.prober.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		c := r.client(other(to))
		answer, err := c.Switch(ctx, wire.SwitchRequest{To: to})
		c.Close()
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		r.owner(to, 3*time.Second)
		if s, err := r.status(to); err != nil || s.Epoch != answer.Epoch {
			t.Errorf("planned switch to %s, epoch %s: it owns under %s, %v", to, answer.Epoch, s.Epoch, err)
		}
		t.Logf("planned switch to %s, epoch %s: silent for %v", to, answer.Epoch, r.gap(from).Length())
	}

	// The daemon is killed, and back within its lease.
	from := r.prober.Now()
	r.kill("head1")
	r.restart("head1")
	r.owner("head1", 5*time.Second)
	if gap := r.gap(from).Length(); gap > atRest {
		t.Errorf("killed and started again within the lease: silent for %v", gap)
	} else {
		t.Logf("kill -9 and restart: silent for %v", gap)
	}

	// It is stopped: the kernel shuts the gate, the other takes over, and the stopped one wakes up as standby.
	from = r.prober.Now()
	r.signal("head1", unix.SIGSTOP)
	r.owner("head2", 5*time.Second)
	t.Logf("SIGSTOP: silent for %v", r.gap(from).Length())
	r.signal("head1", unix.SIGCONT)
	r.phase("head1", failover.Standby, 5*time.Second)

	// Power goes, and comes back: the old owner is standby, and stays that.
	from = r.prober.Now()
	r.powerCut("head2")
	r.owner("head1", 5*time.Second)
	t.Logf("power cut: silent for %v", r.gap(from).Length())
	from = r.prober.Now()
	r.powerOn("head2")
	r.phase("head2", failover.Standby, 10*time.Second)
	r.owner("head1", time.Second)
	if gap := r.gap(from).Length(); gap > atRest {
		t.Errorf("the old owner came back: silent for %v", gap)
	}

	// The standby dies: nothing happens to the owner (I7).
	from = r.prober.Now()
	r.powerCut("head2")
	r.owner("head1", time.Second)
	r.await(5*time.Second, "head1 notices", func() error {
		s, err := r.status("head1")
		if err == nil && s.Members[1].Online {
			err = errors.New("head2 counts as online")
		}
		return err
	})
	if gap := r.gap(from).Length(); gap > atRest {
		t.Errorf("the standby died: silent for %v", gap)
	}
	r.powerOn("head2")
	r.phase("head2", failover.Standby, 10*time.Second)

	// The owner alone is cut off, with its daemon running: its lease ends before another one begins.
	from = r.prober.Now()
	if err := r.Machine("head1").Cut(true); err != nil {
		t.Fatal(err)
	}
	r.owner("head2", 5*time.Second)
	t.Logf("owner cut off: silent for %v", r.gap(from).Length())
	if err := r.Machine("head1").Cut(false); err != nil {
		t.Fatal(err)
	}
	r.phase("head1", failover.Standby, 5*time.Second)
	r.owner("head2", time.Second)

	// Epochs rose with each owner, and only then.
	r.epochs()
	r.gap(begin)
}

func other(head string) string {
	if head == "head1" {
		return "head2"
	}
	return "head1"
}

// epochs checks that both heads know the same epoch, and that it is the owner's (I3).
func (r *ring) epochs() {
	r.t.Helper()
	r.await(5*time.Second, "both know the epoch", func() error {
		a, err := r.status("head1")
		if err != nil {
			return err
		}
		b, err := r.status("head2")
		if err != nil {
			return err
		}
		if a.Epoch != b.Epoch || a.Owner != b.Owner || a.Owner == "" {
			return fmt.Errorf("head1: epoch %s of %q; head2: epoch %s of %q", a.Epoch, a.Owner, b.Epoch, b.Owner)
		}
		return nil
	})
}
