package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/u-root/u-root/pkg/mount"
	"github.com/u-root/u-root/pkg/smbios"
	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/node/agent"
	"masthead/node/console"
	"masthead/node/kmod"
	"masthead/node/netif"
	"masthead/node/rootdev"
	"masthead/node/slot"
	"masthead/node/stages"
	"masthead/node/wire"
)

// newRoot is where the root is put together before it becomes /.
const newRoot = "/root/new"

// reportTimeout bounds one report from init: the boot does not wait for a head that is slow to listen.
const reportTimeout = 3 * time.Second

// Init is one boot of one machine. Its fields are filled by the stages, in order.
type Init struct {
	log    *slog.Logger
	stages *stages.Recorder

	cmdline     string
	boot        images.Boot
	baked       images.Baked
	smbios      *smbios.Info
	credentials map[string]string
	bootID      string

	medium       string       // block device; empty: booted from the network
	pack         *images.Pack // on the medium
	net          *netif.Result
	uplink       *netif.Result
	mac          string
	head         string       // URL of the head that answered
	client       *wire.Client // of that head, with this boot's token; nil: none answered
	spec         wire.Spec
	image        images.Digest
	man          images.Manifest
	rootd        *rootdev.Handle
	stopWatching func() // ends the loading of drivers for late devices
	loaded       int    // tenths of a root that is loaded whole
	loader       *kmod.Loader
	disk         *slot.Machine // that the machine is installed on; nil: it was started from something else
	trial        bool          // the slot is started for the first time
	kept         bool          // what is written to the root lasts
}

// stage is one row of the way to the root. run returns a detail for people.
type stage struct {
	name wire.Stage
	// when says whether this machine passes the stage; nil: always.
	when func() bool
	run  func(context.Context) (detail string, err error)
}

func (in *Init) table() []stage {
	fromMedium := func() bool { return len(in.boot.Heads) == 0 }
	fromHead := func() bool { return len(in.boot.Heads) > 0 }
	return []stage{
		{wire.StageMounts, nil, in.mounts},
		{wire.StageModules, nil, in.modules},
		{wire.StageMedium, fromMedium, in.openMedium},
		{wire.StageNetwork, nil, in.network},
		{wire.StageHello, fromHead, in.hello},
		{wire.StageRoot, nil, in.root},
		{wire.StageHandover, nil, in.handover},
	}
}

// Run is the whole of PID 1 in the initramfs. It does not return while all goes well: the last stage executes the
// root's own init, after it has closed out, the console that log writes to: what was said so far must be there before
// another program owns it. What it returns is the failure.
func Run(ctx context.Context, out io.WriteCloser, log *slog.Logger) error {
	in := &Init{log: log, stages: &stages.Recorder{}}
	for _, s := range in.table() {
		if s.when != nil && !s.when() {
			continue
		}
		if s.name == wire.StageRoot && in.boot.Rescue {
			fmt.Fprintln(out, "masthead.rescue is set: a shell before the root is mounted; leave it to go on")
			rescueShell(ctx)
		}
		in.stages.Begin(s.name)
		detail, err := s.run(ctx)
		result := in.stages.End(detail, err, tryOf(err))
		in.show(result)
		if err := in.report(ctx, nil); err != nil {
			in.log.Warn("report", "err", err)
		}
		if err != nil {
			return in.fail(ctx, out, result, err)
		}
		if s.name == wire.StageHandover {
			return in.leave(out)
		}
	}
	return errors.New("no stage executed an init")
}

// tryOf is the hint that an error carries, if any.
func tryOf(err error) string {
	var t interface{ Try() string }
	if errors.As(err, &t) {
		return t.Try()
	}
	return ""
}

func (in *Init) show(s wire.StageResult) {
	log := in.log.With(console.Stage, string(s.Stage), "took", fmt.Sprintf("%.2fs", s.Took))
	if s.Outcome == wire.OutcomeFailed {
		log.Error("failed: " + s.Cause)
		return
	}
	detail := s.Detail
	if detail == "" {
		detail = "done"
	}
	log.Info(detail)
}

