package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"masthead/appliance/install"
	"masthead/appliance/maker"
	"masthead/appliance/maker/login"
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
		if m.remoteHost, err = login.Dial(ctx, m.loginConfig()); err != nil {
			return err
		}
	}
	t := m.remoteHost
	if !m.f.dryRun {
		if err := t.Authorize(); err != nil {
			return err
		}
	}
	if err := t.CopyProgram("/proc/self/exe"); err != nil {
		return err
	}
	out, err := t.Masthead("maker probe --via " + t.Address())
	if err != nil {
		return fmt.Errorf("ask it what it is made of: %w", err)
	}
	if m.target, err = maker.ParseTarget(out); err != nil {
		return err
	}
	if m.keys, err = t.HostKeys(); err != nil {
		return err
	}
	return m.knowServer()
}

// logout takes away what was copied there.
func (m *making) logout(context.Context) error {
	if m.remoteHost != nil {
		m.remoteHost.Close()
		m.remoteHost = nil
	}
	return nil
}

// knowServer completes what is wished for with what the server has: it keeps its name and its address.
func (m *making) knowServer() error {
	w := &m.f.wishes
	if w.Name == "" {
		if name, _, _ := strings.Cut(strings.ToLower(m.target.Host), "."); name != "localhost" && images.ValidHost(name) == nil {
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
			"set it to boot from the network, then: masthead master-maker " + m.target.MAC +
				" --name " + orElse(m.f.wishes.Name, "NAME") + " --address " + orElse(m.f.wishes.Address, "ADDRESS")}
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
		if err := m.remoteHost.Kexec(kernel, ramfs, cmdline); err != nil {
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
		return fmt.Errorf("disk %s is another one under this head's kernel: %s with %d bytes, it was %s with %d",
			was.Path, now.Disk.ID(), now.Disk.Size, was.ID(), was.Size)
	}
	m.plan = now
	return nil
}

// bootFiles are kernel and initramfs of this head's own image, and the command line that makes the other machine a diskless
// node of this head.
func (m *making) bootFiles() (kernel, ramfs login.Sized, cmdline string, done func(), err error) {
	f, volume, err := install.OpenISO(m.self.medium)
	if err != nil {
		return login.Sized{}, login.Sized{}, "", nil, err
	}
	_, manifest, err := volume.Head()
	if err == nil {
		var k, r interface {
			Size() int64
			Read([]byte) (int, error)
		}
		if k, err = volume.File(images.MediumKernel); err == nil {
			if r, err = volume.File(images.MediumInitramfs); err == nil {
				kernel, ramfs = login.Sized{Reader: k, Size: k.Size()}, login.Sized{Reader: r, Size: r.Size()}
			}
		}
	}
	if err != nil {
		f.Close()
		return login.Sized{}, login.Sized{}, "", nil, err
	}
	boot := images.Boot{
		Role: images.RoleWorker, Heads: []string{m.self.url}, CA: m.self.ca, Image: m.self.image, Root: images.RootLazy,
		Overlay: images.DefaultOverlay, IP: images.IPStatic, Address: m.plan.Address, NIC: m.plan.MAC,
		PanicDelay: images.DefaultPanicDelay, State: images.StateLabel,
	}
	return kernel, ramfs, strings.TrimSpace(manifest.Cmdline + " " + boot.String()), func() { f.Close() }, nil
}

// loginConfig is how this head logs in to the server.
func (m *making) loginConfig() login.Config {
	return login.Config{
		Host: m.f.wishes.Host, User: m.f.user, Dir: filepath.Join(m.dir, maker.Dir), Identity: m.f.identity, HostKey: m.f.hostKey,
		Password: m.askPassword(), Confirm: m.confirmHostKey,
	}
}

// askPassword gives the password: of a file, or asked for, once.
func (m *making) askPassword() func() (string, error) {
	return func() (string, error) {
		if m.f.passwordFile != "" {
			data, err := m.readFile(m.f.passwordFile)
			return strings.TrimRight(string(data), "\r\n"), err
		}
		if !terminalIn(m.in) {
			return "", &hint{errors.New("nobody is there to be asked for the password"),
				"--identity FILE, or --password-file FILE"}
		}
		m.show.close()
		return m.askHidden(fmt.Sprintf("Password of %s on %s (not shown): ", m.f.user, m.f.wishes.Host))
	}
}

// confirmHostKey asks whether a host key that nobody knows is the right one.
func (m *making) confirmHostKey(fingerprint string) error {
	m.show.close()
	fmt.Fprintf(m.err, "%s has the host key %s, which this head does not know.\nOn its console: %s\n", m.f.wishes.Host, fingerprint, login.OnConsole)
	try := "masthead master-maker " + m.f.wishes.Host + " " + login.FromConsole
	if err := m.confirmName("Type yes if it is the right one: ", "yes", false, try); err != nil {
		return fmt.Errorf("its host key %s is not known to this head: %w", fingerprint, err)
	}
	return nil
}
