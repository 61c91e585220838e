package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"masthead/node/agent"
	"masthead/node/wire"
)

// identity is what makes one machine of the many that run the same root.
type identity struct {
	Name      string
	Domain    string
	MachineID string // 32 hexadecimal digits (machine-id(5))
	Hosts     []wire.Host
	DNS       []netip.Addr
	SSHKeys   []string
	Parent    netip.Addr // the head that serves this machine; zero: none
}

// machineID derives machine-id(5) from the machine's first MAC, so that a diskless machine keeps it over reboots and
// no two machines of a cluster share one.
func machineID(mac string) string {
	sum := sha256.Sum256([]byte("masthead machine-id " + mac))
	return hex.EncodeToString(sum[:16])
}

// file is one file that is laid over the root before its init runs.
type file struct {
	Path    string
	Content string
	Mode    os.FileMode
	// Into is a folder that must be in the root already; where it is not, the file is left out.
	Into string
}

// files lists what this machine's root has of its own.
func (id identity) files() []file {
	fqdn := id.Name
	if id.Domain != "" {
		fqdn = id.Name + "." + id.Domain + " " + id.Name
	}
	var hosts strings.Builder
	hosts.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	fmt.Fprintf(&hosts, "127.0.1.1\t%s\n", fqdn)
	hosts.WriteString(agent.HostsBlock(id.Name, id.Parent, id.Hosts))
	all := []file{
		{Path: "/etc/hostname", Content: id.Name + "\n", Mode: 0o644},
		{Path: "/etc/hosts", Content: hosts.String(), Mode: 0o644},
		{Path: "/etc/machine-id", Content: id.MachineID + "\n", Mode: 0o444},
	}
	if len(id.DNS) > 0 {
		var resolv strings.Builder
		if id.Domain != "" {
			fmt.Fprintf(&resolv, "search %s\n", id.Domain)
		}
		for _, a := range id.DNS {
			fmt.Fprintf(&resolv, "nameserver %s\n", a)
		}
		all = append(all, file{Path: "/etc/resolv.conf", Content: resolv.String(), Mode: 0o644})
	}
	if len(id.SSHKeys) > 0 {
		all = append(all, file{Path: "/root/.ssh/authorized_keys", Content: strings.Join(id.SSHKeys, "\n") + "\n", Mode: 0o600})
	}
	return all
}

// hostKey makes an Ed25519 SSH host key. Images carry none, so that no two machines share one; only this kind is made
// because it takes no time (RSA takes seconds on a small machine).
func hostKey() (file, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return file{}, fmt.Errorf("make an SSH host key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return file{}, fmt.Errorf("make an SSH host key: %w", err)
	}
	return file{Path: "/etc/ssh/ssh_host_ed25519_key", Content: string(pem.EncodeToMemory(block)), Mode: 0o600, Into: "/etc/ssh"}, nil
}

// ownerUnit is what is special about the owner daemon. It has to be back within its lease. The services that it started
// outlive it: the next run takes them over, and an orderly end stops them itself, which may take as long as they need.
const ownerUnit = "RestartSec=0\nOOMScoreAdjust=-1000\nKillMode=process\nTimeoutStopSec=90\nLimitMEMLOCK=infinity\nLimitRTPRIO=infinity\nTasksMax=infinity\n"

// writeFiles lays files over the root mounted at dir. Links on the way are not followed out of the root: the root may
// come from anywhere.
func writeFiles(dir string, all []file) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("prepare the root: %w", err)
	}
	defer root.Close()
	for _, f := range all {
		name := strings.TrimPrefix(f.Path, "/")
		if f.Into != "" {
			if _, err := root.Stat(strings.TrimPrefix(f.Into, "/")); err != nil {
				continue
			}
		}
		if err := root.MkdirAll(filepath.Dir(name), dirMode(f.Mode)); err != nil {
			return fmt.Errorf("prepare the root: %w", err)
		}
		// A distribution may have a link here (resolv.conf, machine-id); it is replaced, not followed.
		if err := root.Remove(name); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("prepare the root: %w", err)
		}
		if err := root.WriteFile(name, []byte(f.Content), f.Mode); err != nil {
			return fmt.Errorf("prepare the root: %w", err)
		}
		if err := root.Chmod(name, f.Mode); err != nil { // whatever the umask is
			return fmt.Errorf("prepare the root: %w", err)
		}
	}
	return nil
}

// maxLinks is as many symbolic links as the kernel follows (include/linux/namei.h, MAXSYMLINKS).
const maxLinks = 40

// initThere checks that a root, mounted at dir, has a program at path.
func initThere(dir, path string) error {
	for range maxLinks {
		st, err := os.Lstat(filepath.Join(dir, path))
		switch {
		case err != nil:
			// A folder on the way may be an absolute link; what cannot be told from here is left to the kernel.
			if _, e := os.Stat(filepath.Join(dir, filepath.Dir(path))); e != nil {
				return nil
			}
			return fmt.Errorf("the root has no init %s: %w", path, err)
		case st.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(filepath.Join(dir, path))
			if err != nil {
				return err
			}
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(path), target)
			}
			path = target
		case !st.Mode().IsRegular() || st.Mode()&0o111 == 0:
			return fmt.Errorf("the root's init %s is not a program: its mode is %s", path, st.Mode())
		default:
			return nil
		}
	}
	return fmt.Errorf("the root's init %s is a loop of links", path)
}

// dirMode is the mode of folders that have to be made for a file: as private as the file is.
func dirMode(m os.FileMode) os.FileMode {
	if m&0o077 == 0 {
		return 0o700
	}
	return 0o755
}

// enableUnits makes systemd start units as early as it starts anything.
func enableUnits(all []file) error {
	wants := "/run/systemd/system/sysinit.target.wants"
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return fmt.Errorf("enable units: %w", err)
	}
	for _, u := range all {
		if err := os.WriteFile(u.Path, []byte(u.Content), u.Mode); err != nil {
			return fmt.Errorf("enable units: %w", err)
		}
		if u.Content == "" {
			continue // an empty unit is one that is not to be started (systemd.unit(5))
		}
		link := filepath.Join(wants, filepath.Base(u.Path))
		if err := os.Symlink(u.Path, link); err != nil && !os.IsExist(err) {
			return fmt.Errorf("enable units: %w", err)
		}
	}
	return nil
}