// report tells the head what it does not know yet, and how the root stands if root is not nil. A head that cannot be
// reached hears it later, from the agent.
func (in *Init) report(ctx context.Context, root *wire.RootStatus) error {
	if in.client == nil {
		return nil
	}
	pending, mark := in.stages.Pending()
	if len(pending) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	err := in.client.Report(ctx, wire.Report{
		Boot: in.bootID, MAC: in.mac, Stages: pending, Root: root, Uptime: stages.Uptime().Seconds(),
	})
	if err == nil {
		in.stages.Sent(mark)
	}
	return err
}

// mounts brings up the kernel's file systems and reads what the machine was told.
func (in *Init) mounts(context.Context) (string, error) {
	if err := create(kernelMounts()); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(images.RunBinary), 0o755); err != nil {
		return "", err
	}
	// The binary lives on in /run: everything of ours runs from there once the initramfs is gone.
	if err := keepBinary(); err != nil {
		return "", err
	}
	in.told()
	in.bootID = line("/proc/sys/kernel/random/boot_id")
	data, err := os.ReadFile(images.InitramfsConfig)
	if err == nil {
		err = json.Unmarshal(data, &in.baked)
	}
	if err != nil {
		return "", fmt.Errorf("the initramfs is not whole: %w", err)
	}
	if in.boot.Role == "" {
		in.boot.Role = in.baked.Role
	}
	setPanic(in.boot.PanicDelay)
	return string(in.boot.Role) + " " + in.baked.Name, saveCredentials(in.credentials)
}

// told reads what the machine was told by whoever started it: the kernel command line and the SMBIOS OEM strings.
func (in *Init) told() {
	var err error
	if in.smbios, err = smbios.FromSysfs(); err != nil {
		in.log.Debug("no SMBIOS", "err", err)
	}
	words, credentials := oemStrings(in.smbios)
	in.credentials = credentials
	in.cmdline = strings.TrimSpace(line("/proc/cmdline") + " " + strings.Join(words, " "))
	if in.boot, err = images.ParseBoot(in.cmdline); err != nil {
		// A word that makes no sense is said and left at its default: a machine that boots can be mended.
		in.log.Warn("kernel command line", "err", err)
	}
}

// keepBinary moves the program out of the initramfs into /run, which becomes part of the root.
func keepBinary() error {
	src, err := os.Open(images.InitramfsInit)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(images.RunBinary, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		return fmt.Errorf("copy masthead to %s: %w", images.RunBinary, err)
	}
	return dst.Close()
}

// setPanic makes the kernel reboot after a panic as we do after a failed boot (0 keeps it halted).
func setPanic(delay time.Duration) {
	_ = os.WriteFile("/proc/sys/kernel/panic", fmt.Appendf(nil, "%d\n", delay/time.Second), 0o644)
}

func saveCredentials(all map[string]string) error {
	if len(all) == 0 {
		return nil
	}
	if err := os.MkdirAll(images.CredentialsDir, 0o700); err != nil {
		return fmt.Errorf("keep credentials: %w", err)
	}
	for name, value := range all {
		if err := os.WriteFile(filepath.Join(images.CredentialsDir, name), []byte(value), 0o600); err != nil {
			return fmt.Errorf("keep credentials: %w", err)
		}
	}
	return nil
}

// modules loads what every machine needs and then what this one's hardware asks for.
func (in *Init) modules(ctx context.Context) (string, error) {
	var err error
	if in.loader, err = kmod.New("/", in.baked.KernelRelease); err != nil {
		return "", err
	}
	for _, name := range in.baked.Early {
		if err := in.loader.Load(ctx, name, ""); err != nil {
			return "", fmt.Errorf("load module %s: %w", name, err)
		}
	}
	loaded, err := in.loader.Coldplug(ctx)
	if err != nil {
		// One driver that fails is not the end: it may be a device that nobody needs.
		in.log.Warn("drivers", "err", err)
	}
	// Sticks and keyboards are found seconds after their controllers; somebody has to listen until the root's udev does.
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { // ends at stopWatching
		defer close(watched)
		err := in.loader.Watch(watching, func(err error) { in.log.Debug("driver", "err", err) })
		if err != nil {
			in.log.Warn("devices that appear late are not seen", "err", err)
		}
	}()
	in.stopWatching = func() { stop(); <-watched }
	return fmt.Sprintf("%d drivers", len(loaded)), nil
}

