// Package cluster is a lab whose machines run masthead: it gives the heads what lets the caller in, reaches their API
// over the forwarded port, and follows machines until they are up. The lab beneath (package vmtest) knows hardware only.
package cluster

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"masthead/images"
	"masthead/node/wire"
	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

// HTTPS is the name under which a lab file forwards a head's API: forward: {https: 443}.
const HTTPS = "https"

// pollInterval is the time between two looks at something that sends no event.
const pollInterval = 500 * time.Millisecond

// Cluster is a lab with masthead in it.
type Cluster struct {
	*vmtest.Lab
	Token   string // of the administrator, on every head
	secrets string // the folder that Prepare was given
	// file is the lab as its file has it: which machines are off there.
	file vmtest.Config
}

// Prepare gives every head of a lab an administrator's token (through SMBIOS, as a machine's owner would), its name,
// and the names of its NICs. Secrets are files in folder, not words on QEMU's command line. A head that the lab file has off
// is a blank machine, which somebody makes a head of: nothing tells it its name and address.
func Prepare(config vmtest.Config, folder string) (vmtest.Config, string, error) {
	config, err := config.Prepare()
	if err != nil {
		return config, "", err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return config, "", fmt.Errorf("prepare the cluster: %w", err)
	}
	token, err := tokenIn(filepath.Join(folder, images.CredentialAdminToken))
	if err != nil {
		return config, "", fmt.Errorf("prepare the cluster: %w", err)
	}
	oem := filepath.Join(folder, "admin-token.oem")
	if err := os.WriteFile(oem, []byte("masthead.credential."+images.CredentialAdminToken+"="+token), 0o600); err != nil {
		return config, "", fmt.Errorf("prepare the cluster: %w", err)
	}
	key := filepath.Join(folder, "ssh-key.oem")
	public, err := keyIn(filepath.Join(folder, KeyFile))
	if err == nil {
		err = os.WriteFile(key, []byte("masthead.credential."+images.CredentialSSHKey+"="+public), 0o600)
	}
	if err != nil {
		return config, "", fmt.Errorf("prepare the cluster: %w", err)
	}
	config.Machines = maps.Clone(config.Machines)
	on := starting(config, images.RoleHead)
	for i, name := range named(config, images.RoleHead) {
		m := config.Machines[name]
		blank := m.Off
		if !blank {
			m.OEM = append([]string{images.KeyName + "=" + name}, m.OEM...)
		}
		if len(m.NICs) > 0 {
			m.OEM = append(m.OEM, images.KeyNIC+"="+m.NICs[0].MAC)
		}
		if len(m.Forward) > 0 {
			m.OEM = append(m.OEM, images.KeyUplink+"="+qemu.ForwardMAC(name))
		}
		m.OEMFiles = append(slices.Clone(m.OEMFiles), oem, key)
		if !blank && name != on[0] && !ownAddress(m) {
			// The image gives its own address to one head; the others get the next ones, and are switched on when there is a
			// cluster to join.
			m.OEM = append(m.OEM, fmt.Sprintf("%s=10.77.0.%d/24", images.KeyIP, i+1))
			m.OEMFiles = append(m.OEMFiles, joinFile(folder, name))
			m.Off = true
			if err := writeJoin(folder, name, ""); err != nil {
				return config, "", err
			}
		}
		config.Machines[name] = m
	}
	return config, token, nil
}

// ownAddress tells whether the lab file says what address a machine has: such a head stands by itself.
func ownAddress(m vmtest.MachineConfig) bool {
	return slices.ContainsFunc(m.OEM, func(word string) bool { return strings.HasPrefix(word, images.KeyIP+"=") })
}

// tokenIn reads the token in file, or makes one there: a lab that comes up again keeps it.
func tokenIn(file string) (string, error) {
	if data, err := os.ReadFile(file); err == nil && len(data) > 0 {
		return string(data), nil
	}
	var raw [24]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", err
	}
	token := hex.EncodeToString(raw[:])
	return token, os.WriteFile(file, []byte(token), 0o600)
}

// KeyFile is the private key in a lab's folder with which root logs in to its heads, and from there to the nodes.
const KeyFile = "id_ed25519"

// keyIn gives the public key of the pair in file, which is made where it is missing.
func keyIn(file string) (public string, err error) {
	if data, err := os.ReadFile(file + ".pub"); err == nil {
		return strings.TrimSpace(string(data)), nil
	}
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(private, "masthead lab")
	if err != nil {
		return "", err
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", err
	}
	public = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(sshPub))) + " masthead-lab"
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		return "", err
	}
	return public, os.WriteFile(file+".pub", []byte(public+"\n"), 0o644)
}

// Up brings up the lab with everything in it but the workers, which have nothing to boot from before a head is up.
func Up(ctx context.Context, config vmtest.Config, folder string) (*Cluster, error) {
	file := config
	config, token, err := Prepare(config, folder)
	if err != nil {
		return nil, err
	}
	for name, m := range config.Machines {
		if m.Role == string(images.RoleWorker) {
			m.Off = true
			config.Machines[name] = m
		}
	}
	lab, err := vmtest.Up(ctx, config, folder, nil)
	if err != nil {
		return nil, err
	}
	return &Cluster{Lab: lab, Token: token, secrets: folder, file: file}, nil
}

