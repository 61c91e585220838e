package ownership

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"masthead/appliance/configuration"
	"masthead/appliance/failover"
	"masthead/images"
	"masthead/node/wire"
)

// Config is all that the daemon must know. `head run` writes it to a file, from the replicated state.
type Config struct {
	Cluster string          `json:"cluster"` // digest of the cluster's CA: two clusters on one network do not hear each other
	Gen     uint64          `json:"gen"`     // generation of the cluster's state
	Self    string          `json:"self"`
	Heads   map[string]Head `json:"heads"` // all configured heads, this one too
	// Key authenticates heartbeats and lease requests. It is a secret: the file is for root alone.
	Key []byte `json:"key"`
	// Document is the cluster's configuration, YAML, with its secrets in place.
	Document string `json:"document"`
	Version  int    `json:"version"` // of Document
	// Witnesses are the addresses of the nodes that Document names.
	Witnesses map[string]netip.Addr `json:"witnesses,omitempty"`
	// Roster is the version of the list of who votes: another list has a higher one, on all heads the same.
	Roster uint32 `json:"roster,omitempty"`
	// Wishes are what the administrator wants of services. A service that is not here has its autostart.
	Wishes map[string]Wish `json:"wishes,omitempty"`
	// Boot is the boot of this machine in which `head run` found that this head is still one of the cluster. A daemon that
	// reads one of another boot follows an owner and claims nothing: the head may have been taken out while it was off.
	Boot string `json:"boot,omitempty"`
	// Keys is the folder of this head's key and of the cluster's CA, for the consensus of three heads or more.
	Keys string `json:"keys,omitempty"`

	document configuration.Document
}

// Wish is what the administrator wants of a service, and when that was said: who says it again wants a new try.
type Wish struct {
	Wish string    `json:"wish"` // service.Enabled, Disabled or Stopped
	At   time.Time `json:"at,omitzero"`
}

// Head is one configured head.
type Head struct {
	Number  int        `json:"number"` // 1 to failover.MaxHeads-1, never given twice
	Address netip.Addr `json:"address"`
	// Key is the SHA-256 of its public key, by which the other heads know it.
	Key images.Digest `json:"key,omitempty"`
}

// Files of the daemon below its folder.
const (
	ConfigFile = "config.json"
	recordName = "record"
	raftDir    = "raft"
	panelDir   = "panel"
)

// ErrNoConfig is a head that nobody has told anything yet.
var ErrNoConfig = errors.New("this head's ownership is not configured yet")

// ReadConfig reads what `head run` wrote into the daemon's folder.
func ReadConfig(dir string) (Config, error) {
	data, err := os.ReadFile(filepath.Join(dir, ConfigFile))
	if errors.Is(err, os.ErrNotExist) {
		return Config{}, ErrNoConfig
	}
	if err != nil {
		return Config{}, fmt.Errorf("read the ownership configuration: %w", err)
	}
	return ParseConfig(data)
}

// ParseConfig reads and checks a configuration.
func ParseConfig(data []byte) (Config, error) {
	var c Config
	if err := json.Unmarshal(data, &c); err != nil {
		return Config{}, fmt.Errorf("read the ownership configuration: %w", err)
	}
	var err error
	if c.document, err = configuration.Parse("configuration", []byte(c.Document)); err != nil {
		return Config{}, fmt.Errorf("read the ownership configuration: %w", err)
	}
	return c, c.check()
}

// WriteConfig puts a configuration into the daemon's folder, whole or not at all. It reports whether anything changed.
func WriteConfig(dir string, c Config) (changed bool, err error) {
	data, err := json.MarshalIndent(c, "", "\t")
	if err != nil {
		return false, fmt.Errorf("write the ownership configuration: %w", err)
	}
	if _, err := ParseConfig(data); err != nil {
		return false, err
	}
	path := filepath.Join(dir, ConfigFile)
	if old, err := os.ReadFile(path); err == nil && slices.Equal(old, data) {
		return false, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, fmt.Errorf("write the ownership configuration: %w", err)
	}
	if err := renameio.WriteFile(path, data, 0o600, renameio.WithStaticPermissions(0o600)); err != nil {
		return false, fmt.Errorf("write the ownership configuration: %w", err)
	}
	return true, nil
}

