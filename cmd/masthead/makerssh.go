package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"masthead/appliance/install"
	"masthead/appliance/maker"
	"masthead/images"
)

// A server that runs Linux is reached by SSH, looked at, and started by kexec into this head's own image.

var bySSH = way{"ssh", func(m *making) []maker.Step {
	return []maker.Step{
		{Name: "login", What: "logs in to " + m.f.wishes.Host + " and looks at its hardware", Do: m.login, Undo: m.logout},
		{Name: "check", What: "plans what becomes of it", Do: m.checkSSH},
		{Name: "node", What: "makes it a node that runs this head's image, without a disk", Do: m.makeClone, Undo: m.unmakeClone},
		{Name: "start", What: "starts it by kexec into that image, and waits for it", Do: m.startBySSH},
	}
}}

// sshTarget is a server that somebody is logged in to.
type sshTarget struct {
	client *ssh.Client
	dir    string // where the program was copied to
}

// login logs in, copies this program there, and asks what the machine is made of. A machine that an earlier run has started
// into this head's image is not logged in to any more.
func (m *making) login(ctx context.Context) error {
	if m.journal.MAC != "" {
		n, known, err := m.nodeOf(ctx, m.journal.MAC)
		if err == nil && known && n.Running == m.self.image {
			m.started, m.keys = true, m.journal.Keys
			return nil
		}
	}
	var err error
	if m.remoteHost == nil {
		if m.remoteHost, err = m.dial(ctx); err != nil {
			return err
		}
	}
	t := m.remoteHost
	if !m.f.dryRun {
		if err := t.authorize(m.sshKey); err != nil {
			return err
		}
	}
	if err := t.copyProgram("/proc/self/exe"); err != nil {
		return err
	}
	address, _, err := net.SplitHostPort(t.client.RemoteAddr().String())
	if err != nil {
		return err
	}
	out, err := t.output(t.dir + "/masthead maker probe --via " + address)
	if err != nil {
		return fmt.Errorf("ask it what it is made of: %w", err)
	}
	if m.target, err = maker.ParseTarget(out); err != nil {
		return err
	}
	if m.keys, err = t.hostKeys(); err != nil {
		return err
	}
	return m.knowServer()
}

// logout takes away what was copied there.
func (m *making) logout(context.Context) error {
	t := m.remoteHost
	if t == nil {
		return nil
	}
	m.remoteHost = nil
	if t.dir != "" {
		_, _ = t.output("rm -rf " + t.dir) // it lies in memory, or in a folder for what is temporary
	}
	_ = t.client.Close() // the machine may have gone
	return nil
}

// knowServer completes what is wished for with what the server has: it keeps its name and its address.
func (m *making) knowServer() error {
	w := &m.f.wishes
	if w.Name == "" {
		if name, _, _ := strings.Cut(strings.ToLower(m.target.Host), "."); name != "localhost" && images.ValidName(name) == nil {
			w.Name = name
		}
	}
	for _, p := range m.target.NIC().Addresses {
		if w.Address == "" && m.master.Address.Masked().Contains(p.Addr()) {
			w.Address = netip.PrefixFrom(p.Addr(), m.master.Address.Bits()).String()
		}
	}
	return m.ask()
}

// checkSSH is check, for a machine whose disks are in use by its own system.
func (m *making) checkSSH(ctx context.Context) error {
	if m.started {
		return nil
	}
	if m.target.NoKexec != "" {
		return &hint{fmt.Errorf("%s cannot be started by kexec: %s", m.f.wishes.Host, m.target.NoKexec),
			"set it to boot from the network, then: masthead master-maker " + m.target.MAC + " --name " + orElse(m.f.wishes.Name, "NAME") + " --address " + orElse(m.f.wishes.Address, "ADDRESS")}
	}
	m.target.Disks = maker.Released(m.target.Disks)
	if err := m.check(ctx); err != nil || m.f.dryRun {
		return err
	}
	was, _, err := m.nodeOf(ctx, m.target.MAC)
	if err != nil {
		return err
	}
	m.journal.MAC = m.target.MAC
	m.noteWas(was)
	// After the kexec they are nowhere but here, until they are on the new disk.
	m.journal.Keys = m.keys
	return m.journal.Write(m.dir)
}

// startBySSH has the server start this head's image.
func (m *making) startBySSH(ctx context.Context) error {
	if !m.started {
		kernel, ramfs, cmdline, done, err := m.bootFiles()
		if err != nil {
			return err
		}
		defer done()
		if err := m.remoteHost.kexec(kernel, ramfs, cmdline); err != nil {
			return &hint{err, orElse(tryText(err), "set it to boot from the network, then: masthead master-maker "+m.target.MAC)}
		}
	}
	if err := m.awaitClone(ctx); err != nil {
		return err
	}
	m.remoteHost = nil // its system has gone, and what was copied there
	if m.started {
		return m.check(ctx)
	}
	return m.replan()
}

