package appliance

import (
	"context"
	"errors"
	"path/filepath"

	"masthead/appliance/pki"
	"masthead/appliance/state"
)

// secretShared is the record of the keys that all heads have and that were changed while the cluster ran: those of boot
// tokens, and the administrator's token. There is none before the first such change: the heads have them from the one
// that took them in.
const secretShared = "shared-keys"

// newKeys are the changes that make what somebody has stolen with a head worth nothing, as far as that goes without
// another CA: new keys of boot tokens, a new administrator's token, and no join token that is good.
func (h *Head) newKeys() ([]state.Op, error) {
	data, err := pki.NewShared()
	if err != nil {
		return nil, err
	}
	op, err := state.Put(state.KindSecret, secretShared, data)
	if err != nil {
		return nil, err
	}
	ops := []state.Op{op}
	for _, rec := range h.db.List(state.KindSecret, joinPrefix) {
		ops = append(ops, state.Delete(rec.Key.Kind, rec.Key.Name))
	}
	return ops, nil
}

// newKeysSteps say what newKeys changes, and what is left to be done.
func (h *Head) newKeysSteps() []string {
	return []string{
		"boot tokens are signed with new keys, and the old ones are worth nothing: nodes that run greet again by themselves",
		"the administrator's token changes on every head; the new one is in " + filepath.Join(h.cfg.StateDir, keysDir, "admin.token"),
		"join tokens that were made before are worth nothing",
		"NOT changed is the CA's key, which machines that run trust: whoever has it can pretend to be a head on the cluster's network",
		"by hand: keys and certificates among the kept files (masthead file list), SSH keys, and a cluster with a CA of its own if you need it: a new head, which the others leave this cluster for",
	}
}

// takeKeys makes the keys that the state has this head's own, if they are others than those that it took last.
func (h *Head) takeKeys() error {
	h.member.keys.Lock()
	defer h.member.keys.Unlock()
	rec, err := h.db.Get(state.Key{Kind: state.KindSecret, Name: secretShared})
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	news, err := pki.TakeShared(filepath.Join(h.cfg.StateDir, keysDir), rec.Value, h.tokens, h.admin[0])
	if news {
		h.event("the keys of boot tokens and the administrator's token have changed: "+h.admin[0].Path(), false)
	}
	return err
}

// runKeys keeps this head's keys as the state has them.
func (h *Head) runKeys(ctx context.Context) error {
	watch := h.db.Watch(state.KindSecret)
	defer watch.Close()
	for {
		if err := h.takeKeys(); err != nil {
			h.event("the cluster's new keys: "+err.Error(), true)
		}
		if _, err := watch.Next(ctx); err != nil {
			return err
		}
	}
}
