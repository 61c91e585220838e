package appliance

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"masthead/appliance/pki"
	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

const (
	// joinTokenLife is as long as a person needs from one machine to the other.
	joinTokenLife = 10 * time.Minute
	// joinTokenKeep is how long one that has expired is remembered, so that whoever brings it late is told so.
	joinTokenKeep = 24 * time.Hour
	joinPrefix    = "join-token/" // pki.JoinToken.ID: a joinRecord
	// maxJoinSkew is how much the clocks of two heads may differ: the state refuses what is written further ahead.
	maxJoinSkew = 10 * time.Second
)

// joinRecord is what the state keeps of a join token, whose secret it does not hold.
type joinRecord struct {
	Expires time.Time     `json:"expires"`
	By      string        `json:"by"`            // the head that made it
	Key     images.Digest `json:"key,omitempty"` // of the head that used it; empty: not used
	Name    string        `json:"name,omitempty"`
	At      time.Time     `json:"at,omitzero"`
}

const tryToken = "masthead head token on a head of the cluster makes a new one"

// makeJoinToken makes a token that lets one machine join within ten minutes.
func (h *Head) makeJoinToken(ctx context.Context, o state.Origin, now time.Time) (wire.JoinToken, error) {
	if !h.cfg.Address.IsValid() {
		return wire.JoinToken{}, &problem{http.StatusConflict, "this head has no address on a cluster network, so no other can reach it",
			"masthead head run --interface NIC --address ADDRESS/PREFIX"}
	}
	heads := h.heads()
	urls := []string{h.url()}
	for _, name := range slices.Sorted(maps.Keys(heads)) {
		if u := heads[name].URL(); name != h.cfg.Name && heads[name].Address.IsValid() && len(urls) < maxTokenURLs {
			urls = append(urls, u)
		}
	}
	token, err := h.ownJoinToken(urls, now)
	if err != nil {
		return wire.JoinToken{}, err
	}
	op, err := state.Put(state.KindSecret, joinPrefix+token.ID(), joinRecord{Expires: token.Expires, By: h.cfg.Name})
	if err != nil {
		return wire.JoinToken{}, err
	}
	ops := append(h.oldJoinTokens(now), op)
	if _, err := h.store().Apply(ctx, o, ops...); err != nil {
		return wire.JoinToken{}, fmt.Errorf("make a join token: %w", err)
	}
	return wire.JoinToken{Token: token.String(), Expires: token.Expires}, nil
}

// maxTokenURLs keeps a token short enough to be copied: any head knows the others.
const maxTokenURLs = 5

// ownJoinToken makes a token that falls into a slot of this head, so that it can be used as long as this head is there.
func (h *Head) ownJoinToken(urls []string, now time.Time) (pki.JoinToken, error) {
	holders := h.slotHolders()
	for {
		token, err := pki.NewJoinToken(h.authority.Digest(), urls, now.Add(joinTokenLife))
		if err != nil || !slices.Contains(holders, h.cfg.Name) || holders[joinSlot(token)] == h.cfg.Name {
			return token, err
		}
	}
}

func joinSlot(t pki.JoinToken) int { return state.SlotOf(joinPrefix + t.ID()) }

func (h *Head) oldJoinTokens(now time.Time) []state.Op {
	var ops []state.Op
	for _, rec := range h.db.List(state.KindSecret, joinPrefix) {
		if j, err := state.Decode[joinRecord](rec); err == nil && now.After(j.Expires.Add(joinTokenKeep)) {
			ops = append(ops, state.Delete(rec.Key.Kind, rec.Key.Name))
		}
	}
	return ops
}

// joinCheck is what decides about a request to join. Pure.
type joinCheck struct {
	heads   map[string]wire.HeadRecord
	version string // of the head that decides
	now     time.Time
	owner   func(netip.Addr) (string, bool) // the node that has an address reserved
	worker  func(name string) bool          // a node of that name that is no head
}

