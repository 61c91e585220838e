package arbiter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// rosterFile keeps the lists of voters of which each must agree. A head may leave its cluster and join another, whose lists
// are numbered anew: what another cluster wrote is nothing here.
type rosterFile struct{ dir, cluster string }

// rosterRecord is what is in it.
type rosterRecord struct {
	Cluster string `json:"cluster"`
	Rosters
}

func (f rosterFile) path() string { return filepath.Join(f.dir, "voters.json") }

// read gives what was written last; nothing where nothing was, or for another cluster.
func (f rosterFile) read() (rs Rosters, err error) {
	b, err := os.ReadFile(f.path())
	if errors.Is(err, fs.ErrNotExist) {
		return rs, nil
	}
	if err != nil {
		return rs, fmt.Errorf("list of voters: %w", err)
	}
	var r rosterRecord
	err = json.Unmarshal(b, &r)
	if err == nil && r.Cluster != f.cluster {
		return rs, nil
	}
	if err == nil {
		err = r.Rosters.validate()
	}
	if err != nil {
		return rs, fmt.Errorf("list of voters %s: %w", f.path(), err)
	}
	return r.Rosters, nil
}

func (f rosterFile) write(rs Rosters) error {
	b, err := json.MarshalIndent(rosterRecord{f.cluster, rs}, "", "  ")
	if err != nil {
		return fmt.Errorf("list of voters: %w", err)
	}
	if err := renameio.WriteFile(f.path(), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("list of voters: %w", err)
	}
	return nil
}