// RemoveConfig takes the configuration away: the daemon hands over what it holds, and does nothing any more.
func RemoveConfig(dir string) error {
	if err := os.Remove(filepath.Join(dir, ConfigFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the ownership configuration: %w", err)
	}
	return nil
}

// BootID is the kernel's name of the present boot.
func BootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("name this boot: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// check reports all that is wrong.
func (c Config) check() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("ownership configuration: "+format, args...))
	}
	if c.Cluster == "" {
		bad("cluster: none")
	}
	if len(c.Key) < 16 {
		bad("key: %d bytes, want 16 or more", len(c.Key))
	}
	if _, ok := c.Heads[c.Self]; !ok {
		bad("self: %q is none of the heads", c.Self)
	}
	taken := map[int]string{}
	for _, name := range c.names() {
		head := c.Heads[name]
		if head.Number < 1 || head.Number >= failover.MaxHeads {
			bad("head %s: number %d, want 1 to %d", name, head.Number, failover.MaxHeads-1)
		} else if other, twice := taken[head.Number]; twice {
			bad("heads %s and %s have the same number %d", other, name, head.Number)
		}
		taken[head.Number] = name
	}
	return errors.Join(errs...)
}

// names are the configured heads in order.
func (c Config) names() []string {
	var all []string
	for name := range c.Heads {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// peers are the other heads in order.
func (c Config) peers() []string {
	return slices.DeleteFunc(c.names(), func(name string) bool { return name == c.Self })
}

// arbiter is who decides between these heads.
func (c Config) arbiter() failover.AuthorityKind {
	switch n := len(c.Heads); {
	case n == 1:
		return failover.Single
	case n > 2 || c.document.Arbiter == configuration.ArbiterRaft:
		return failover.Raft
	case c.document.Arbiter == configuration.ArbiterPanel,
		c.document.Arbiter != configuration.ArbiterPair && len(c.document.Witnesses) > 0:
		return failover.Panel
	}
	return failover.Pair
}

// policy is what Decide is to follow.
func (c Config) policy() failover.Policy {
	p := failover.Policy{Timing: failover.Normal(), AloneAtBoot: c.document.AloneAtBoot, Loss: lossOf(c.document)}
	if c.document.Profile == configuration.ProfileFast {
		p.Timing = failover.Fast()
	}
	if c.document.BootWait > 0 {
		p.Timing.JoinWait = c.document.BootWait
	}
	return p
}

// key derives the key for one purpose from the cluster's, so that what one protocol gives away opens no other.
func (c Config) key(purpose string) []byte { return Key(c.Key, purpose) }

// Key derives the key for one purpose: "heartbeat" between heads, "witness" also with workers.
func Key(secret []byte, purpose string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("masthead " + purpose))
	return mac.Sum(nil)
}

// Addresses are all virtual addresses of the document.
func (c Config) Addresses() ([]netip.Addr, error) {
	doc, err := configuration.Parse("configuration", []byte(c.Document))
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, v := range doc.Addresses() {
		all = append(all, v.Address.Addr())
	}
	return all, nil
}

// ServiceNames are the services of the document, in its order.
func (c Config) ServiceNames() ([]string, error) {
	doc, err := configuration.Parse("configuration", []byte(c.Document))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range doc.AllServices() {
		names = append(names, s.Name)
	}
	return names, nil
}

// Vote is what a witness must know of this cluster.
func (c Config) Vote() *wire.Vote {
	t := failover.Normal() // the longest leases of any profile
	return &wire.Vote{Cluster: c.Cluster, Key: c.key("witness"), Longest: t.TTL, Margin: t.Margin}
}
