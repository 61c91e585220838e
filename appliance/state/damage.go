package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Damage tells of a state file that could not be trusted. The file is kept under another name; what was whole in it is
// in the state that now runs.
type Damage struct {
	File   string // the path that it had
	Moved  string // the path that it has
	Reason string // what is wrong with it
	Kept   int    // records that were whole
	Others bool   // other heads may have what is lost
}

func (d *Damage) Error() string {
	return fmt.Sprintf("state file %s: %s; %d whole records were taken over, the file is kept as %s",
		d.File, d.Reason, d.Kept, d.Moved)
}

// Try says what the administrator can do about it.
func (d *Damage) Try() string {
	if d.Others {
		return "masthead state verify: what is lost comes again from the other heads; check the disk (dmesg, smartctl)"
	}
	return "compare `masthead node list` with what you expect; check the disk (dmesg, smartctl)"
}

// moveAside renames a file to NAME.old.NN with the first free number. Nothing is ever overwritten.
func moveAside(path string) (string, error) { return aside(path, os.Rename) }

// linkAside gives a file that name besides its own.
func linkAside(path string) (string, error) { return aside(path, os.Link) }

func aside(path string, do func(from, to string) error) (string, error) {
	for n := range 100 {
		to := fmt.Sprintf("%s.old.%02d", path, n)
		if _, err := os.Lstat(to); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("state: keep %s as %s: %w", path, to, err)
		}
		if err := do(path, to); err != nil {
			return "", fmt.Errorf("state: keep %s as %s: %w", path, to, err)
		}
		return to, nil
	}
	return "", fmt.Errorf("state: keep %s: %s.old.00 to .99 are all taken; remove some", path, path)
}
