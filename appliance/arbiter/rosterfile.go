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

// rosterFile keeps the lists of voters of which each must agree.
type rosterFile struct{ dir string }

func (f rosterFile) path() string { return filepath.Join(f.dir, "voters.json") }

// read gives what was written last; nothing where nothing was.
func (f rosterFile) read() (rs Rosters, err error) {
	b, err := os.ReadFile(f.path())
	if errors.Is(err, fs.ErrNotExist) {
		return rs, nil
	}
	if err != nil {
		return rs, fmt.Errorf("list of voters: %w", err)
	}
	if err = json.Unmarshal(b, &rs); err == nil {
		err = rs.validate()
	}
	if err != nil {
		return rs, fmt.Errorf("list of voters %s: %w", f.path(), err)
	}
	return rs, nil
}

func (f rosterFile) write(rs Rosters) error {
	b, err := json.MarshalIndent(rs, "", "  ")
	if err != nil {
		return fmt.Errorf("list of voters: %w", err)
	}
	if err := renameio.WriteFile(f.path(), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("list of voters: %w", err)
	}
	return nil
}
