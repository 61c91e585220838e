package heads

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// ownerConfig is the file that a head's daemon works from (appliance/ownership.Config), as far as these clusters need it. It
// is written as JSON rather than with that package, whose own tests stand on this one.
type ownerConfig struct {
	Cluster   string                `json:"cluster"`
	Gen       uint64                `json:"gen"`
	Self      string                `json:"self"`
	Heads     map[string]head       `json:"heads"`
	Key       []byte                `json:"key"`
	Document  string                `json:"document"`
	Version   int                   `json:"version"`
	Witnesses map[string]netip.Addr `json:"witnesses,omitempty"`
	Roster    uint32                `json:"roster,omitempty"`
	Keys      string                `json:"keys,omitempty"`
	Boot      string                `json:"boot,omitempty"`
}

type head struct {
	Number  int        `json:"number"`
	Address netip.Addr `json:"address"`
	Key     string     `json:"key,omitempty"`
}

func newConfig() ownerConfig {
	return ownerConfig{
		Cluster: "test", Gen: 1, Heads: map[string]head{}, Key: bytes.Repeat([]byte{7}, 32), Version: 1, Roster: 1,
		Witnesses: map[string]netip.Addr{},
	}
}

// write puts it where the daemon of that folder reads it.
func (c ownerConfig) write(dir string) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		return fmt.Errorf("configure head %s: %w", c.Self, err)
	}
	return nil
}
