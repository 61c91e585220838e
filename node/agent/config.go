package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/google/renameio/v2"

	"masthead/images"
	"masthead/node/netif"
	"masthead/node/wire"
)

// Config is what init leaves for the agent at images.RunNode. It holds the boot token, so only root may read it.
type Config struct {
	Role      images.Role     `json:"role"`
	Boot      string          `json:"boot"` // boot id
	MAC       string          `json:"mac"`
	CA        images.Digest   `json:"ca,omitempty"`
	Spec      wire.Spec       `json:"spec"`
	Image     images.Digest   `json:"image"`
	Inventory wire.Inventory  `json:"inventory"`
	Uplink    *netif.Result   `json:"uplink,omitempty"` // the way out of the cluster, if there is one
	Device    string          `json:"device,omitempty"` // block device of the root
	Root      images.RootMode `json:"root,omitempty"`
	Net       *netif.Result   `json:"net,omitempty"`     // nil: no network
	Slot      bool            `json:"slot,omitempty"`    // it runs from a slot of an installed disk
	Install   bool            `json:"install,omitempty"` // it is here to be installed, and to do nothing else
	// ImageKeys are the SSH keys for root that the image's initramfs brought.
	ImageKeys []string `json:"image_keys,omitempty"`
	// Began is the kernel's uptime when this boot began: not 0 after a soft reboot, which keeps the kernel.
	Began time.Duration `json:"began,omitempty"`
}

// Save writes the configuration for the agent.
func (c Config) Save(file string) error {
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return renameio.WriteFile(file, data, 0o600)
}

// LoadConfig reads what Save wrote.
func LoadConfig(file string) (Config, error) {
	var c Config
	data, err := os.ReadFile(file)
	if err != nil {
		return c, fmt.Errorf("read what init left: %w", err)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

// Hello is what this machine says to a head that does not know it yet, or any more.
func (c Config) Hello() wire.Hello {
	return wire.Hello{Boot: c.Boot, MAC: c.MAC, Image: c.Image, Role: c.Role, Inventory: c.Inventory}
}
