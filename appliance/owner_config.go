package appliance

import (
	"errors"
	"net/netip"
	"path/filepath"
	"slices"

	"masthead/appliance/configuration"
	"masthead/appliance/ownership"
	"masthead/appliance/state"
	"masthead/node/wire"
)

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

// missingSecrets are the secrets that a document names and nobody has given. They are refused when it is written; an import
// of a state without its secrets can lose them.
func (h *Head) missingSecrets(text string) []string {
	names, err := configuration.Secrets([]byte(text))
	if err != nil {
		return nil // it was checked when it was written
	}
	return slices.DeleteFunc(names, func(name string) bool { _, ok := h.clusterSecret(name); return ok })
}

// ownerHeads are the heads of the cluster as the daemon knows them.
func (h *Head) ownerHeads() map[string]ownership.Head {
	all := map[string]ownership.Head{}
	for name, r := range h.heads() {
		all[name] = ownership.Head{Number: r.Number, Address: r.Address, Key: r.Key}
	}
	return all
}

// ownerConfig is what the daemon must know, but for the version of the list of voters; and its document.
func (h *Head) ownerConfig() (ownership.Config, configuration.Document, error) {
	fail := func(err error) (ownership.Config, configuration.Document, error) {
		return ownership.Config{}, configuration.Document{}, err
	}
	doc, _, err := h.clusterConfig()
	if err != nil {
		return fail(err)
	}
	keys := h.gossipKeys()
	if len(keys) == 0 {
		return fail(errors.New("the cluster has no key yet"))
	}
	conf := ownership.Config{
		Cluster: string(h.authority.Digest()), Gen: h.generation(), Self: h.cfg.Name, Heads: h.ownerHeads(), Key: keys[0],
		Version: doc.Version, Wishes: map[string]ownership.Wish{}, Keys: filepath.Join(h.cfg.StateDir, keysDir),
	}
	filled, err := configuration.Fill([]byte(doc.Text), func(name string) (string, bool) {
		if value, ok := h.clusterSecret(name); ok {
			return value, true
		}
		// What needs it will not work, and says so. The rest must: an empty password could make the whole of it invalid.
		return configuration.SecretPrefix + name, true
	})
	if err != nil {
		return fail(err)
	}
	conf.Document = string(filled)
	parsed, err := configuration.Parse("configuration", filled)
	if err != nil {
		return fail(err)
	}
	if len(parsed.Witnesses) > 0 {
		conf.Witnesses = map[string]netip.Addr{}
	}
	for _, name := range parsed.Witnesses {
		if a, ok := h.nodeAddress(name); ok {
			conf.Witnesses[name] = a
		}
	}
	if h.confirmed.Load() {
		if conf.Boot, err = ownership.BootID(); err != nil {
			return fail(err)
		}
	}
	for _, rec := range h.db.List(state.KindService, "") {
		w, err := state.Decode[ownership.Wish](rec)
		if err != nil {
			return fail(err)
		}
		conf.Wishes[rec.Key.Name] = w
	}
	return conf, parsed, nil
}
