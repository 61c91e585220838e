package ownership

import (
	"os"
	"path/filepath"
	"testing"

	"masthead/appliance/arbiter"
	"masthead/appliance/failover"
)

// A head that leaves its cluster and joins another uses nothing of what it has kept for the first, and finds it again when it
// comes back.
func TestAnotherCluster(t *testing.T) {
	d, err := New(Options{Dir: t.TempDir(), BootID: "boot"})
	if err != nil {
		t.Fatal(err)
	}
	enter := func(cluster string) {
		t.Helper()
		if err := d.openRecord(cluster); err != nil {
			t.Fatal(err)
		}
	}
	defer d.closeRecord()
	enter("first")
	if err := d.record.Write(failover.Record{Epoch: 1601, Owner: "head1"}); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(d.raftPath("first"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.raftPath("first"), "raft.db"), []byte("log"), 0o600); err != nil {
		t.Fatal(err)
	}

	enter("second")
	if r := d.record.Record(); r != (failover.Record{}) || arbiter.HasState(d.raftPath("second")) {
		t.Errorf("the second cluster begins with %+v, and raft's state: %v", r, arbiter.HasState(d.raftPath("second")))
	}
	if err := d.record.Write(failover.Record{Epoch: 17, Owner: "head2"}); err != nil {
		t.Fatal(err)
	}
	enter("first")
	if r := d.record.Record(); r.Epoch != 1601 || !arbiter.HasState(d.raftPath("first")) {
		t.Errorf("back in the first: %+v, and raft's state: %v", r, arbiter.HasState(d.raftPath("first")))
	}
}
