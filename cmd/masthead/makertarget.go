package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"masthead/appliance/install"
	"masthead/appliance/maker"
	"masthead/images"
	"masthead/images/disk"
	"masthead/node"
	"masthead/node/agent"
	"masthead/node/blockdev"
	"masthead/node/serial"
	"masthead/node/wire"
)

// makerCommand is the other end of master-maker: what runs on the machine that is made a head.
func (a *app) makerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "maker", Short: "What master-maker has another machine do", Hidden: true}
	var via string
	probe := &cobra.Command{
		Use: "probe", Short: "Tell what this machine is made of", Args: exactArgs(0),
		RunE: func(*cobra.Command, []string) error {
			t, err := probeTarget(via)
			if err != nil {
				return err
			}
			return json.NewEncoder(a.out).Encode(t)
		},
	}
	probe.Flags().StringVar(&via, "via", "", "address of the NIC by which the head reaches this machine")
	cmd.AddCommand(probe,
		&cobra.Command{Use: "install", Short: "Install this machine, from the ISO of its head", Args: exactArgs(0),
			RunE: func(cmd *cobra.Command, _ []string) error { return a.makerInstall(cmd.Context()) }},
		&cobra.Command{Use: "overlay DISK IMAGE", Short: "Write over the root of the installed disk what comes on standard input", Args: exactArgs(2),
			RunE: func(cmd *cobra.Command, args []string) error { return a.makerOverlay(cmd.Context(), args[0], args[1]) }},
		&cobra.Command{Use: "kexec", Short: "Start a kernel that comes on standard input", Args: exactArgs(0),
			RunE: func(cmd *cobra.Command, _ []string) error { return a.makerKexec(cmd.Context()) }},
		&cobra.Command{Use: "identity", Short: "Leave on the installed disk who this machine is, and which cluster it joins", Args: exactArgs(0),
			RunE: func(*cobra.Command, []string) error { return a.makerIdentity() }})
	return cmd
}

// probeTarget is all that master-maker has to know of this machine.
func probeTarget(via string) (maker.Target, error) {
	inv := node.Inventory()
	t := maker.Target{
		Arch: runtime.GOARCH, Firmware: inv.Firmware, SecureBoot: inv.SecureBoot, MemoryMB: inv.MemoryMB,
		Kernel: inv.Kernel, Version: versionText(), NoKexec: noKexec("/sys", "/proc"),
	}
	var err error
	if t.Host, err = os.Hostname(); err != nil {
		return t, err
	}
	if t.NICs, err = install.LookNICs("/sys"); err != nil {
		return t, fmt.Errorf("list network cards: %w", err)
	}
	if t.MAC, err = reachedBy(t.NICs, via); err != nil {
		return t, err
	}
	if t.Disks, err = install.Look("/sys", "/proc", "/dev", ""); err != nil {
		return t, err
	}
	ports, err := serial.Ports("/sys", "/proc", "/dev")
	if err != nil {
		return t, err
	}
	for _, p := range ports {
		if p.Use == "" {
			t.Ports = append(t.Ports, p.Device)
		}
	}
	t.Keys = hostKeys("/etc/ssh")
	return t, nil
}

// reachedBy is the MAC address of the NIC with an address, or of the one that this machine was booted by.
func reachedBy(nics []install.NIC, via string) (string, error) {
	if via == "" {
		cfg, err := agent.LoadConfig(images.RunNode)
		return cfg.MAC, err
	}
	for _, n := range nics {
		for _, p := range n.Addresses {
			if p.Addr().String() == via {
				return n.MAC, nil
			}
		}
	}
	return "", fmt.Errorf("no network card of this machine has the address %s: it is behind a bridge, a bond or a translation of addresses", via)
}

// noKexec is why this kernel would not start another one; empty: it would.
func noKexec(sys, proc string) string {
	if data, err := os.ReadFile(filepath.Join(proc, "sys/kernel/kexec_load_disabled")); err == nil && strings.TrimSpace(string(data)) == "1" {
		return "its kernel was told to start no other (kernel.kexec_load_disabled)"
	} else if err != nil {
		return "its kernel cannot start another one (CONFIG_KEXEC_CORE)"
	}
	data, err := os.ReadFile(filepath.Join(sys, "kernel/security/lockdown"))
	if err == nil && !strings.Contains(string(data), "[none]") {
		return "its kernel is locked down (Secure Boot) and starts only kernels that its own distribution has signed"
	}
	return ""
}