// Starting lists the machines with a role that come up with the lab, in the order of their names: those that its file has
// off are left to somebody else.
func (c *Cluster) Starting(role images.Role) []string { return starting(c.file, role) }

// Named lists the machines with a role, in the order of their names.
func (c *Cluster) Named(role images.Role) []string { return named(c.Config(), role) }

func named(config vmtest.Config, role images.Role) []string {
	var names []string
	for name, m := range config.Machines {
		if m.Role == string(role) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Head waits until the API of a head answers, and gives a client of it. The head's CA is taken on first use: the port
// is the lab's own, on this machine's loopback.
func (c *Cluster) Head(ctx context.Context, name string) (client *wire.Client, ca images.Digest, err error) {
	m := c.Machine(name)
	if m == nil {
		return nil, "", fmt.Errorf("no machine %s in the lab", name)
	}
	addr := m.Forward(HTTPS)
	if addr == "" {
		return nil, "", fmt.Errorf("machine %s forwards no port named %s", name, HTTPS)
	}
	for {
		if ca, err = wire.PresentedCA(ctx, addr); err == nil {
			client = wire.NewClient("https://"+addr, ca, c.Token)
			if _, err = client.Status(ctx); err == nil {
				return client, ca, nil
			}
		}
		var p *wire.ProblemError
		if errors.As(err, &p) && p.Status != http.StatusServiceUnavailable {
			return nil, "", err // it answers, and no: waiting does not help
		}
		if e := pause(ctx, m, err); e != nil {
			return nil, "", fmt.Errorf("head %s: %w", name, e)
		}
	}
}

// Register makes a worker known to the head under its name in the lab, approved, and switches it on. A head that kept
// its state from an earlier run knows it already.
func (c *Cluster) Register(ctx context.Context, head *wire.Client, name string, change wire.NodeChange) error {
	m := c.Machine(name)
	if m == nil {
		return fmt.Errorf("no machine %s in the lab", name)
	}
	mac, yes := m.MAC(0), true
	change.Name, change.MAC, change.Approved = &name, &mac, &yes
	_, err := head.AddNode(ctx, change)
	var p *wire.ProblemError
	if errors.As(err, &p) && p.Problem.Status == http.StatusConflict {
		_, err = head.ChangeNode(ctx, name, change)
	}
	if err != nil {
		return err
	}
	return c.PowerOn(ctx, name)
}

// LastBoot is the id of the last boot that the head knows of a node; empty where it knows none.
func LastBoot(ctx context.Context, head *wire.Client, name string) string {
	why, err := head.Why(ctx, name)
	if err != nil {
		return ""
	}
	return why.Boot
}

// Follow tells each new or changed stage of a node's boot until the node is up. The boot with the id before, if that is
// not empty, is an old one, which the head remembers until the machine starts again.
func (c *Cluster) Follow(ctx context.Context, head *wire.Client, name, before string, tell func(wire.StageResult)) error {
	m := c.Machine(name)
	if m == nil {
		return fmt.Errorf("no machine %s in the lab", name)
	}
	told := map[wire.Stage]wire.StageResult{}
	for {
		why, err := head.Why(ctx, name)
		if err == nil && before != "" && why.Boot == before {
			err = errors.New("it has not started yet")
		}
		if err == nil {
			for _, s := range why.Stages {
				if told[s.Stage].Outcome != s.Outcome && s.Outcome != wire.OutcomeRunning {
					told[s.Stage] = s
					tell(s)
				}
				if s.Stage == wire.StageUp && s.Outcome == wire.OutcomeDone {
					return nil
				}
			}
			err = fmt.Errorf("%s", why.Verdict)
		}
		if e := pause(ctx, m, err); e != nil {
			return fmt.Errorf("node %s: %w", name, e)
		}
	}
}

// pause waits for the next look. It ends early, with the reason, when the machine has gone off.
func pause(ctx context.Context, m *vmtest.Machine, last error) error {
	if s := m.State(ctx); s == vmtest.Off || s == vmtest.Failed {
		return fmt.Errorf("the machine is %s; its console is in %s", s, m.Folder())
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ctx.Err(), last)
	case <-time.After(pollInterval):
		return nil
	}
}

// stageLine is what init prints for a stage that has ended: masthead[ 3.214] network: took=…
const stageLine = `masthead\[ *([0-9.]+)\] ([a-z]+): ([^\r\n]*)\r?\n`

// FollowConsole tells what a machine's init says of its stages on the console, until ctx ends. It is for a head that
// has nobody yet to report to.
func (c *Cluster) FollowConsole(ctx context.Context, name string, tell func(stage, text string)) {
	m := c.Machine(name)
	if m == nil {
		return
	}
	for r := m.Console.Reader(); ; {
		match, err := r.Expect(ctx, stageLine)
		if err != nil {
			return
		}
		tell(match[2], match[3])
	}
}
