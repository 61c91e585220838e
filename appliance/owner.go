package appliance

import (
	"context"
	"errors"
	"fmt"
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

// ownerRetry is how soon something that the daemon could not be told is told again.
const ownerRetry = time.Second

// runOwner keeps the daemon's configuration as the state has it.
func (h *Head) runOwner(ctx context.Context) error {
	watch := h.db.Watch(state.KindHead, state.KindCluster, state.KindService, state.KindSecret, state.KindSetting, state.KindNode)
	defer watch.Close()
	said := ""
	for {
		wait := ctx
		cancel := func() {}
		err := h.tellOwner(ctx)
		if err != nil {
			wait, cancel = context.WithTimeout(ctx, ownerRetry)
		}
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != said && text != "" && ctx.Err() == nil {
			h.event("ownership: "+text, true)
		}
		said = text
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
	conf, err := h.ownerConfig()
	if err != nil {
		return err
	}
	h.tellWitnesses(conf)
	changed, err := ownership.WriteConfig(h.ownerDir(), conf)
	if err != nil || !changed && h.ownerTold {
		return err
	}
	// A daemon that does not run now reads the file when it starts.
	h.ownerTold = h.owner.ReloadOwner(ctx) == nil
	return nil
}

func (h *Head) ownerDir() string { return filepath.Join(h.cfg.StateDir, ownerDir) }

// ownerDir is the daemon's folder below that of the state.
const ownerDir = "owner"

// clusterConfig is the cluster's configuration, as it was written.
func (h *Head) clusterConfig() (wire.ClusterConfig, state.Version, error) {
	rec, err := h.db.Get(clusterKey)
	if errors.Is(err, state.ErrNotFound) {
		return wire.ClusterConfig{}, state.Version{}, nil
	}
	if err != nil {
		return wire.ClusterConfig{}, state.Version{}, err
	}
	c, err := state.Decode[wire.ClusterConfig](rec)
	return c, rec.Version, err
}

// clusterSecret is a secret that the configuration names.
func (h *Head) clusterSecret(name string) (string, bool) {
	rec, err := h.db.Get(state.Key{Kind: state.KindSecret, Name: secretCluster + name})
	if err != nil {
		return "", false
	}
	s, err := state.Decode[wire.ClusterSecret](rec)
	return s.Value, err == nil
}

// ownerConfig is what the daemon must know.
func (h *Head) ownerConfig() (ownership.Config, error) {
	doc, _, err := h.clusterConfig()
	if err != nil {
		return ownership.Config{}, err
	}
	keys := h.gossipKeys()
	if len(keys) == 0 {
		return ownership.Config{}, errors.New("the cluster has no key yet")
	}
	conf := ownership.Config{
		Cluster: string(h.authority.Digest()), Gen: h.generation(), Self: h.cfg.Name, Heads: map[string]ownership.Head{}, Key: keys[0],
		Version: doc.Version, Wishes: map[string]ownership.Wish{}, Keys: filepath.Join(h.cfg.StateDir, keysDir),
	}
	for name, r := range h.heads() {
		conf.Heads[name] = ownership.Head{Number: r.Number, Address: r.Address, Key: r.Key}
	}
	// A secret that is missing is empty in the configuration: a fence device without its password is trouble of that
	// device, and must not keep the rest from working.
	filled, err := configuration.Fill([]byte(doc.Text), h.clusterSecret)
	if filled == nil {
		return ownership.Config{}, err
	}
	conf.Document = string(filled)
	parsed, err := configuration.Parse("configuration", filled)
	if err != nil {
		return ownership.Config{}, err
	}
	if len(parsed.Witnesses) > 0 {
		conf.Witnesses = map[string]netip.Addr{}
	}
	for _, name := range parsed.Witnesses {
		if a, ok := h.nodeAddress(name); ok {
			conf.Witnesses[name] = a
		}
	}
	conf.Roster = h.rosterVersion(conf.Witnesses)
	for _, rec := range h.db.List(state.KindService, "") {
		w, err := state.Decode[ownership.Wish](rec)
		if err != nil {
			return ownership.Config{}, err
		}
		conf.Wishes[rec.Key.Name] = w
	}
	return conf, nil
}

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

// rosterVersion numbers the list of who votes: it grows with each change of the records that the list is made of, and is
// the same on all heads that have the same state.
func (h *Head) rosterVersion(witnesses map[string]netip.Addr) uint32 {
	var newest state.HLC
	see := func(rec state.Record) { newest = max(newest, rec.Version.HLC) }
	for _, rec := range h.db.List(state.KindHead, "") {
		see(rec)
	}
	for _, rec := range h.db.List(state.KindSetting, removedPrefix) {
		see(rec)
	}
	if rec, err := h.db.Get(clusterKey); err == nil {
		see(rec)
	}
	for name := range witnesses {
		if rec, err := h.db.Get(state.Key{Kind: state.KindNode, Name: name}); err == nil {
			see(rec)
		}
	}
	return uint32(max(1, newest.Time().Sub(rosterZero)/rosterUnit))
}

// rosterZero and rosterUnit make 32 bits enough for a century.
var rosterZero = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const rosterUnit = time.Second

// nodeAddress is where a node is reached: its reserved address. A leased one may change.
func (h *Head) nodeAddress(name string) (netip.Addr, bool) {
	rec, ok := h.reg.Record(name)
	return rec.Address, ok && rec.Address.IsValid()
}

// followOwner makes the daemon's events those of the cluster.
func (h *Head) followOwner(ctx context.Context) error {
	var last uint64
	for {
		events, err := h.owner.OwnerEvents(ctx, last)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			last = 0 // another daemon, with numbers of its own
			select {
			case <-time.After(ownerRetry):
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for _, e := range events {
			last = e.Seq
			h.reg.Event(wire.Event{Time: e.Time, Kind: e.Kind, Text: e.Text, Failed: e.Bad})
		}
	}
}

// checkWitnesses says which nodes cannot be witnesses. Pure but for the registry.
func (h *Head) checkWitnesses(names []string) error {
	var errs []error
	for i, name := range names {
		if _, ok := h.reg.Record(name); !ok {
			errs = append(errs, fmt.Errorf("witnesses[%d]: there is no node %q", i, name))
		} else if _, ok := h.nodeAddress(name); !ok {
			errs = append(errs, fmt.Errorf("witnesses[%d]: node %s has no reserved address, and is asked by its address: masthead node set %s --address ADDRESS", i, name, name))
		}
	}
	return errors.Join(errs...)
}

// ownerWait bounds how long a status waits for the daemons: it is asked for where things go wrong.
const ownerWait = time.Second

// addOwner adds ownership to a status.
func (h *Head) addOwner(s *wire.Status) {
	if !h.serves() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), ownerWait)
	defer cancel()
	o, err := h.ownerStatus(ctx)
	if err != nil {
		s.Trouble = append(s.Trouble, err.Error())
		return
	}
	s.Owner = &o
}
