package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"masthead/appliance/failover"
)

// record is the file that says what was started on this machine and may run: with it a daemon that starts again adopts its
// services, and stops those that are not configured any more. It lies on a file system that a boot empties.
type record struct {
	BootID   string     `json:"boot_id"`
	Services []recorded `json:"services"`
}

// recorded is one service, as it was when it was started.
type recorded struct {
	Service Service           `json:"service"`
	Retired bool              `json:"retired,omitempty"`
	Since   time.Time         `json:"since,omitzero"`
	Epochs  map[string]uint64 `json:"epochs"` // of the resources that were started, by their labels
}

// record gives what is to be in the file.
func (p *plan) record(boot string, wall func(failover.Instant) time.Time) record {
	r := record{BootID: boot}
	for _, e := range p.entries {
		epochs := map[string]uint64{}
		for i := range e.parts {
			if a := &e.parts[i]; a.ours {
				epochs[e.service.Resources[i].Label()] = a.epoch
			}
		}
		if len(epochs) > 0 {
			r.Services = append(r.Services, recorded{e.service, e.retired, wall(e.since).Round(0), epochs})
		}
	}
	return r
}

// restore makes what the file says the plan's services, before the first configure.
func (p *plan) restore(r record, instant func(time.Time) failover.Instant) {
	for _, s := range r.Services {
		e := p.entry(s.Service)
		e.retired, e.state, e.since = s.Retired, StateStarted, instant(s.Since)
		for i := range e.parts {
			e.parts[i].epoch, e.parts[i].ours = s.epoch(i)
		}
		p.entries = append(p.entries, e)
	}
}

func (s recorded) epoch(i int) (epoch uint64, ours bool) {
	epoch, ours = s.Epochs[s.Service.Resources[i].Label()]
	return epoch, ours
}

// readRecord gives the record of this boot. One that is not there, or of another boot, is empty.
func readRecord(file, boot string) (record, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return record{}, fmt.Errorf("read what was started: %w", err)
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, fmt.Errorf("read what was started: %s: %w", file, err)
	}
	if r.BootID != boot {
		return record{}, nil
	}
	r.Services = slices.DeleteFunc(r.Services, func(s recorded) bool {
		return slices.ContainsFunc(s.Service.Resources, func(x Resource) bool { return x.Kind() == "" })
	})
	return r, nil
}

func (r record) encode() ([]byte, error) { return json.Marshal(r) }

func writeRecord(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("note what is started: %w", err)
	}
	if err := renameio.WriteFile(file, data, 0o600); err != nil {
		return fmt.Errorf("note what is started: %w", err)
	}
	return nil
}