func (c joinCheck) check(r wire.JoinRequest, key images.Digest) error {
	conflict := func(try, format string, args ...any) error {
		return &problem{http.StatusConflict, fmt.Sprintf(format, args...), try}
	}
	if err := images.ValidHost(r.Name); err != nil {
		return &problem{http.StatusBadRequest, fmt.Sprintf("name %q: %v", r.Name, err), "masthead head run --name NAME"}
	}
	if _, again := c.heads[r.Name]; !again && len(c.heads) >= maxHeads {
		return conflict("masthead head leave, on one that is not needed", "the cluster has %d heads, and that is as many as it can have", len(c.heads))
	}
	if r.Protocol < wire.OldestHeadProtocol || wire.HeadProtocol < r.Oldest {
		return conflict("run the same masthead on both: curl -fsSL http://HEAD/install/head | sh, or boot from the same image",
			"the versions do not fit: this head runs masthead %s (heads' protocol %d, understands %d and later), %s runs masthead %s (protocol %d, understands %d and later)",
			c.version, wire.HeadProtocol, wire.OldestHeadProtocol, r.Name, r.Version, r.Protocol, r.Oldest)
	}
	if !r.Address.IsValid() || r.Address.IsUnspecified() {
		return &problem{http.StatusBadRequest, r.Name + " has no address on the cluster network", "masthead head run --interface NIC --address ADDRESS/PREFIX"}
	}
	if d := r.Time.Sub(c.now); d.Abs() > maxJoinSkew {
		return conflict(fmt.Sprintf("date -u -s '%s' on %s, and hwclock -w", c.now.UTC().Format("2006-01-02 15:04:05"), r.Name),
			"the clock of %s is %s from the cluster's, at most %v is allowed: there it is %s, here %s", r.Name, aheadText(d), maxJoinSkew,
			r.Time.UTC().Format(time.RFC3339), c.now.UTC().Format(time.RFC3339))
	}
	for name, rec := range c.heads {
		switch {
		case rec.Key == key && name != r.Name:
			return conflict("masthead head eject "+name, "this machine is in the cluster as %s", name)
		case rec.Key == key:
		case name == r.Name:
			return conflict("masthead head eject "+name+" if it is gone for good, or another --name", "a head named %s is in the cluster already", name)
		case rec.Address == r.Address:
			return conflict("give it another address", "head %s has the address %s", name, r.Address)
		}
	}
	if c.worker(r.Name) {
		return conflict("masthead node set "+r.Name+" --name NEW; or join under another --name", "a node is named %s", r.Name)
	}
	if node, ok := c.owner(r.Address); ok && node != r.Name {
		return conflict("masthead node set "+node+" --address NEW", "the address %s is reserved for node %s", r.Address, node)
	}
	return nil
}

func aheadText(d time.Duration) string {
	if d < 0 {
		return (-d).Round(time.Second).String() + " behind"
	}
	return d.Round(time.Second).String() + " ahead"
}

func (h *Head) joinCheck(now time.Time) joinCheck {
	return joinCheck{
		heads: h.heads(), version: h.cfg.Version, now: now,
		owner: func(a netip.Addr) (string, bool) {
			rec, ok := h.reg.ByAddress(a)
			return rec.Name, ok
		},
		worker: func(name string) bool {
			rec, ok := h.reg.Record(name)
			return ok && !rec.Head() && !rec.Clone() // a clone has the name of the head that it becomes
		},
	}
}

