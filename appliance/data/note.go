package data

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// Notes are gone after a boot: DRBD itself takes a copy for uncertain then (Consistent) until it has seen the other one.

func (s *Set) notePath(volume string) string { return filepath.Join(s.cfg.Dir, volume+".json") }

func (s *Set) readNote(volume string) (n Note) {
	data, err := os.ReadFile(s.notePath(volume))
	if err != nil || json.Unmarshal(data, &n) != nil {
		return Note{} // with which the copy counts as unknown until it is connected
	}
	return n
}

// writeNote keeps the note of a copy. The caller holds mu; the folder is in memory.
func (s *Set) writeNote(v *volume) {
	data, err := json.Marshal(v.look.Note)
	if err == nil {
		err = os.MkdirAll(s.cfg.Dir, 0o700)
	}
	if err == nil {
		err = renameio.WriteFile(s.notePath(v.Name), data, 0o600)
	}
	if err != nil {
		s.cfg.Log.Warn("note about a copy", "volume", v.Name, "err", err) // the daemon after this one knows less
	}
}
