package appliance

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"masthead/appliance/gossip"
	"masthead/appliance/state"
	"masthead/node/wire"
)

// openReplica opens the state of this head and joins it to that of the others.
func (h *Head) openReplica() error {
	// The versions of writes are told by a clock that the other heads agree with.
	clock := gossip.NewClock(nil)
	db, err := state.Open(state.Config{Dir: filepath.Join(h.cfg.StateDir, stateDir), Head: h.cfg.Name, Now: clock.Now})
	if err != nil {
		return err
	}
	h.db = db
	h.replica, err = gossip.New(gossip.Config{
		Name: h.cfg.Name, Version: h.cfg.Version, DB: db, Clock: clock,
		Peers: h.gossipPeers, Client: h.peerClient, Keys: h.gossipKeys,
		// Clusters that share a network must not take each other's packets for an attack.
		Label: "masthead-" + h.authority.Digest().Short(),
		Bind:  h.cfg.Address.Addr(), Port: h.cfg.Gossip, Log: h.log, Event: h.event,
	})
	if err != nil {
		return fmt.Errorf("%w; close: %w", err, db.Close())
	}
	return nil
}

// gossipPeers are the other configured heads as the replica wants them.
func (h *Head) gossipPeers() []gossip.Peer {
	var all []gossip.Peer
	for name, r := range h.peerRecords() {
		all = append(all, gossip.Peer{Name: name, Address: r.Address, Gossip: r.Gossip, URL: r.URL()})
	}
	return all
}

// headAlive tells whether another head was heard of in the last seconds. It asks nobody.
func (h *Head) headAlive(name string) bool {
	alive, _ := h.lastHeard(name)
	return alive
}

// lastHeard is headAlive, and when it last said something: zero if it has not since this head started.
func (h *Head) lastHeard(name string) (alive bool, seen time.Time) {
	for _, s := range h.replica.Status() {
		if s.Name == name {
			return s.Alive, s.Seen
		}
	}
	return name == h.cfg.Name, time.Time{}
}

// silentTimeout bounds a question to a head of which nothing was heard in the last seconds: one that answers all the same
// does so at once.
const silentTimeout = 300 * time.Millisecond

// applyAt makes changes on that head, which must be the one that decides about them.
func (h *Head) applyAt(ctx context.Context, head string, o state.Origin, ops ...state.Op) (state.Ack, error) {
	ack, _, err := h.replica.ApplyAt(ctx, head, o, ops...)
	return ack, err
}

// peerRoutes are what other heads may ask of this one besides joining and leaving.
func (h *Head) peerRoutes(a *api) []peerRoute {
	return append(slices.Concat(a.commandPeerRoutes(), h.blobRoutes(), h.ownerPeerRoutes()), peerRoute{wire.PathPeer + "state/", h.replica.Handler()})
}

// comparer is what knows the states of the other heads.
func (h *Head) comparer() stateComparer { return h.replica }
