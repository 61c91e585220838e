package appliance

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"masthead/appliance/state"
	"masthead/node/wire"
)

// settingGeneration counts how often an operator has named a survivor.
const settingGeneration = "generation"

// removeOps are the changes that take heads out of the cluster: their records, so that their keys count no more; the nodes
// that they were, which are discovered again if the machines boot as workers; their slots, which this head takes; and the key of the membership protocol, which they know.
func (h *Head) removeOps(gone map[string]wire.HeadRecord, how string, now time.Time) ([]state.Op, error) {
	var ops []state.Op
	put := func(kind state.Kind, name string, v any) error {
		op, err := state.Put(kind, name, v)
		ops = append(ops, op)
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		ops = append(ops, state.Delete(state.KindHead, name))
		node, err := h.reg.ForgetHead(name)
		if err != nil {
			return nil, err
		}
		ops = append(ops, node...)
		r := removedHead{Key: gone[name].Key, By: h.cfg.Name, At: now.UTC().Truncate(time.Second), How: how}
		if err := put(state.KindSetting, removedPrefix+name, r); err != nil {
			return nil, err
		}
	}
	for slot, holder := range h.slotHolders() {
		if _, lost := gone[holder]; lost || holder == "" {
			if err := put(state.KindSlot, state.SlotName(slot), state.Slot{Head: h.cfg.Name}); err != nil {
				return nil, err
			}
		}
	}
	return ops, put(state.KindSecret, secretGossip, [][]byte{newGossipKey()})
}

// eject takes a head that is dead out of the cluster, or says what that would do.
func (h *Head) eject(ctx context.Context, o state.Origin, name string, c wire.HeadChange) (wire.HeadChanged, error) {
	h.member.busy.Lock()
	defer h.member.busy.Unlock()
	if err := h.mayChange(); err != nil {
		return wire.HeadChanged{}, err
	}
	rec, ok := h.peerRecords()[name]
	again := "masthead head eject " + name
	if c.Stolen {
		again += " --stolen"
	}
	gone := map[string]wire.HeadRecord{name: rec}
	switch {
	case name == h.cfg.Name:
		return wire.HeadChanged{}, &problem{http.StatusConflict, name + " is the head that you are asking", "masthead head leave; or " + again + " on another head"}
	case !ok && c.Stolen && h.wasRemoved(name): // somebody found out later
		gone = nil
	case !ok:
		return wire.HeadChanged{}, &problem{http.StatusNotFound, name + " is not a configured head", "masthead head list"}
	}
	if len(gone) > 0 && !c.Force && h.views(ctx, gone, c.DryRun)[name].alive() {
		return wire.HeadChanged{}, &problem{http.StatusConflict, "head " + name + " answers: it is not dead",
			"masthead head leave on " + name + "; or " + again + " --force, which loses what only it knows"}
	}
	if !c.DryRun && c.Confirm != name {
		return wire.HeadChanged{}, &problem{http.StatusBadRequest, "eject takes the name of the head that goes, as a confirmation: " + name, again + " --yes"}
	}
	var more []state.Op
	if c.Stolen {
		var err error
		if more, err = h.newKeys(); err != nil {
			return wire.HeadChanged{}, err
		}
	}
	var fenced string
	if len(gone) > 0 && !c.DryRun {
		var err error
		if fenced, err = h.fenceOff(ctx, name); err != nil && !c.Force {
			return wire.HeadChanged{}, &problem{http.StatusConflict, fmt.Sprintf("%v: it may still be running", err),
				"masthead fence test " + name + "; or " + again + " --force, if you know that it is off"}
		}
	}
	done, err := h.remove(ctx, o, gone, removedEjected, c.DryRun, more...)
	if err != nil {
		return done, err
	}
	if fenced != "" {
		done.Steps = append([]string{"its fence devices were asked: " + fenced}, done.Steps...)
	}
	if !c.Stolen {
		done.Steps = append(done.Steps, "its disk has the cluster's keys and the administrator's token: if it is in wrong hands, "+again+" --stolen")
		return done, nil
	}
	done.Steps = append(done.Steps, h.newKeysSteps()...)
	if c.DryRun {
		return done, nil
	}
	return done, h.takeKeys()
}

// wasRemoved reports whether there was a head of that name that was taken out.
func (h *Head) wasRemoved(name string) bool {
	_, err := h.db.Get(state.Key{Kind: state.KindSetting, Name: removedPrefix + name})
	return err == nil
}