// hostKeys are the public SSH keys of this machine.
func hostKeys(dir string) []maker.HostKey {
	files, err := filepath.Glob(filepath.Join(dir, "ssh_host_*_key.pub"))
	if err != nil {
		return nil
	}
	var keys []maker.HostKey
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		if key, _, _, _, err := ssh.ParseAuthorizedKey(data); err == nil {
			keys = append(keys, maker.HostKey{Type: key.Type(), Fingerprint: ssh.FingerprintSHA256(key)})
		}
	}
	return keys
}

// makerOrder is what an installation is told on its standard input.
type makerOrder struct {
	Head    string `json:"head"`    // URL, whose ISO is installed
	Answers string `json:"answers"` // YAML
}

// makerInstall installs this machine from the ISO of its head. It says on the standard output how far it is, one event a
// line, and on the machine's console for whoever stands there.
func (a *app) makerInstall(ctx context.Context) error {
	var order makerOrder
	if err := json.NewDecoder(io.LimitReader(a.in, maxOrder)).Decode(&order); err != nil {
		return fmt.Errorf("read what is to be installed: %w", err)
	}
	answers, err := install.ParseAnswers("answers", []byte(order.Answers))
	if err != nil {
		return err
	}
	cfg, err := agent.LoadConfig(images.RunNode)
	if err != nil {
		return err
	}
	client := wire.NewClient(order.Head, cfg.CA, cfg.Spec.Token)
	defer client.Close()
	medium, err := client.Medium(ctx)
	if err != nil {
		return fmt.Errorf("the ISO of the head: %w", err)
	}
	volume, err := install.OpenVolume(medium, medium.Size)
	if err != nil {
		return fmt.Errorf("the ISO of the head: %w", err)
	}
	m, err := lookAround(volume, "")
	if err != nil {
		return err
	}
	m.open = func() (isoSource, error) {
		ahead := wire.NewReadAhead(medium)
		return isoSource{ahead, volume.FS(), func() error { ahead.Close(); return nil }}, nil
	}
	plan, done, err := makerPlan(m, answers)
	if err != nil || done {
		return err
	}
	console := io.Discard
	if f, err := os.OpenFile("/dev/console", os.O_WRONLY, 0); err == nil {
		defer f.Close()
		console = f
	}
	fmt.Fprintf(console, "masthead: this machine is being installed as head %s, from %s\n", answers.Name, order.Head)
	show := newInstallProgress(console)
	show.tty = false
	enc := json.NewEncoder(a.out)
	err = runInstall(ctx, m, plan, func(step string, done, total int64) {
		show.update(step, done, total)
		_ = enc.Encode(maker.Event{Step: step, Done: done, Total: total}) // the head may have gone; the work goes on
	})
	if err == nil {
		fmt.Fprintf(console, "masthead: installed: head %s on %s\n", answers.Name, plan.Disk.Path)
	}
	return err
}

// maxOrder is more than any order takes.
const maxOrder = 1 << 20

// makerIdentity writes into the state of the disk that was installed here who this machine is.
func (a *app) makerIdentity() error {
	var id makerSelf
	if err := json.NewDecoder(io.LimitReader(a.in, maxOrder)).Decode(&id); err != nil {
		return fmt.Errorf("read who this machine is: %w", err)
	}
	return onInstalledState(id.Disk, id.leave)
}

// onInstalledState mounts the state of a disk that was installed here for as long as fn runs.
func onInstalledState(path string, fn func(dir string) error) error {
	all, err := blockdev.List("/sys", "/dev")
	if err != nil {
		return err
	}
	whole, table, err := installedDisk(all, path)
	if err != nil {
		return err
	}
	state, err := blockdev.Named(all, whole, table, disk.NameState)
	if err != nil {
		return err
	}
	dir, unmount, err := install.MountState(state.Path)
	if err != nil {
		return err
	}
	return errors.Join(fn(dir), unmount())
}

// installedDisk finds the disk that an installation was made on, and its table.
func installedDisk(all []blockdev.Device, path string) (blockdev.Device, disk.Table, error) {
	for _, d := range all {
		if d.Path != path {
			continue
		}
		f, err := os.Open(d.Path)
		if err != nil {
			return d, disk.Table{}, err
		}
		defer f.Close()
		t, err := disk.ReadTable(f, d.Size, d.Sector)
		if err != nil {
			return d, t, fmt.Errorf("%s: %w", d.Path, err)
		}
		return d, t, nil
	}
	return blockdev.Device{}, disk.Table{}, fmt.Errorf("there is no disk %s", path)
}
