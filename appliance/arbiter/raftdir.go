package arbiter

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
)

const (
	logFile       = "raft.db"
	snapshotsKept = 2
)

// Bootstrap makes this head the first, and for now the only, one with raft; o is what is true so far. It is for the present
// owner when the arbiter is changed to raft, once. The others start with an empty folder, and are added by Raft.SetVoters.
// A folder that has a state already is left as it is, and that is an error.
func Bootstrap(c RaftConfig, o Ownership) (err error) {
	self, ok := c.self()
	if !ok {
		return fmt.Errorf("raft: %s is not among the voters", c.Self)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	store, err := openLogStore(filepath.Join(c.Dir, logFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if last, err := store.LastIndex(); err != nil || last > 0 {
		return errors.Join(err, fmt.Errorf("raft: %s has a state already", c.Dir))
	}
	seed, err := json.Marshal(command{Seed: &o})
	if err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	heads := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(self.Name), Address: raft.ServerAddress(self.Addr.String())}}}
	// As raft.BootstrapCluster writes it, and what is true so far right after it, in one transaction.
	err = store.SetUint64([]byte("CurrentTerm"), 1)
	if err == nil {
		err = store.StoreLogs([]*raft.Log{
			{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(heads)},
			{Index: 2, Term: 1, Type: raft.LogCommand, Data: seed},
		})
	}
	if err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	return nil
}

// Forget removes all that raft has written in dir: for a head that is no voter any more, and when the arbiter is changed to
// another. What heads agreed on is in Raft.Ownership, before.
func Forget(dir string) error {
	err := os.Remove(filepath.Join(dir, logFile))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err := errors.Join(err, os.RemoveAll(filepath.Join(dir, "snapshots"))); err != nil {
		return fmt.Errorf("raft: forget: %w", err)
	}
	return nil
}

// HasState reports whether raft has written anything in dir.
func HasState(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, logFile))
	return err == nil
}
