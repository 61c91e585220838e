package appliance

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

	"masthead/appliance/state"
)

// A head that joins or leaves a cluster, or was taken out of one, changes its keys and its whole state. That cannot be
// one step on a disk, so a small file says how far it is (memberFile), and each start goes on from there:
//
//	accepted  the cluster has taken this head; its keys are in joiningDir, all old ones in their place.
//	          → the old keys go aside, the new ones take their place, the state is emptied: syncing
//	syncing   it has the cluster's keys and an incomplete state. → the whole state from a peer: no file
//	leaving   it is asked to leave. → a peer has its slots and all that it knows, and has removed it: left
//	left      it is no head of the cluster any more. → keys and state go aside: no file, and a new cluster of one
//	removed   the others have taken it out. It serves nothing until it joins again: accepted
//
// Before accepted is written, a power cut leaves the old head as it was; it may be in the cluster's list by then, and
// joins under the same key with the same or another token, or is ejected there. Each arrow may be done again from its
// beginning.
type phase string

const (
	phaseNone     phase = ""
	phaseAccepted phase = "accepted"
	phaseSyncing  phase = "syncing"
	phaseLeaving  phase = "leaving"
	phaseLeft     phase = "left"
	phaseRemoved  phase = "removed"
)

// Where that is kept below the state folder.
const (
	memberFileName = "membership.json"
	joiningDir     = "joining"
	exportDir      = "exports"
)

// memberFile is what a power cut must not take away.
type memberFile struct {
	Phase   phase     `json:"phase"`
	Since   time.Time `json:"since"`
	Records []byte    `json:"records,omitempty"` // accepted: heads and gossip key of the cluster
	Reason  string    `json:"reason,omitempty"`  // removed: in words
	Export  string    `json:"export,omitempty"`  // where the state before was saved
	Rebuild bool      `json:"rebuild,omitempty"` // syncing: it was a head of this cluster before, and lost its state
}

func readMember(dir string) (memberFile, error) {
	var m memberFile
	data, err := os.ReadFile(filepath.Join(dir, memberFileName))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		return m, fmt.Errorf("how this head stands to its cluster: %w", err)
	}
	known := []phase{phaseAccepted, phaseSyncing, phaseLeaving, phaseLeft, phaseRemoved}
	if !slices.Contains(known, m.Phase) {
		return m, fmt.Errorf("how this head stands to its cluster: %s: unknown phase %q", filepath.Join(dir, memberFileName), m.Phase)
	}
	return m, nil
}

// writeMember is durable when it returns. No phase removes the file.
func writeMember(dir string, m memberFile) error {
	path := filepath.Join(dir, memberFileName)
	var err error
	if m.Phase == phaseNone {
		if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		var data []byte
		if data, err = json.MarshalIndent(m, "", "  "); err == nil {
			err = renameio.WriteFile(path, append(data, '\n'), 0o600, renameio.IgnoreUmask())
		}
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("keep how this head stands to its cluster: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// maxOld is how many earlier folders are kept beside each other.
const maxOld = 100

// moveAside renames a folder to NAME.old.NN; one that is not there is done already.
func moveAside(path string) error {
	for n := range maxOld {
		old := fmt.Sprintf("%s.old.%02d", path, n)
		if _, err := os.Lstat(old); err == nil {
			continue
		}
		err := os.Rename(path, old)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = syncDir(filepath.Dir(path))
		}
		return err
	}
	return fmt.Errorf("%s.old.00 to 99 are all there; remove some of them", path)
}

// settleFiles does what of the present phase has to be done before the keys and the state are opened.
func (h *Head) settleFiles() error {
	dir := h.cfg.StateDir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("open the state folder: %w", err)
	}
	m, err := readMember(dir)
	if err != nil {
		return err
	}
	if m.Phase == phaseAccepted || m.Phase == phaseLeft {
		if err := errors.Join(forgetHeads(dir), forgetTags(filepath.Join(dir, ImagesDir))); err != nil {
			return fmt.Errorf("change the cluster of this head: %w", err)
		}
	}
	keys, joining := filepath.Join(dir, keysDir), filepath.Join(dir, joiningDir)
	switch m.Phase {
	case phaseAccepted:
		if _, e := os.Stat(joining); e == nil {
			if err = moveAside(keys); err == nil {
				err = os.Rename(joining, keys)
			}
			if err == nil {
				err = syncDir(dir)
			}
		}
	case phaseLeft:
		err = errors.Join(moveAside(keys), moveAside(filepath.Join(dir, stateDir)))
		if err == nil {
			m = memberFile{}
			err = writeMember(dir, m)
		}
	}
	if err != nil {
		return fmt.Errorf("change the cluster of this head: %w", err)
	}
	h.member.file, h.member.kick = m, make(chan struct{}, 1)
	return nil
}

// forgetTags puts the tags of a store aside: they are those of the cluster that the head was in. The blobs are good
// wherever they are.
func forgetTags(store string) error {
	if _, err := os.Stat(filepath.Join(store, SharedMark)); err == nil {
		return nil // the other heads' too
	}
	return moveAside(filepath.Join(store, "tags"))
}

// settleState does what of the present phase has to be done when the state is open, before anything uses it.
func (h *Head) settleState() error {
	m := h.member.file
	if m.Phase != phaseAccepted {
		return nil
	}
	records, err := state.DecodeBatch(m.Records)
	if err == nil {
		_, err = h.db.Reset(records...)
	}
	if err == nil {
		m.Phase, m.Records = phaseSyncing, nil
		err = writeMember(h.cfg.StateDir, m)
	}
	if err != nil {
		return fmt.Errorf("empty the state to join: %w", err)
	}
	h.member.file = m
	return nil
}

// joinedRecords are the records that a head which joins needs before it can talk to the others.
func (h *Head) joinedRecords() []state.Record {
	records := h.db.List(state.KindHead, "")
	if rec, err := h.db.Get(state.Key{Kind: state.KindSecret, Name: secretGossip}); err == nil {
		records = append(records, rec)
	}
	return records
}
