package state

import (
	"fmt"
	"regexp"
	"strings"
)

// Kind is the type of a record: it says which Go type its value has.
type Kind string

// The kinds of the cluster. A kind that is missing here cannot be written, so that a typing error is found at once.
const (
	KindNode      Kind = "node"      // NAME: what a machine is called and runs
	KindInventory Kind = "inventory" // MAC: what a machine is made of, as it last said
	KindBoot      Kind = "boot"      // MAC: the last boot of a machine in short
	KindLease     Kind = "lease"     // ADDRESS: whom DHCP gave it
	KindSetting   Kind = "setting"   // NAME: one setting of the cluster
	KindSecret    Kind = "secret"    // NAME: a value that the audit log must not show
	KindHead      Kind = "head"      // NAME: a wire.HeadRecord, one configured head
	KindSlot      Kind = "slot"      // 00 to 63: which head allocates what falls into it (Slot)
	KindGroup     Kind = "group"     // NAME: what a group of nodes has in common
	KindTag       Kind = "tag"       // NAME: the digests that an image tag has had
	KindFile      Kind = "file"      // PATH: an ordinary file that is the same on all heads
	KindCluster   Kind = "cluster"   // "configuration": the document that says how the cluster is owned
	KindService   Kind = "service"   // NAME: what is wished for a service
	KindAudit     Kind = "audit"     // HLC-HEAD: an AuditEntry, written by Apply and Merge themselves
)

func (k Kind) known() bool {
	switch k {
	case KindNode, KindInventory, KindBoot, KindLease, KindSetting, KindSecret, KindHead, KindSlot, KindGroup, KindTag, KindFile, KindCluster, KindService, KindAudit:
		return true
	}
	return false
}

// Key names a record.
type Key struct {
	Kind Kind
	Name string
}

func (k Key) String() string { return string(k.Kind) + "/" + k.Name }

// audited tells the keys that people change from those that machines change thousands of times a day, which would
// push everything else out of the audit log.
func (k Key) audited() bool {
	switch k.Kind {
	case KindInventory, KindBoot, KindLease:
		return false
	}
	return k != horizonKey
}

// Printable without quoting in a log, a URL path or a shell; long enough for a DHCP client identifier in hexadecimal.
var keyName = regexp.MustCompile(`^[A-Za-z0-9._:@+=~/-]{1,255}$`)

// Validate reports whether the key can be written.
func (k Key) Validate() error {
	if !k.Kind.known() {
		return fmt.Errorf("key %q: unknown kind", k.String())
	}
	if !keyName.MatchString(k.Name) {
		return fmt.Errorf("key %q: want 1 to 255 letters, digits and ._:@+=~/- after the kind", k.String())
	}
	return nil
}

// MarshalText gives the form of String.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is ParseKey.
func (k *Key) UnmarshalText(text []byte) (err error) {
	*k, err = ParseKey(string(text))
	return err
}

// ParseKey is the inverse of String.
func ParseKey(s string) (Key, error) {
	kind, name, _ := strings.Cut(s, "/")
	k := Key{Kind(kind), name}
	return k, k.Validate()
}