func (in *Init) openMedium(ctx context.Context) (string, error) {
	if err := in.loader.Load(ctx, "isofs", ""); err != nil {
		return "", fmt.Errorf("load module isofs: %w", err)
	}
	find := func(ctx context.Context) (string, error) { return findMedium(ctx, "/sys", "/dev") }
	if in.boot.Medium != "" {
		find = in.findSlot
	}
	device, pack, err := openMedium(ctx, find, func(ctx context.Context) error {
		return errors.Join(in.wishToInstall(ctx), in.wishToJoin(ctx))
	})
	if tryOf(err) != "" {
		return "", err
	}
	if err != nil {
		return "", &hint{err, "check that the stick or CD is still in the machine, or add masthead.head= and masthead.ca= to boot from the network"}
	}
	in.medium, in.pack = device, pack
	return device, nil
}

func (in *Init) network(ctx context.Context) (string, error) {
	cfg := netif.FromBoot(in.boot)
	cfg.Log = in.log
	result, err := netif.Up(ctx, cfg)
	if err != nil {
		if in.medium != "" {
			// A head that boots from its own medium is useful without a network: its console and its disks are there.
			in.log.Warn("no network: going on without", "err", err, "try", tryOf(err))
			return "none", nil
		}
		return "", err
	}
	if in.boot.IP == images.IPNone { // but the loopback is up now
		return "none, as asked", nil
	}
	in.net, in.mac = &result, result.Link.MAC
	return result.String() + in.uplinkUp(ctx), nil
}

// uplinkTimeout is short: the cluster does not wait for the way out of it.
const uplinkTimeout = 10 * time.Second

// uplinkUp configures the NIC that leads out of the cluster, if there is one, and gives a word for the stage's detail.
func (in *Init) uplinkUp(ctx context.Context) string {
	if in.boot.Uplink == "" {
		return ""
	}
	result, err := netif.Up(ctx, netif.Config{NIC: in.boot.Uplink, Mode: images.IPDHCP, Timeout: uplinkTimeout, Log: in.log})
	if err != nil {
		in.log.Warn("no uplink", "err", err, "try", tryOf(err))
		return ""
	}
	in.uplink = &result
	return "; uplink " + result.String()
}

func (in *Init) hello(ctx context.Context) (string, error) {
	g := &greeter{heads: in.boot.Heads, ca: in.boot.CA, log: in.log, hello: wire.Hello{
		Boot: in.bootID, MAC: in.mac, Image: in.boot.Image, Role: in.boot.Role,
		Inventory: inventory("/sys", "/proc", in.smbios),
	}}
	spec, head, err := g.run(ctx)
	if err != nil {
		return "", err
	}
	in.spec, in.head = spec, head
	in.client = wire.NewClient(head, in.boot.CA, spec.Token)
	if moved, err := setClock(spec.Time, time.Now()); err != nil {
		in.log.Warn("clock", "err", err)
	} else if moved != 0 {
		in.log.Info("clock set", "by", moved.Round(time.Second))
	}
	return spec.Name + " of " + head, nil
}

// handover lays the machine's own files over the root and leaves word for the agent.
func (in *Init) handover(ctx context.Context) (string, error) {
	in.keptCredentials()
	id := in.identity()
	if err := in.furnish(newRoot, id); err != nil {
		return "", err
	}
	if err := enableUnits(units(in.duties())); err != nil {
		return "", err
	}
	if in.boot.Role == images.RoleHead {
		if err := in.mountState(ctx); err != nil {
			return "", err
		}
	}
	if err := in.linkBinary(newRoot); err != nil {
		return "", err
	}
	if err := unix.Sethostname([]byte(id.Name)); err != nil {
		return "", fmt.Errorf("set the host name: %w", err)
	}
	if err := in.word().Save(images.RunNode); err != nil {
		return "", err
	}
	return in.initPath(), nil
}

