package appliance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"masthead/appliance/state"
)

// knownFile holds the records of the configured heads and their key, as the state had them last. It lies beside the
// state, so that a head whose state file was damaged or lost still knows whom to ask for it. Without it such a head
// would take itself for the first one of a new cluster.
const knownFile = "heads.known"

// rememberHeads keeps the file as the state is.
func (h *Head) rememberHeads() error {
	path := filepath.Join(h.cfg.StateDir, knownFile)
	now := state.EncodeBatch(h.joinedRecords())
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, now) {
		return nil
	}
	if err := renameio.WriteFile(path, now, 0o600, renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("remember the heads: %w", err)
	}
	return nil
}

// settleKnown finds out whether the state lacks what this head has known of the others, or was rebuilt from a damaged
// file. Then it has to be fetched from them, before anything here goes by it.
func (h *Head) settleKnown(ctx context.Context) error {
	if h.member.file.Phase != phaseNone {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(h.cfg.StateDir, knownFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var known []state.Record
	if err == nil {
		known, err = state.DecodeBatch(data)
	}
	if err != nil {
		h.log.Warn("the file of the known heads cannot be used", "err", err)
		return nil
	}
	missing := h.missing(known)
	complete := h.db.Summary().Complete
	switch {
	case complete && len(missing) == 0:
		return nil
	case complete: // it does not know what it has lost
		records, e := h.db.Records(h.allKeys())
		if e == nil {
			_, e = h.db.Reset(append(records, missing...)...)
		}
		err = e
	default:
		err = h.merge(ctx, missing)
	}
	if err != nil {
		return fmt.Errorf("take over what is known of the heads: %w", err)
	}
	if h.solo() {
		return nil
	}
	h.log.Error("the state of this head is not whole: it is fetched from the other heads")
	return h.setPhase(memberFile{Phase: phaseSyncing, Since: time.Now().UTC(), Rebuild: true})
}

// missing are the records that the state does not have, not even as ones that were removed.
func (h *Head) missing(known []state.Record) []state.Record {
	var missing []state.Record
	for _, r := range known {
		if have, err := h.db.Records([]state.Key{r.Key}); err == nil && len(have) == 0 {
			missing = append(missing, r)
		}
	}
	return missing
}

func (h *Head) allKeys() []state.Key {
	leaves := make([]int, state.LeafCount)
	for i := range leaves {
		leaves[i] = i
	}
	var keys []state.Key
	for _, s := range h.db.Stamps(leaves) {
		keys = append(keys, s.Key)
	}
	return keys
}

// forgetHeads removes the file: this head changes its cluster.
func forgetHeads(dir string) error {
	err := os.Remove(filepath.Join(dir, knownFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
