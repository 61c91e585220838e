package ownership

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"masthead/appliance/failover"
	"masthead/appliance/pki"
	"masthead/vmtest/arena/heads"
)

// identity makes keys as heads of one cluster have them: the first head's CA is everybody's.
func identity(t *testing.T) func(head, dir string) (string, error) {
	ca := t.TempDir()
	if _, err := pki.OpenAuthority(ca, "test"); err != nil {
		t.Fatal(err)
	}
	return func(_, dir string) (string, error) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", err
		}
		for _, file := range []string{"ca.key", "ca.crt"} {
			data, err := os.ReadFile(filepath.Join(ca, file))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, file), data, 0o600)
			}
			if err != nil {
				return "", err
			}
		}
		key, err := pki.OpenHeadKey(dir)
		if err != nil {
			return "", err
		}
		return string(key.Digest()), nil
	}
}

// One head becomes three, and three become two, while the owner owns; with three, any one may die.
func TestArenaRaft(t *testing.T) {
	r := newRingOf(t, heads.Config{Heads: 3, Identity: identity(t)})
	begin := r.prober.Record.Now()
	r.must(r.Members("head1"))
	r.boot("head1")
	r.owner("head1", 15*time.Second)
	from := r.prober.Record.Now()
	r.must(r.Members("head1", "head2", "head3"))
	r.boot("head2")
	r.boot("head3")
	r.await(20*time.Second, "head1 owns by the agreement of three", func() error {
		s, err := r.status("head1")
		if err == nil && (s.Arbiter != "raft" || s.Owner != "head1" || s.Votes == "" || s.EpochNumber <= 17) {
			err = fmt.Errorf("%s, owner %s, epoch %s, votes %s", s.Arbiter, s.Owner, s.Epoch, s.Votes)
		}
		return err
	})
	r.phase("head2", failover.Standby, 10*time.Second)
	r.phase("head3", failover.Standby, 10*time.Second)
	gap := r.gap(from).Length()
	t.Logf("one head becomes three: silent for %v", gap)
	if gap > 500*time.Millisecond {
		t.Errorf("one head became three: silent for %v", gap)
	}

	from = r.prober.Record.Now()
	time.Sleep(3 * time.Second) // elections, if there are any to come
	if gap := r.gap(from).Length(); gap > atRest {
		t.Errorf("three heads at rest: silent for %v", gap)
	}
	from = r.prober.Record.Now()
	r.powerCut("head1")
	next := r.anyOwner(5*time.Second, "head2", "head3")
	t.Logf("power cut with three heads: silent for %v, then %s", r.gap(from).Length(), next)
	r.powerOn("head1")
	r.phase("head1", failover.Standby, 15*time.Second)

	// Two are left: a pair again.
	from = r.prober.Record.Now()
	left := "head1"
	r.must(r.Members(next, left))
	r.await(15*time.Second, "a pair", func() error {
		s, err := r.status(next)
		if err == nil && (s.Arbiter != "pair" || s.Owner != next) {
			err = fmt.Errorf("%s, owner %s: %s", s.Arbiter, s.Owner, s.Why.Summary)
		}
		return err
	})
	t.Logf("three heads become two: silent for %v", r.gap(from).Length())
	r.gap(begin)
}

// anyOwner waits until one of these heads owns.
func (r *ring) anyOwner(within time.Duration, names ...string) (owner string) {
	r.t.Helper()
	r.await(within, fmt.Sprintf("one of %v owns", names), func() error {
		for _, name := range names {
			s, err := r.status(name)
			if err != nil {
				return err
			}
			mac, at := r.prober.Record.Last()
			if s.Owner == name && s.Why.Phase == failover.Active.String() && r.NameOf(mac) == name && r.prober.Record.Now()-at < 100*time.Millisecond {
				owner = name
				return nil
			}
		}
		return fmt.Errorf("nobody")
	})
	return owner
}
