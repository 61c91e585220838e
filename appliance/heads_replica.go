package appliance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"masthead/appliance/gossip"
	"masthead/appliance/state"
	"masthead/node/wire"
)

// store is the state as everything here changes it: each change goes to the other heads too.
func (h *Head) store() state.Store { return h.replica }

// syncFrom takes over the whole state of a peer.
func (h *Head) syncFrom(ctx context.Context, peer string, progress func(done, total int)) error {
	return h.replica.Sync(ctx, peer, progress)
}

// equalEvery is how often it is looked whether another head has everything.
const equalEvery = 100 * time.Millisecond

// awaitEqual waits until one of the heads has all that this one has, and names it.
func (h *Head) awaitEqual(ctx context.Context, names []string) (string, error) {
	tick := time.NewTicker(equalEvery)
	defer tick.Stop()
	for {
		all, configured := h.replicaStatus(), h.heads()
		names = slices.DeleteFunc(names, func(name string) bool { _, ok := configured[name]; return !ok })
		if len(names) == 0 {
			return "", errors.New("they are no heads of the cluster any more")
		}
		for _, name := range names {
			if s := all[name]; s.Alive && s.Equal && s.Root == h.root() {
				return name, nil
			}
		}
		select {
		case <-ctx.Done():
			var why []error
			for _, name := range names {
				why = append(why, fmt.Errorf("%s has not: %s", name, orTry(all[name].Reason, "its state differs")))
			}
			return "", errors.Join(why...)
		case <-tick.C:
		}
	}
}

// merge takes over records of another head.
func (h *Head) merge(ctx context.Context, records []state.Record) error {
	_, err := h.db.Merge(ctx, records)
	return err
}

// beginGeneration makes what is written from now on win over all that a removed head may still write.
func (h *Head) beginGeneration(n uint64) error {
	if err := h.db.SetEpoch(max(stateEpoch(n, 0), h.db.Epoch())); err != nil {
		return err
	}
	return h.db.SetComplete()
}

// root is the hash of the whole state.
func (h *Head) root() string { return h.db.Summary().Root.String() }

// replicaStatus is what the replication knows of the other heads.
func (h *Head) replicaStatus() map[string]wire.HeadStatus {
	all := map[string]wire.HeadStatus{}
	for _, s := range h.replica.Status() {
		all[s.Name] = wire.HeadStatus{Alive: s.Alive, Seen: s.Seen, Root: s.Root, Equal: s.Equal, Skew: s.Skew.Seconds(), Reason: s.Reason}
	}
	return all
}

// exportState writes the state into a file, with its secrets.
func (h *Head) exportState(path string) error {
	e, err := h.db.Export(true)
	if err != nil {
		return err
	}
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o600), renameio.IgnoreUmask())
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if err := e.Write(f); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

// withPeerName puts the name of the head that calls into a request's context.
func withPeerName(ctx context.Context, name string) context.Context {
	return gossip.WithPeer(context.WithValue(ctx, peerKey{}, name), name)
}