// furnish lays the machine's own files over the root at dir.
func (in *Init) furnish(dir string, id identity) error {
	all := id.files()
	key, err := hostKey()
	if err != nil {
		return err
	}
	all = append(all, key)
	if in.kept {
		if all, err = keepOwn(dir, all); err != nil {
			return err
		}
	}
	if err := writeFiles(dir, all); err != nil {
		return err
	}
	if err := setPassword(dir, in.credentials[images.CredentialPassword]); err != nil {
		in.log.Warn("root's password", "err", err)
	}
	return nil
}

// word is what the agent is told.
func (in *Init) word() agent.Config {
	duties := in.duties()
	return agent.Config{ImageKeys: in.baked.SSHKeys, Slot: duties.slot, Install: duties.install, Role: in.boot.Role, Boot: in.bootID, MAC: in.mac, CA: in.boot.CA, Spec: in.spec, Image: in.image, Net: in.net, Uplink: in.uplink, Device: in.rootd.Device, Root: in.rootMode(),
		Inventory: inventory("/sys", "/proc", in.smbios)}
}

// linkBinary lets an administrator on the machine type masthead, and gives PID 1 of a minimal image its name.
func (in *Init) linkBinary(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("prepare the root: %w", err)
	}
	defer root.Close()
	const name = "usr/local/bin/masthead"
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("prepare the root: %w", err)
	}
	_ = root.Remove(name) // an older one that the image may bring
	if err := root.Symlink(images.RunBinary, name); err != nil {
		return fmt.Errorf("prepare the root: %w", err)
	}
	if err := os.Symlink(images.RunBinary, images.RunInit); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("prepare the root: %w", err)
	}
	if in.man.Init == "" {
		return nil
	}
	// Not found after the switch, this would be a kernel panic that nobody explains. Links are followed inside the root
	// as the kernel will, from its own /.
	if err := initThere(dir, in.man.Init); err != nil {
		return &hint{err, "build the image again with an init in its root"}
	}
	return nil
}

// initPath is the program that goes on after us: the root's own init, or ourselves.
func (in *Init) initPath() string {
	if in.man.Init == "" {
		return images.RunInit
	}
	return in.man.Init
}

// machineID is this machine's: by its cluster NIC, by what SMBIOS calls it where there is no network, or else new at
// each boot.
func (in *Init) machineID() string {
	if in.mac != "" {
		return machineID(in.mac)
	}
	if inv := inventory("/sys", "/proc", in.smbios); inv.UUID != "" {
		return machineID(inv.UUID)
	}
	return machineID(in.bootID)
}

func (in *Init) identity() identity {
	id := identity{
		Name: in.spec.Name, Domain: in.spec.Domain, MachineID: in.machineID(),
		Hosts: in.spec.Hosts, DNS: in.spec.DNS, SSHKeys: in.spec.SSHKeys,
	}
	id.SSHKeys = append(id.SSHKeys, in.baked.SSHKeys...)
	if in.boot.Name != "" {
		id.Name = in.boot.Name
	}
	if id.Name == "" {
		id.Name = string(in.boot.Role)
	}
	if in.net != nil && len(id.DNS) == 0 && in.net.DNS != nil {
		id.DNS = in.net.DNS
	}
	if key := in.credentials[images.CredentialSSHKey]; key != "" {
		id.SSHKeys = append(id.SSHKeys, key)
	}
	id.Parent = agent.AddressOf(in.head)
	return id
}

// leave makes the new root / and executes its init. It returns only on failure.
func (in *Init) leave(out io.Closer) error {
	in.stopWatching()
	if err := in.guardTrial(); err != nil {
		in.log.Error("a slot on trial that nobody guards", "err", err)
	}
	if err := in.stages.Save(images.RunStages); err != nil {
		in.log.Warn("keep the stages", "err", err)
	}
	if err := out.Close(); err != nil {
		in.log.Debug("console", "err", err) // nobody reads it: lines were lost, and that is all
	}
	return fmt.Errorf("switch to the root: %w", mount.SwitchRoot(newRoot, in.initPath()))
}

// hint is an error with what to do about it.
type hint struct {
	error
	try string
}

func (h *hint) Try() string   { return h.try }
func (h *hint) Unwrap() error { return h.error }
