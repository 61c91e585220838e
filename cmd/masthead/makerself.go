package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"masthead/appliance/install"
	"masthead/images"
	"masthead/images/disk"
)

// makerSelf is what makes an installed machine the one that it is: the cluster that it joins at its first start, and the
// SSH host keys by which people know it.
type makerSelf struct {
	Disk  string            `json:"disk"`
	Image images.Digest     `json:"image"`           // that starts from slot a
	Join  string            `json:"join"`            // address of a head
	Token string            `json:"token,omitempty"` // one-time; empty: takes an earlier one away
	Keys  map[string][]byte `json:"keys,omitempty"`  // names of files below /etc/ssh
}

// leave writes it into the folder of the state partition.
func (id makerSelf) leave(dir string) error {
	secrets := filepath.Join(dir, images.SecretsDir)
	if err := os.MkdirAll(secrets, 0o700); err != nil {
		return fmt.Errorf("leave who this machine is: %w", err)
	}
	for name, value := range map[string]string{images.CredentialJoin: id.Token, images.CredentialJoinAt: id.Join} {
		file := filepath.Join(secrets, name)
		err := os.Remove(file)
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		if err == nil && id.Token != "" {
			err = os.WriteFile(file, []byte(value+"\n"), 0o600)
		}
		if err != nil {
			return fmt.Errorf("leave which cluster this machine joins: %w", err)
		}
	}
	if len(id.Keys) == 0 {
		return nil
	}
	// What is written over the root of the slot lies here; init makes no keys where there are some.
	overlay := filepath.Join(dir, images.OverlayDir, string(disk.SlotA))
	upper := filepath.Join(overlay, "upper", "etc", "ssh")
	if err := os.MkdirAll(upper, 0o755); err != nil {
		return fmt.Errorf("leave the SSH host keys: %w", err)
	}
	if err := os.WriteFile(filepath.Join(overlay, "image"), []byte(id.Image+"\n"), 0o600); err != nil {
		return fmt.Errorf("leave the SSH host keys: %w", err)
	}
	for name, data := range id.Keys {
		if filepath.Base(name) != name || !strings.HasPrefix(name, "ssh_host_") {
			return fmt.Errorf("leave the SSH host keys: %q is none", name)
		}
		mode := os.FileMode(0o600)
		if strings.HasSuffix(name, ".pub") {
			mode = 0o644
		}
		if err := os.WriteFile(filepath.Join(upper, name), data, mode); err != nil {
			return fmt.Errorf("leave the SSH host keys: %w", err)
		}
	}
	return nil
}

// makerPlan plans the installation here. done: an earlier run has installed this disk from this ISO with these answers.
func makerPlan(m machine, answers install.Answers) (p install.Plan, done bool, err error) {
	p, err = install.NewPlan(m.Machine, answers, rand.Reader)
	var same *install.InstalledError
	if errors.As(err, &same) {
		return p, true, nil
	}
	return p, false, err
}
