package gossip

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/hashicorp/memberlist"
)

// keyring is memberlist's, which is changed while it is in use: heads learn of new keys one after the other, so a new
// key comes first as one that decrypts, then as the one that encrypts, and the old one goes last.
type keyring struct{ ring *memberlist.Keyring }

// set makes the ring hold keys, the first of which encrypts. Without keys it stays as it is.
func (k *keyring) set(keys [][]byte) error {
	if len(keys) == 0 {
		return nil
	}
	for i, key := range keys {
		if err := memberlist.ValidateKey(key); err != nil {
			return fmt.Errorf("gossip: key %d of %d: %w", i+1, len(keys), err)
		}
	}
	if k.ring == nil {
		ring, err := memberlist.NewKeyring(keys, keys[0])
		k.ring = ring
		return err
	}
	have := k.ring.GetKeys()
	if slices.EqualFunc(have, keys, bytes.Equal) {
		return nil
	}
	for _, key := range keys {
		if err := k.ring.AddKey(key); err != nil {
			return fmt.Errorf("gossip: add a key: %w", err)
		}
	}
	for _, old := range have {
		if slices.ContainsFunc(keys, func(key []byte) bool { return bytes.Equal(key, old) }) {
			continue
		}
		// UseKey makes a fresh list, which RemoveKey then changes in place: readers may hold the one before.
		if err := k.ring.UseKey(keys[0]); err != nil {
			return fmt.Errorf("gossip: use a key: %w", err)
		}
		if err := k.ring.RemoveKey(old); err != nil {
			return fmt.Errorf("gossip: remove a key: %w", err)
		}
	}
	if err := k.ring.UseKey(keys[0]); err != nil {
		return fmt.Errorf("gossip: use a key: %w", err)
	}
	return nil
}
