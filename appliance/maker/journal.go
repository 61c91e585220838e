package maker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"masthead/node/wire"
)

// Journal is how far a machine has come on its way to be a head. It lies in the state of the head that makes it, so that a
// run which was cut off, with that head even, is gone on with.
type Journal struct {
	Host    string    `json:"host"` // as it was called
	Name    string    `json:"name"`
	Address string    `json:"address"`
	MAC     string    `json:"mac,omitempty"`
	Disk    string    `json:"disk,omitempty"` // serial number of the one that is written; empty: nothing was yet
	Began   time.Time `json:"began"`
	Done    []string  `json:"done,omitempty"` // steps
	// Changed: the node's record is not what it was. Was is what it was before that; nil: there was none.
	Changed bool       `json:"changed,omitempty"`
	Was     *wire.Node `json:"was,omitempty"`
	// Keys are its SSH host keys, by the names of their files: between its old system and its new disk they are nowhere else.
	Keys map[string][]byte `json:"keys,omitempty"`
}

// Has reports whether a step is done.
func (j Journal) Has(step string) bool { return slices.Contains(j.Done, step) }

// Dir is the folder of the journals in a head's state.
const Dir = "maker"

// journalFile is where the journal of a machine lies.
func journalFile(state, host string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '-':
			return r
		}
		return '_'
	}, strings.ToLower(host))
	return filepath.Join(state, Dir, name+".json")
}

// ReadJournal gives the journal of a machine; one that is not there is empty.
func ReadJournal(state, host string) (Journal, error) {
	data, err := os.ReadFile(journalFile(state, host))
	if errors.Is(err, fs.ErrNotExist) {
		return Journal{}, nil
	}
	var j Journal
	if err == nil {
		err = json.Unmarshal(data, &j)
	}
	if err != nil {
		return Journal{}, fmt.Errorf("how far %s has come: %w", host, err)
	}
	return j, nil
}

// Write keeps the journal.
func (j Journal) Write(state string) error {
	data, err := json.MarshalIndent(j, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Join(state, Dir), 0o700)
	}
	if err == nil {
		err = renameio.WriteFile(journalFile(state, j.Host), append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("note how far %s has come: %w", j.Host, err)
	}
	return nil
}

// Forget removes it: nothing of the run is left.
func (j Journal) Forget(state string) error {
	err := os.Remove(journalFile(state, j.Host))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