// acceptJoin takes a machine in as a head, if its token is good. The same machine may ask again with the same token: the
// answer may have been lost on the way. It blocks until the state has it.
func (h *Head) acceptJoin(ctx context.Context, r wire.JoinRequest, from netip.Addr, now time.Time) (wire.JoinAnswer, error) {
	token, err := pki.ParseJoinToken(r.Token)
	if err != nil {
		return wire.JoinAnswer{}, &problem{http.StatusUnauthorized, err.Error(), tryToken}
	}
	key, err := pki.CheckRequest(r.Request, r.Name)
	if err != nil {
		return wire.JoinAnswer{}, &problem{http.StatusBadRequest, err.Error(), ""}
	}
	use, err := h.useJoinToken(token, r.Name, key, now)
	if err != nil {
		return wire.JoinAnswer{}, err
	}
	check := h.joinCheck(now)
	if err := check.check(r, key); err != nil {
		return wire.JoinAnswer{}, err
	}
	_, again := check.heads[r.Name]
	answer := wire.JoinAnswer{By: h.cfg.Name, Cluster: len(check.heads)}
	if !again {
		answer.Cluster++
	}
	if r.DryRun {
		return answer, nil
	}
	enter, err := h.enterOp(r, key, now)
	if err != nil {
		return wire.JoinAnswer{}, err
	}
	owner := h.slotHolders()[joinSlot(token)]
	if owner == "" {
		owner = h.cfg.Name
	}
	_, err = h.applyAt(ctx, owner, state.Origin{Who: "head " + r.Name, Where: from.String()}, use, enter)
	if errors.Is(err, state.ErrConflict) {
		return wire.JoinAnswer{}, &problem{http.StatusConflict, "somebody else has used the token, or joined under the name " + r.Name + ", at the same moment", tryToken}
	}
	if err != nil {
		return wire.JoinAnswer{}, fmt.Errorf("take head %s in: %w", r.Name, err)
	}
	if answer.Files, err = pki.Bundle(filepath.Join(h.cfg.StateDir, keysDir)); err != nil {
		return wire.JoinAnswer{}, err
	}
	answer.Records = state.EncodeBatch(h.joinedRecords())
	h.event(fmt.Sprintf("%s (%s) joins the cluster", r.Name, r.Address), false)
	return answer, nil
}

// useJoinToken checks a token, and is the change that uses it up: it fails if somebody else was first.
func (h *Head) useJoinToken(t pki.JoinToken, name string, key images.Digest, now time.Time) (state.Op, error) {
	refuse := func(format string, args ...any) (state.Op, error) {
		return state.Op{}, &problem{http.StatusUnauthorized, fmt.Sprintf(format, args...), tryToken}
	}
	rec, err := h.db.Get(state.Key{Kind: state.KindSecret, Name: joinPrefix + t.ID()})
	if err != nil {
		return refuse("this cluster does not know the join token")
	}
	j, err := state.Decode[joinRecord](rec)
	if err != nil {
		return state.Op{}, fmt.Errorf("join token: %w", err)
	}
	switch {
	case !now.Before(j.Expires):
		return refuse("the join token has expired, at %s", j.Expires.UTC().Format(time.RFC3339))
	case j.Key != "" && subtle.ConstantTimeCompare([]byte(j.Key), []byte(key)) == 0:
		return refuse("the join token was used by head %s at %s", j.Name, j.At.UTC().Format(time.RFC3339))
	}
	j.Key, j.Name, j.At = key, name, now.UTC()
	op, err := state.Put(rec.Key.Kind, rec.Key.Name, j)
	return op.At(rec.Version), err
}

// enterOp is the change that makes a machine a configured head.
func (h *Head) enterOp(r wire.JoinRequest, key images.Digest, now time.Time) (state.Op, error) {
	op, err := state.Put(state.KindHead, r.Name, wire.HeadRecord{
		Address: r.Address, HTTPS: r.HTTPS, Gossip: r.Gossip, Key: key, Version: r.Version, Joined: now.UTC().Truncate(time.Second),
		Number: headNumber(r.Name, h.heads()),
	})
	var at state.Version
	if rec, e := h.db.Get(op.Key); e == nil {
		at = rec.Version
	}
	return op.At(at), err
}

// event tells people what happened between heads.
func (h *Head) event(text string, failed bool) {
	h.log.Info("heads", "event", text, "failed", failed)
	h.reg.Event(wire.Event{Time: time.Now(), Kind: "head", Failed: failed, Text: text})
}
