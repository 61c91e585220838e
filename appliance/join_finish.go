package appliance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// joinBySelf joins the cluster that this head was told to join at its start.
func (h *Head) joinBySelf(ctx context.Context) error {
	if h.cfg.JoinToken == "" {
		return &problem{http.StatusConflict, "this machine was told to join a cluster, and has no join token",
			"masthead head join " + orTry(h.cfg.JoinAddress, "ADDRESS") + ", with a token from: masthead head token"}
	}
	h.member.note("asks to be taken in", 0, 0)
	_, err := h.join(ctx, wire.JoinStart{Token: h.cfg.JoinToken, Address: h.cfg.JoinAddress})
	var p *problem
	if h.cfg.JoinAddress != "" && errors.As(err, &p) && p.status == http.StatusBadGateway {
		// Nobody watches, and the word on a stick is older than the token, which names all heads of its cluster.
		if _, again := h.join(ctx, wire.JoinStart{Token: h.cfg.JoinToken}); again == nil {
			return nil
		}
	}
	return err
}

// finishJoin fetches the whole state from any of the others, takes a part of the slots, and makes this head a whole one.
func (h *Head) finishJoin(ctx context.Context) error {
	peers := h.headNames()
	peers = slices.DeleteFunc(peers, func(name string) bool { return name == h.cfg.Name })
	if len(peers) == 0 {
		return &problem{http.StatusConflict, "the cluster that this head joins has no other head",
			"if all others are gone for good: masthead head recover"}
	}
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	var from string
	var err error
	for _, peer := range peers {
		from = peer
		h.member.note("fetches the state from "+peer, 0, 0)
		err = h.syncFrom(ctx, peer, func(done, total int) { h.member.note("fetches the state from "+peer, done, total) })
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return &problem{http.StatusBadGateway, "no other head has given the whole state: " + err.Error(),
			"masthead head list on another head; if all others are gone for good: masthead head recover"}
	}
	if own, ok := h.heads()[h.cfg.Name]; !ok || own.Key != h.server.Key() {
		return &problem{http.StatusConflict, "another machine has joined as " + h.cfg.Name + " at the same moment", "masthead head join under another --name"}
	}
	if err := h.enter(ctx); err != nil {
		return err
	}
	h.takeShare(ctx, peers)
	rebuilt := h.member.rebuilds()
	if err := h.rememberHeads(); err != nil { // else a state that is lost in the next moment leaves a head of its own
		return err
	}
	if err := h.setPhase(memberFile{}); err != nil {
		return err
	}
	h.forgetToken()
	if rebuilt {
		h.event("the state of this head is whole again: it was fetched from "+from, false)
	} else {
		slices.Sort(peers)
		h.event("this head has joined the cluster of "+listText(peers), false)
	}
	return nil
}

// forgetToken removes the join token that another head left in the state of this one when it made it. It has been used; this
// is so that nothing that looks like a key lies about.
func (h *Head) forgetToken() {
	for _, name := range []string{images.CredentialJoin, images.CredentialJoinAt} {
		err := os.Remove(filepath.Join(h.cfg.StateDir, images.SecretsDir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			h.log.Warn("remove the join token", "err", err)
		}
	}
}

// takeShare asks the others for slots, as many as make a fair part. Without any this head is as good as with them, as
// long as the others are there, so what fails is only told.
func (h *Head) takeShare(ctx context.Context, peers []string) {
	for _, peer := range peers {
		holders := h.slotHolders()
		want := state.Slots / max(len(peers)+1, 1)
		for _, holder := range holders {
			if holder == h.cfg.Name {
				want--
			}
		}
		if want <= 0 {
			return
		}
		h.member.note("takes a part of what "+peer+" allocates", 0, 0)
		given, err := askPeer[wire.SlotsGiven](ctx, h, peer, http.MethodPost, wire.PathPeerSlots, wire.SlotsWanted{Want: want})
		if err == nil {
			err = h.awaitSlots(ctx, given.Slots)
		}
		if err != nil {
			h.log.Warn("a part of the slots", "head", peer, "err", err)
		}
	}
}

// slotWait is for records that are on their way already.
const slotWait = 3 * time.Second

// awaitSlots waits until the state here says what another head has said.
func (h *Head) awaitSlots(ctx context.Context, slots []int) error {
	ctx, cancel := context.WithTimeout(ctx, slotWait)
	defer cancel()
	w := h.db.Watch(state.KindSlot)
	defer w.Close()
	for {
		holders := h.slotHolders()
		if !slices.ContainsFunc(slots, func(s int) bool { return s < len(holders) && holders[s] != h.cfg.Name }) {
			return nil
		}
		if _, err := w.Next(ctx); err != nil {
			return err
		}
	}
}

// giveSlots gives some of this head's own slots to a head that has joined.
func (h *Head) giveSlots(ctx context.Context, to string, want int) ([]int, error) {
	h.member.busy.Lock()
	defer h.member.busy.Unlock()
	if h.member.phase() != phaseNone {
		return nil, &problem{http.StatusServiceUnavailable, "this head is in the middle of another change", ""}
	}
	given := state.ShareSlots(h.slotHolders(), h.cfg.Name, len(h.heads()))
	given = given[:min(len(given), max(want, 0))]
	if err := h.passSlots(ctx, given, to); err != nil {
		return nil, err
	}
	return given, nil
}

// passSlots makes another head the holder of slots that are this one's.
func (h *Head) passSlots(ctx context.Context, slots []int, to string) error {
	var ops []state.Op
	for _, slot := range slots {
		rec, err := h.db.Get(state.Key{Kind: state.KindSlot, Name: state.SlotName(slot)})
		if err != nil {
			return err
		}
		op, err := state.Put(state.KindSlot, state.SlotName(slot), state.Slot{Head: to})
		if err != nil {
			return err
		}
		ops = append(ops, op.At(rec.Version))
	}
	if len(ops) == 0 {
		return nil
	}
	if _, err := h.store().Apply(ctx, ownOrigin, ops...); err != nil {
		return fmt.Errorf("give slots to head %s: %w", to, err)
	}
	return nil
}
