package install

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"gopkg.in/yaml.v3"

	"masthead/images"
	"masthead/images/disk"
)

// Config is what the boot loader of the disk says: who the head is on the network. Nothing of it is secret.
func (p Plan) Config() disk.Config {
	a := p.Answers
	words := []string{images.KeyName + "=" + a.Name}
	if a.Address == AddressDHCP {
		words = append(words, images.KeyIP+"="+string(images.IPDHCP))
	} else {
		ip := a.Address
		if a.Gateway != "" || a.DNS != "" {
			ip += "," + a.Gateway
		}
		if a.DNS != "" {
			ip += "," + a.DNS
		}
		words = append(words, images.KeyIP+"="+ip)
	}
	if a.NIC != "" {
		words = append(words, images.KeyNIC+"="+a.NIC)
	}
	// A kernel that dies before init has set this must restart too: that is how a new image falls back.
	words = append(words, "panic=30")
	if a.Cmdline != "" {
		words = append(words, a.Cmdline)
	}
	return disk.Config{Cmdline: strings.Join(words, " "), Serial: a.Serial, Timeout: menuTimeout}
}

// menuTimeout is how many seconds GRUB's menu waits for somebody who wants the other slot.
const menuTimeout = 2

// Document is the configuration of the cluster that the answers make, as people write it; empty: nothing is to be
// configured.
func (p Plan) Document() (string, error) {
	type vip struct {
		Address string `yaml:"address"`
	}
	type mail struct {
		Server string   `yaml:"server,omitempty"`
		To     []string `yaml:"to"`
	}
	var doc struct {
		VIPs []vip `yaml:"vips,omitempty"`
		Mail *mail `yaml:"mail,omitempty"`
	}
	a := p.Answers
	if a.VIP.IsValid() {
		doc.VIPs = []vip{{a.VIP.String()}}
	}
	if len(a.Mail) > 0 {
		doc.Mail = &mail{a.Server, a.Mail}
	}
	if doc.VIPs == nil && doc.Mail == nil {
		return "", nil
	}
	data, err := yaml.Marshal(doc)
	if err != nil {
		return "", fmt.Errorf("write the cluster's configuration: %w", err)
	}
	return string(data), nil
}

func (p Plan) stateText() string {
	if !p.Mkfs {
		return "leave the state partition blank: this root has no mkfs.ext4"
	}
	var what []string
	if a := p.Answers; a.VIP.IsValid() {
		what = append(what, "virtual address "+a.VIP.String())
	}
	if n := len(p.Answers.Mail); n > 0 {
		what = append(what, "mail to "+strings.Join(p.Answers.Mail, ", "))
	}
	if p.Answers.Password != "" || p.Answers.PasswordHash != "" {
		what = append(what, "root's password")
	}
	if n := len(p.Answers.SSHKeys); n > 0 {
		what = append(what, fmt.Sprintf("%d keys for root", n))
	}
	text := "make the file system for the head's state"
	if len(what) > 0 {
		text += ", with " + strings.Join(what, ", ")
	}
	return text
}

// state makes the file system of the state, and leaves in it what the head's first boot is to find.
func (j *Job) state(ctx context.Context) error {
	if !j.Plan.Mkfs {
		return nil
	}
	p, _ := j.Plan.Table.Find(disk.NameState)
	device, err := j.Partition(ctx, p.Number)
	if err != nil {
		return err
	}
	if err := j.Format(ctx, device); err != nil {
		return err
	}
	dir, unmount, err := j.Mount(device)
	if err != nil {
		return err
	}
	return errors.Join(j.leave(dir), unmount())
}

func (j *Job) leave(dir string) error {
	secrets, err := j.Plan.secrets()
	if err != nil {
		return err
	}
	doc, err := j.Plan.Document()
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, images.SecretsDir), 0o700); err != nil && !os.IsExist(err) {
		return fmt.Errorf("write the head's settings: %w", err)
	}
	for name, text := range secrets {
		if err := os.WriteFile(filepath.Join(dir, images.SecretsDir, name), []byte(text+"\n"), 0o600); err != nil {
			return fmt.Errorf("write the head's settings: %w", err)
		}
	}
	if doc != "" {
		if err := os.WriteFile(filepath.Join(dir, images.FirstDocument), []byte(doc), 0o600); err != nil {
			return fmt.Errorf("write the head's settings: %w", err)
		}
	}
	return j.firstRecord().Write(dir)
}

// secrets are the credentials that the head keeps.
func (p Plan) secrets() (map[string]string, error) {
	all := map[string]string{}
	if len(p.Answers.SSHKeys) > 0 {
		all[images.CredentialSSHKey] = strings.TrimSpace(strings.Join(p.Answers.SSHKeys, "\n"))
	}
	hash := p.Answers.PasswordHash
	if p.Answers.Password != "" {
		var err error
		if hash, err = HashPassword(p.Answers.Password); err != nil {
			return nil, err
		}
	}
	if hash != "" {
		all[images.CredentialPassword] = hash
	}
	return all, nil
}

// MountState shows a state partition in a folder of its own, until unmount is called.
func MountState(device string) (dir string, unmount func() error, err error) {
	dir, err = os.MkdirTemp("", "masthead-state-")
	if err != nil {
		return "", nil, fmt.Errorf("mount %s: %w", device, err)
	}
	if err := unix.Mount(device, dir, "ext4", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOATIME, ""); err != nil {
		return "", nil, errors.Join(fmt.Errorf("mount %s: %w", device, err), os.Remove(dir))
	}
	return dir, func() error { return errors.Join(unix.Unmount(dir, 0), os.Remove(dir)) }, nil
}

// MailServer is a guess at the server that takes mail for an address.
func MailServer(address string) string {
	_, domain, ok := strings.Cut(address, "@")
	if !ok {
		return ""
	}
	return net.JoinHostPort("mail."+domain, "25")
}
