package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"masthead/appliance/state"
	"masthead/node/wire"
)

// leave begins to leave the cluster, or says what leaving would do. runMembership goes on with it.
func (h *Head) leave(ctx context.Context, c wire.HeadChange) (wire.HeadChanged, error) {
	h.member.busy.Lock()
	defer h.member.busy.Unlock()
	p := h.member.phase()
	if p != phaseNone && p != phaseLeaving {
		return wire.HeadChanged{}, &problem{http.StatusConflict, "this head is in the middle of another change: " + string(p), "masthead head list"}
	}
	if h.solo() {
		return wire.HeadChanged{}, &problem{http.StatusConflict, "this is the only head of its cluster: nobody would have the state when it left", ""}
	}
	live := h.liveHeads(ctx, c.DryRun)
	if len(live) == 0 {
		return wire.HeadChanged{}, &problem{http.StatusConflict, "no other head answers, so nobody can take over from this one",
			"switch another head on; if they are all gone for good: masthead head recover"}
	}
	held := h.heldSlots()
	done := wire.HeadChanged{Steps: []string{
		fmt.Sprintf("%s leaves: it gives %d of %d slots to %s", h.cfg.Name, len(held), state.Slots, listText(live)),
		"waits until one of them has everything that this head knows",
		"is removed from the cluster; the key of the heads' membership protocol changes",
		"puts its keys and its state aside, and begins a cluster of its own, with nothing in it",
		"nodes that report to it go to " + listText(live),
	}}
	if !c.DryRun && c.Confirm != h.cfg.Name {
		return wire.HeadChanged{}, &problem{http.StatusBadRequest, "leave takes the name of the head that goes, as a confirmation: " + h.cfg.Name, "masthead head leave --yes"}
	}
	if c.DryRun || p == phaseLeaving {
		return done, nil
	}
	if err := h.setPhase(memberFile{Phase: phaseLeaving, Since: time.Now().UTC()}); err != nil {
		return wire.HeadChanged{}, err
	}
	done.Applied = true
	h.kickMembership()
	return done, nil
}

func (h *Head) heldSlots() []int {
	var held []int
	for slot, holder := range h.slotHolders() {
		if holder == h.cfg.Name {
			held = append(held, slot)
		}
	}
	return held
}

// leaveTimeout bounds one wait until another head has everything: it gets each change at once. While a long repair goes
// on it is tried again.
const leaveTimeout = 10 * time.Second

// finishLeave hands over and has this head removed. It may be done again from its beginning.
func (h *Head) finishLeave(ctx context.Context) error {
	h.member.note("hands over", 0, 0)
	if h.solo() { // the others have left meanwhile
		h.event("this head stays: it is the only one now", true)
		return h.setPhase(memberFile{})
	}
	for _, seen := range h.views(ctx, h.peerRecords(), false) {
		if seen.gone() != "" { // it was done, and the answer was lost
			return h.setPhase(memberFile{Phase: phaseLeft, Since: time.Now().UTC()})
		}
	}
	live := h.liveHeads(ctx, false)
	if len(live) == 0 {
		return &problem{http.StatusConflict, "leaving waits for another head that answers", "masthead head list"}
	}
	handover, stop := context.WithTimeout(ctx, leaveTimeout)
	defer stop()
	if err := h.quitOwner(handover); err != nil {
		return err
	}
	shares := make(map[string][]int, len(live))
	for i, slot := range h.heldSlots() {
		to := live[i%len(live)]
		shares[to] = append(shares[to], slot)
	}
	for to, slots := range shares {
		if err := h.passSlots(ctx, slots, to); err != nil {
			return err
		}
	}
	h.member.close(true)
	left := false
	defer func() { h.member.close(left) }()
	h.member.note("waits until another head has everything", 0, 0)
	wait, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	peer, err := h.awaitEqual(wait, live)
	if err != nil {
		return fmt.Errorf("leaving waits until another head has everything that this one knows: %w", err)
	}
	h.commands.Announce() // its nodes have other heads from now on
	h.member.note("asks "+peer+" to remove this head", 0, 0)
	_, err = askPeer[wire.HeadChanged](ctx, h, peer, http.MethodPost, wire.PathPeerLeave, nil)
	var p *wire.ProblemError
	if err != nil && (!errors.As(err, &p) || p.Status != http.StatusGone) { // gone: the answer was lost the last time
		return err
	}
	left = true
	return h.setPhase(memberFile{Phase: phaseLeft, Since: time.Now().UTC()})
}

// farewell removes a head that leaves, on behalf of that head.
func (h *Head) farewell(ctx context.Context, name string) (wire.HeadChanged, error) {
	h.member.busy.Lock()
	defer h.member.busy.Unlock()
	rec, ok := h.heads()[name]
	if !ok {
		return wire.HeadChanged{}, &problem{http.StatusGone, name + " is not a configured head", ""}
	}
	// Of two that leave at once the second one in order stays, or nobody would have the state.
	if p := h.member.phase(); p != phaseNone && (p != phaseLeaving || name > h.cfg.Name) {
		return wire.HeadChanged{}, &problem{http.StatusConflict, h.cfg.Name + " is in the middle of another change: " + string(p), ""}
	}
	ops, err := h.removeOps(map[string]wire.HeadRecord{name: rec}, removedLeft, time.Now())
	if err != nil {
		return wire.HeadChanged{}, err
	}
	if _, err := h.store().Apply(ctx, state.Origin{Who: "head " + name, Where: rec.Address.String()}, ops...); err != nil {
		return wire.HeadChanged{}, fmt.Errorf("remove head %s: %w", name, err)
	}
	h.event(name+" has left the cluster", false)
	return wire.HeadChanged{Applied: true}, nil
}
