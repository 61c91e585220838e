package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"reflect"
	"time"

	"masthead/appliance/configuration"
	"masthead/appliance/ownership"
	"masthead/appliance/state"
	"masthead/node/wire"
)

// The owner daemon is a process of its own (package ownership). This head tells it what it must know, by a file and a word
// on its socket, and asks it for what people want to know.

// What the state has of ownership.
var clusterKey = state.Key{Kind: state.KindCluster, Name: "configuration"}

// secretCluster begins the names of the secrets that the configuration names.
const secretCluster = "cluster/"

// ownerPoll is how long after a change the daemon is told: several changes come together.
const ownerPoll = 50 * time.Millisecond

// ownerRetry is how soon something that could not be done is tried again, ownerTurn where another head is waited for.
const (
	ownerRetry = time.Second
	ownerTurn  = rosterTurn / 3
)

// ownerWait bounds how long a daemon is waited for, where others wait: it may hang, and that is when one looks.
const ownerWait = time.Second

// runOwner keeps the daemon's configuration as the state has it.
func (h *Head) runOwner(ctx context.Context) error {
	watch := h.db.Watch(state.KindHead, state.KindCluster, state.KindService, state.KindSecret, state.KindSetting, state.KindNode)
	defer watch.Close()
	said := ""
	for {
		confirmed := h.confirmed.Load()
		err := h.tellOwner(ctx)
		wait, cancel := ctx, context.CancelFunc(func() {})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errRosterTurn):
			wait, cancel = context.WithTimeout(ctx, ownerTurn)
		case err != nil:
			if text := "ownership: " + err.Error(); text != said { // what goes on for days is one event
				said = text
				h.event(text, true)
			}
			wait, cancel = context.WithTimeout(ctx, ownerRetry)
		case !confirmed || !h.ownerTold.Load():
			said = ""
			wait, cancel = context.WithTimeout(ctx, ownerRetry)
		default:
			said = ""
		}
		_, err = watch.Next(wait)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		select {
		case <-time.After(ownerPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tellOwner writes the daemon's configuration, and tells it if that is a new one.
func (h *Head) tellOwner(ctx context.Context) error {
	if h.member.phase() != phaseNone {
		return nil // it is leaving, and has handed over
	}
	conf, doc, err := h.ownerConfig()
	if err != nil {
		return err
	}
	virtual := map[netip.Addr]bool{}
	for _, v := range doc.Addresses() {
		virtual[v.Address.Addr()] = true
	}
	h.virtual.Store(&virtual)
	h.tellWitnesses(conf)
	if conf.Roster, err = h.settleRoster(ctx, conf); err != nil {
		return err
	}
	changed, err := h.writeOwner(conf)
	if err != nil || !changed && h.ownerTold.Load() {
		return err
	}
	// A daemon that does not run now, or hangs, reads the file by itself, when it starts and from time to time.
	ctx, cancel := context.WithTimeout(ctx, ownerWait)
	defer cancel()
	h.ownerTold.Store(h.owner.ReloadOwner(ctx) == nil)
	return nil
}

// writeOwner writes the daemon's configuration, unless this head has begun to leave meanwhile.
func (h *Head) writeOwner(conf ownership.Config) (changed bool, err error) {
	h.ownerFile.Lock()
	defer h.ownerFile.Unlock()
	if h.member.phase() != phaseNone {
		return false, nil
	}
	return ownership.WriteConfig(h.ownerDir(), conf)
}

func (h *Head) ownerDir() string { return filepath.Join(h.cfg.StateDir, ownerDir) }

// ownerDir is the daemon's folder below that of the state.
const ownerDir = "owner"

// tellWitnesses has the nodes that are witnesses vote, and those that were end it.
func (h *Head) tellWitnesses(conf ownership.Config) {
	next := map[string]*wire.Vote{}
	for name := range conf.Witnesses {
		if rec, ok := h.reg.Record(name); ok && rec.MAC != "" {
			next[rec.MAC] = conf.Vote()
		}
	}
	before := h.votes.Swap(&next)
	if before == nil || !reflect.DeepEqual(*before, next) {
		h.commands.Announce()
	}
}

// machineVote is what a machine must know that is a witness.
func (h *Head) machineVote(mac string) *wire.Vote {
	if votes := h.votes.Load(); votes != nil {
		return (*votes)[mac]
	}
	return nil
}

// nodeAddress is where a node is reached: its reserved address. A leased one may change.
func (h *Head) nodeAddress(name string) (netip.Addr, bool) {
	rec, ok := h.reg.Record(name)
	return rec.Address, ok && rec.Address.IsValid()
}

// quitOwner has the daemon hand over what it holds, and waits until it does nothing any more: this head leaves its cluster,
// or is none of it. A daemon that does not run holds nothing.
func (h *Head) quitOwner(ctx context.Context) error {
	h.ownerFile.Lock()
	err := ownership.RemoveConfig(h.ownerDir())
	h.ownerFile.Unlock()
	if err != nil {
		return err
	}
	h.ownerTold.Store(false)
	for {
		err := h.owner.ReloadOwner(ctx)
		if err != nil {
			return nil // it does not run, and does not find a configuration when it does
		}
		s, err := h.owner.Owner(ctx)
		if err != nil || s.Self == "" {
			return nil
		}
		h.member.note("hands over what it owns: "+s.Why.Summary, 0, 0)
		select {
		case <-time.After(ownerPoll):
		case <-ctx.Done():
			return fmt.Errorf("hand over what this head owns: %w: %s", ctx.Err(), s.Why.Summary)
		}
	}
}

// fenceTimeout bounds the fencing of a head that is ejected: several levels of slow devices.
const fenceTimeout = 90 * time.Second

// fenceOff switches a head off that is taken out of the cluster, where there is a device for that. what says what was
// proven; empty: there is no device.
func (h *Head) fenceOff(ctx context.Context, name string) (what string, err error) {
	doc, _, err := h.clusterConfig()
	if err != nil {
		return "", err
	}
	if parsed, err := configuration.Parse("configuration", []byte(doc.Text)); err != nil || len(parsed.Heads[name].Fence) == 0 {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	for {
		state, err := h.owner.FenceOff(ctx, name)
		var p *wire.ProblemError
		switch {
		case errors.As(err, &p) && p.Status == http.StatusNotFound:
			return "", nil
		case err != nil:
			return "", fmt.Errorf("fence %s: %w", name, err)
		case state.Power == "off":
			return "it is proven to be off", nil
		case state.Trouble != "":
			return "", fmt.Errorf("fence %s: %s", name, state.Trouble)
		}
		select {
		case <-time.After(ownerPoll):
		case <-ctx.Done():
			return "", fmt.Errorf("fence %s: %w", name, ctx.Err())
		}
	}
}

// epochBits are those of a write's epoch that count terms of ownership; above them stands the generation of the cluster.
// So a head that has missed a new owner loses with what it writes, whatever its clock says, and all of an older generation
// loses against a recovered cluster.
const epochBits = 40

func stateEpoch(generation, epoch uint64) uint64 {
	return generation<<epochBits | min(epoch, 1<<epochBits-1)
}

// followStatus takes from the daemon's status what the state needs to know.
func (h *Head) followStatus(ctx context.Context, given givenUp) {
	s, err := h.owner.Owner(ctx)
	if err != nil {
		return // it is asked again
	}
	if err := h.takeEpoch(s); err != nil && ctx.Err() == nil {
		h.log.Warn("the epoch of writes", "err", err)
	}
	given.note(s.Services)
}

// takeEpoch makes this head's writes those of the newest term that its daemon knows.
func (h *Head) takeEpoch(s wire.OwnerStatus) error {
	if s.EpochNumber == 0 {
		return nil
	}
	if e := stateEpoch(h.generation(), s.EpochNumber); e > h.db.Epoch() {
		return h.db.SetEpoch(e)
	}
	return nil
}

// virtualAt reports whether an address is one that the owner of the cluster answers for.
func (h *Head) virtualAt(a netip.Addr) bool {
	all := h.virtual.Load()
	return all != nil && (*all)[a]
}

// taken names who has an address that is no node's: a head, or the owner of the cluster, whichever head that is.
func (h *Head) taken(a netip.Addr) (string, bool) {
	if name, ok := h.headAt(a); ok {
		return name, true
	}
	return "the owner of the cluster (a virtual address)", h.virtualAt(a)
}

// timedOut reports whether somebody has not answered, who may be there all the same.
func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// addOwner adds ownership to a status.
func (h *Head) addOwner(s *wire.Status) {
	if !h.serves() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*ownerWait)
	defer cancel()
	o, err := h.ownerStatus(ctx)
	if err != nil {
		var p *problem
		text := err.Error()
		if errors.As(err, &p) && p.try != "" {
			text += ": " + p.try
		}
		s.Trouble = append(s.Trouble, text)
		return
	}
	s.Owner = &o
}