// replan looks again, now that the machine runs this head's kernel, which may call disks otherwise: what was confirmed must
// be what is done.
func (m *making) replan() error {
	w, was := m.f.wishes, m.plan.Disk
	w.Disk = was.ID()
	now, err := maker.NewPlan(m.master, m.target, w)
	if err != nil {
		return err
	}
	if now.Disk.Size != was.Size || now.Disk.Serial != was.Serial {
		return fmt.Errorf("disk %s is another one under this head's kernel: %s with %d bytes, it was %s with %d", was.Path, now.Disk.ID(), now.Disk.Size, was.ID(), was.Size)
	}
	m.plan = now
	return nil
}

// bootFiles are kernel and initramfs of this head's own image, and the command line that makes the other machine a diskless
// node of this head.
func (m *making) bootFiles() (kernel, ramfs sizedReader, cmdline string, done func(), err error) {
	f, volume, err := install.OpenISO(m.self.medium)
	if err != nil {
		return sizedReader{}, sizedReader{}, "", nil, err
	}
	_, manifest, err := volume.Head()
	if err == nil {
		var k, r interface {
			Size() int64
			Read([]byte) (int, error)
		}
		if k, err = volume.File(images.MediumKernel); err == nil {
			if r, err = volume.File(images.MediumInitramfs); err == nil {
				kernel, ramfs = sizedReader{k, k.Size()}, sizedReader{r, r.Size()}
			}
		}
	}
	if err != nil {
		f.Close()
		return sizedReader{}, sizedReader{}, "", nil, err
	}
	boot := images.Boot{
		Role: images.RoleWorker, Heads: []string{m.self.url}, CA: m.self.ca, Image: m.self.image, Root: images.RootLazy,
		Overlay: images.DefaultOverlay, IP: images.IPStatic, Address: m.plan.Address, NIC: m.plan.MAC,
		PanicDelay: images.DefaultPanicDelay, State: images.StateLabel,
	}
	return kernel, ramfs, strings.TrimSpace(manifest.Cmdline + " " + boot.String()), func() { f.Close() }, nil
}

// Files of a head that logs in to others, below its state.
func (m *making) file(name string) string { return filepath.Join(m.dir, maker.Dir, name) }

// dial connects and logs in.
func (m *making) dial(ctx context.Context) (*sshTarget, error) {
	if err := os.MkdirAll(filepath.Dir(m.file("x")), 0o700); err != nil {
		return nil, err
	}
	own, err := ownKey(m.file("id_ed25519"))
	if err != nil {
		return nil, err
	}
	m.sshKey = own.PublicKey()
	signers := []ssh.Signer{own}
	if m.f.identity != "" {
		data, err := os.ReadFile(m.f.identity)
		if err != nil {
			return nil, fmt.Errorf("--identity: %w", err)
		}
		s, err := ssh.ParsePrivateKey(data)
		if err != nil {
			return nil, fmt.Errorf("--identity %s: %w", m.f.identity, err)
		}
		signers = append(signers, s)
	}
	password := m.askPassword()
	addr := m.f.wishes.Host
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(strings.Trim(addr, "[]"), "22")
	}
	conn, err := (&net.Dialer{Timeout: sshTime}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, &hint{fmt.Errorf("reach %s by SSH: %w", m.f.wishes.Host, err), "a machine without Linux is named by its MAC address: masthead node list"}
	}
	known := knownHosts{file: m.file("known_hosts"), fingerprint: m.f.hostKey, confirm: m.confirmHostKey}
	c, chans, reqs, err := ssh.NewClientConn(conn, addr, &ssh.ClientConfig{
		User: m.f.user, Timeout: sshTime, HostKeyCallback: known.check, HostKeyAlgorithms: hostKeyKinds,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signers...), ssh.RetryableAuthMethod(ssh.PasswordCallback(password), passwordTries),
			ssh.KeyboardInteractive(func(_, _ string, questions []string, echos []bool) ([]string, error) {
				answers := make([]string, len(questions))
				for i := range questions {
					if echos[i] {
						return nil, errors.New("it asks for more than a password")
					}
					text, err := password()
					if err != nil {
						return nil, err
					}
					answers[i] = text
				}
				return answers, nil
			})},
	})
	if err != nil {
		conn.Close()
		return nil, &hint{fmt.Errorf("log in to %s as %s: %w", m.f.wishes.Host, m.f.user, err), orElse(tryText(err), "--identity FILE, or --password-file FILE; root must be allowed to log in (PermitRootLogin in sshd_config)")}
	}
	t := &sshTarget{client: ssh.NewClient(c, chans, reqs)}
	if out, err := t.output("id -u"); err != nil || strings.TrimSpace(string(out)) != "0" {
		t.client.Close()
		return nil, errors.Join(&hint{fmt.Errorf("%s is not root on %s", m.f.user, m.f.wishes.Host), "--user root"}, err)
	}
	return t, nil
}
