package appliance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// What heads keep about one another in the state.
const (
	secretGossip  = "gossip-keys"   // [][]byte: the first encrypts, all decrypt
	removedPrefix = "removed-head/" // NAME: a removedHead
)

// ownOrigin is what a head changes by itself, for the audit log.
var ownOrigin = state.Origin{Who: "head", Where: "local"}

// gossipKeySize is AES-256, the most that memberlist takes.
const gossipKeySize = 32

func newGossipKey() []byte {
	key := make([]byte, gossipKeySize)
	rand.Read(key) // never fails since Go 1.24
	return key
}

// gossipKeys are the keys of the membership protocol; none before the first start has made one.
func (h *Head) gossipKeys() [][]byte {
	rec, err := h.db.Get(state.Key{Kind: state.KindSecret, Name: secretGossip})
	if err != nil {
		return nil
	}
	keys, err := state.Decode[[][]byte](rec)
	if err != nil {
		h.log.Error("the key of the heads' membership protocol is not understood", "err", err)
		return nil
	}
	return keys
}

// slotHolders names the head that holds each slot; empty: nobody yet.
func (h *Head) slotHolders() []string {
	holders := make([]string, state.Slots)
	for i := range holders {
		rec, err := h.db.Get(state.Key{Kind: state.KindSlot, Name: state.SlotName(i)})
		if err != nil {
			continue
		}
		if s, err := state.Decode[state.Slot](rec); err == nil {
			holders[i] = s.Head
		}
	}
	return holders
}

// removedHead is a head that was taken out of the cluster: whoever has its key is told so when it comes back.
type removedHead struct {
	Key images.Digest `json:"key"`
	By  string        `json:"by"` // the head where it was done
	At  time.Time     `json:"at"`
	How string        `json:"how"` // one of the removed… words
}

const (
	removedLeft      = "has left"
	removedEjected   = "was ejected"
	removedRecovered = "was removed, by a recovery,"
)

func (r removedHead) text() string {
	return fmt.Sprintf("this head %s from the cluster, on %s at %s; what it holds counts no more", r.How, r.By, r.At.UTC().Format(time.RFC3339))
}

// removedHead finds the removal of the head with that key.
func (h *Head) removedHead(key images.Digest) (removedHead, bool) {
	for _, rec := range h.db.List(state.KindSetting, removedPrefix) {
		if r, err := state.Decode[removedHead](rec); err == nil && r.Key == key {
			return r, true
		}
	}
	return removedHead{}, false
}

// ownRecord is this head as the others shall know it.
func (h *Head) ownRecord() wire.HeadRecord {
	return wire.HeadRecord{
		Address: h.cfg.Address.Addr(), HTTPS: h.cfg.HTTPS, Gossip: h.cfg.Gossip, Key: h.server.Key(), Version: h.cfg.Version,
		Software: h.cfg.software(),
	}
}

// errStranger is a state that belongs to other heads only.
var errStranger = errors.New("the state knows other heads, and not this one with its key: was the folder pki lost or taken from another head?")

// enterPlan is what makes this head one of the configured ones: all, if there is none yet; its own record, if that says
// something else than now; its new name, if its key is known under another one. Pure.
func enterPlan(name string, own wire.HeadRecord, heads map[string]wire.HeadRecord, holders []string, hasKey bool, now time.Time) ([]state.Op, error) {
	was := ""
	for other, r := range heads {
		if r.Key == own.Key {
			was = other
		}
	}
	if was == "" && len(heads) > 0 {
		// A lone head that lost its key is still the only one there is. Among others it cannot prove who it is.
		if _, ok := heads[name]; !ok || len(heads) > 1 {
			return nil, errStranger
		}
		was = name
	}
	own.Joined = now.UTC().Truncate(time.Second)
	if was != "" {
		own.Joined = heads[was].Joined
	}
	own.Number = headNumber(was, heads)
	var ops []state.Op
	put := func(kind state.Kind, key string, v any) error {
		op, err := state.Put(kind, key, v)
		ops = append(ops, op)
		return err
	}
	if err := put(state.KindHead, name, own); err != nil {
		return nil, err
	}
	if was != "" && was != name {
		ops = append(ops, state.Delete(state.KindHead, was))
	}
	for slot, holder := range holders {
		if holder == was && (was != "" && was != name) || len(heads) == 0 {
			if err := put(state.KindSlot, state.SlotName(slot), state.Slot{Head: name}); err != nil {
				return nil, err
			}
		}
	}
	if !hasKey {
		if err := put(state.KindSecret, secretGossip, [][]byte{newGossipKey()}); err != nil {
			return nil, err
		}
	}
	return ops, nil
}

// enter makes sure that this head is one of the configured ones. What is so already is not written.
func (h *Head) enter(ctx context.Context) error {
	ops, err := enterPlan(h.cfg.Name, h.ownRecord(), h.heads(), h.slotHolders(), len(h.gossipKeys()) > 0, time.Now())
	if err == nil {
		_, err = h.store().Apply(ctx, ownOrigin, ops...)
	}
	if err == nil && h.solo() {
		err = h.db.SetComplete() // what the only head has is all there is
	}
	if errors.Is(err, errStranger) {
		return errors.Join(err, h.setPhase(memberFile{Phase: phaseRemoved, Since: time.Now().UTC(), Reason: err.Error()}))
	}
	if err != nil {
		return fmt.Errorf("enter this head among the configured ones: %w", err)
	}
	return nil
}

// headNames are the configured heads in order.
func (h *Head) headNames() []string { return slices.Sorted(maps.Keys(h.heads())) }