// remove does or describes a removal by an operator.
func (h *Head) remove(ctx context.Context, o state.Origin, gone map[string]wire.HeadRecord, how string, dryRun bool, more ...state.Op) (wire.HeadChanged, error) {
	ops, err := h.removeOps(gone, how, time.Now())
	if err != nil {
		return wire.HeadChanged{}, err
	}
	var done wire.HeadChanged
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		slots := 0
		for _, holder := range h.slotHolders() {
			if holder == name {
				slots++
			}
		}
		done.Steps = append(done.Steps, fmt.Sprintf("head %s (%s) is no head of the cluster any more: its certificate counts no more, and %s takes its %d slots",
			name, gone[name].Address, h.cfg.Name, slots))
	}
	done.Steps = append(done.Steps, "the key of the heads' membership protocol changes")
	if len(gone) > 0 {
		done.Steps = append(done.Steps, "what only a removed head knows is lost; it says so when it comes back, and can join again with a token",
			"make sure that it is off: if it runs behind a network that is cut, it goes on there with the same keys, and addresses are given twice")
	}
	if dryRun {
		return done, nil
	}
	ack, err := h.store().Apply(ctx, o, append(ops, more...)...)
	if err != nil {
		return wire.HeadChanged{}, fmt.Errorf("remove heads: %w", err)
	}
	done.Applied, done.Degraded = true, ack.Degraded
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		h.event(fmt.Sprintf("%s %s from the cluster", name, how), false)
	}
	return done, nil
}

// mayChange refuses changes of the set of heads by a head that is not a whole member of it.
func (h *Head) mayChange() error {
	if p := h.member.phase(); p != phaseNone || h.wantsToJoin() {
		return &problem{http.StatusConflict, "this head is in the middle of another change: " + string(p), "masthead head list"}
	}
	return nil
}

// recoverHere makes this head the only one of its cluster, when the operator says that all others are gone for good.
func (h *Head) recoverHere(ctx context.Context, o state.Origin, c wire.HeadChange) (wire.HeadChanged, error) {
	h.member.busy.Lock()
	defer h.member.busy.Unlock()
	p := h.member.phase()
	// A head that was removed may be the last one that is left.
	if p != phaseNone && p != phaseSyncing && p != phaseLeaving && p != phaseRemoved || h.wantsToJoin() {
		return wire.HeadChanged{}, h.mayChange()
	}
	gone := h.peerRecords()
	if len(gone) == 0 && p == phaseNone {
		return wire.HeadChanged{}, &problem{http.StatusConflict, "this is the only configured head already", "masthead head list"}
	}
	if live := h.liveHeads(ctx, c.DryRun); len(live) > 0 && !c.Force {
		return wire.HeadChanged{}, &problem{http.StatusConflict, listText(live) + " answers: the cluster is not lost",
			"masthead head eject of the ones that are dead; or masthead head recover --force"}
	}
	if !c.DryRun && c.Confirm != h.cfg.Name {
		return wire.HeadChanged{}, &problem{http.StatusBadRequest, "recover takes the name of the head that stays, as a confirmation: " + h.cfg.Name,
			"masthead head recover --yes"}
	}
	generation := h.generation() + 1
	op, err := state.Put(state.KindSetting, settingGeneration, generation)
	if err != nil {
		return wire.HeadChanged{}, err
	}
	if !c.DryRun {
		if err := h.beginGeneration(generation); err != nil {
			return wire.HeadChanged{}, err
		}
	}
	more := []state.Op{op}
	if own, ok := h.heads()[h.cfg.Name]; !ok || own.Key != h.server.Key() { // a join that had not come so far
		enter, err := state.Put(state.KindHead, h.cfg.Name, h.ownRecord())
		if err != nil {
			return wire.HeadChanged{}, err
		}
		more = append(more, enter)
	}
	done, err := h.remove(ctx, o, gone, removedRecovered, c.DryRun, more...)
	if err != nil {
		return done, err
	}
	done.Steps = append(done.Steps, fmt.Sprintf("generation %d of the cluster begins on %s: boot tokens are signed with a new key, and what it writes wins over anything older", generation, h.cfg.Name))
	if c.DryRun {
		return done, nil
	}
	if err := h.tokens.Rotate(); err != nil {
		return done, err
	}
	if p != phaseNone {
		defer h.restart()
		return done, h.setPhase(memberFile{})
	}
	return done, nil
}

// generation counts from 1.
func (h *Head) generation() uint64 {
	rec, err := h.db.Get(state.Key{Kind: state.KindSetting, Name: settingGeneration})
	if err != nil {
		return 1
	}
	n, err := state.Decode[uint64](rec)
	if err != nil {
		return 1
	}
	return max(n, 1)
}
