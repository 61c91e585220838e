package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/images/disk"
	"masthead/node/blockdev"
	"masthead/node/slot"
)

// A head that is installed boots from a slot: a partition that holds one of our ISOs. Its disk also has the state, and on
// it what was written over the root.

// findSlot waits for the partition that the command line names, and notes its disk.
func (in *Init) findSlot(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, mediumWait)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		all, err := blockdev.List("/sys", "/dev")
		if err != nil {
			return "", err
		}
		part, whole, table, err := blockdev.ByGUID(all, in.boot.Medium)
		if err == nil {
			return part.Path, in.standing(ctx, all, whole, table)
		}
		if !errors.Is(err, blockdev.ErrNotFound) {
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("no disk with the partition %s appeared in %v; block devices seen: %s", in.boot.Medium, mediumWait, orNone(names(all)))
		case <-tick.C:
		}
	}
}

func names(all []blockdev.Device) []string {
	var list []string
	for _, d := range all {
		if d.Hardware() {
			list = append(list, d.Name)
		}
	}
	return list
}

// standing notes the disk that the machine is installed on, and says how its slot stands. The drivers that are needed for
// the EFI system partition are loaded by mounting it here: a minimal root has none.
func (in *Init) standing(ctx context.Context, all []blockdev.Device, whole blockdev.Device, table disk.Table) error {
	if in.boot.Slot == "" {
		return nil
	}
	m, err := slot.At(all, whole, table, disk.Slot(in.boot.Slot))
	if err != nil {
		return err
	}
	in.disk = &m
	if err := in.loader.Load(ctx, "vfat", ""); err != nil {
		in.log.Warn("the EFI system partition cannot be read", "err", err)
		return nil
	}
	env, err := m.Environment().Read()
	if err != nil {
		in.log.Warn("what GRUB has noted of the slots", "err", err)
		return nil
	}
	in.trial = slot.Judge(env, m.Running) == slot.OnTrial
	in.log.Info("slot "+in.boot.Slot, "standing", slot.Judge(env, m.Running))
	return nil
}

// guardTrial starts the process that ends a trial nobody has found healthy in time.
func (in *Init) guardTrial() error {
	if !in.trial {
		return nil
	}
	deadline := slot.DefaultDeadline
	if r, err := slot.ReadRecord(images.StateMount); err == nil && r.Trial != nil && r.Trial.Deadline > 0 {
		deadline = r.Trial.Deadline
	}
	return slot.StartGuard(images.RunBinary, deadline+slot.GuardGrace)
}

// keptCredentials adds what the administrator has given at the installation, and the cluster that a head which was made of
// another one is to join. What a boot brings wins.
func (in *Init) keptCredentials() {
	if !in.kept {
		return
	}
	for _, name := range []string{images.CredentialSSHKey, images.CredentialPassword, images.CredentialAdminToken, images.CredentialJoin, images.CredentialJoinAt} {
		data, err := os.ReadFile(filepath.Join(images.StateMount, images.SecretsDir, name))
		if err != nil || in.credentials[name] != "" {
			continue // it was not given, or is given anew
		}
		in.credentials[name] = strings.TrimSpace(string(data))
	}
	if err := saveCredentials(in.credentials); err != nil {
		in.log.Warn("what was given at the installation", "err", err)
	}
}

// openState mounts the state partition of an installed disk, below which the root's overlay lies. A blank one is formatted
// by the root's own mkfs; one that cannot be is as no disk.
func (in *Init) openState(ctx context.Context) error {
	device := in.disk.State
	if err := in.loader.Load(ctx, "ext4", ""); err != nil {
		return fmt.Errorf("load module ext4: %w", err)
	}
	found, err := blockdev.ProbeDevice(device)
	if err != nil {
		return err
	}
	root := guestRoot(images.RootLower)
	if len(found) == 0 {
		err := root.format(ctx, device)
		if errors.Is(err, errNoTool) {
			in.log.Warn("the state partition "+device+" is blank, and this root has no mkfs.ext4: everything is kept in memory and lost at power-off",
				"try", "mkfs.ext4 -L "+images.StateLabel+" "+device+" on another system")
			return nil
		}
		if err != nil {
			return err
		}
		in.log.Info("state: formatted", "device", device)
	}
	if err := root.check(ctx, device, in.log); err != nil {
		return damaged(device, err)
	}
	if err := os.MkdirAll(images.StateMount, 0o700); err != nil {
		return fmt.Errorf("mount the head's state: %w", err)
	}
	if err := unix.Mount(device, images.StateMount, "ext4", unix.MS_NOATIME, ""); err != nil {
		return damaged(device, fmt.Errorf("mount the head's state from %s: %w", device, err))
	}
	in.kept = true
	return nil
}

// damaged is a state disk that cannot be mounted. It stops the boot: a head that went on with an empty state would forget
// its cluster.
func damaged(device string, err error) error {
	return &hint{err, "start with masthead.rescue, or repair it elsewhere with: fsck.ext4 " + device}
}

// overlayFor is the folder for the upper layer of the root that runs from a slot. One that was written over another image
// is set aside: its packages would not be those that it thinks are below it.
func overlayFor(state, which string, image images.Digest, now time.Time) (dir, aside string, err error) {
	dir = filepath.Join(state, images.OverlayDir, which)
	note := filepath.Join(dir, "image")
	was, err := os.ReadFile(note)
	if err == nil && strings.TrimSpace(string(was)) != string(image) {
		aside = fmt.Sprintf("%s.%s", dir, now.UTC().Format("20060102T150405"))
		if err := os.Rename(dir, aside); err != nil {
			return "", "", fmt.Errorf("set the overlay of another image aside: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", fmt.Errorf("make the overlay on the state partition: %w", err)
	}
	if err == nil && aside == "" {
		return dir, "", nil // the note is there and right: a full disk takes no writes
	}
	if err := os.WriteFile(note, []byte(image+"\n"), 0o600); err != nil {
		return "", "", fmt.Errorf("make the overlay on the state partition: %w", err)
	}
	return dir, aside, nil
}
