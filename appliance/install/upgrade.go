package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"masthead/appliance/install/carry"
	"masthead/images"
	"masthead/images/disk"
	"masthead/node/blockdev"
	"masthead/node/slot"
)

// Upgrade is another image that is written into the slot that the machine does not run from, and started once.
type Upgrade struct {
	Source   Source        `json:"source"`
	Slot     disk.Slot     `json:"slot"`
	Running  images.Digest `json:"running"` // image that runs
	Overlay  carry.Report  `json:"overlay"`
	Deadline time.Duration `json:"deadline"`
	Warnings []string      `json:"warnings,omitempty"`
	Kept     []images.Blob `json:"kept,omitempty"` // of images that the new ISO does not have, to the store
}

// Target is the machine that is upgraded.
type Target struct {
	Machine slot.Machine
	Env     disk.Env
	Record  slot.Record
	Room    int64 // bytes of the other slot
	Running images.Digest
	Name    string // of the image that runs
	Free    int64  // bytes on the state partition
}

// CheckUpgrade decides whether an image may be written to the other slot, and warns of what one should know. Pure.
func CheckUpgrade(t Target, s Source, force bool) (warnings []string, err error) {
	other := t.Machine.Running.Other()
	switch {
	case s.Size > t.Room:
		return nil, &hint{fmt.Errorf("the ISO has %s, slot %s %s", Size(s.Size), other, Size(t.Room)), "an image with less in it: masthead build iso DEFINITION"}
	case slot.Judge(t.Env, t.Machine.Running) == slot.OnTrial:
		return nil, &hint{errors.New("the slot that runs is on trial itself"), "masthead slot list; when it is found healthy: the same again"}
	case s.Image == t.Running && !force:
		return nil, &hint{fmt.Errorf("image %s runs already", s.Image.Short()), "the same with --force, to write it all the same"}
	}
	if t.Name != "" && s.Name != t.Name {
		warnings = append(warnings, fmt.Sprintf("the image that runs is called %s, the new one %s", t.Name, s.Name))
	}
	if f := t.Record.Failed; f != nil && f.Image == s.Image {
		warnings = append(warnings, fmt.Sprintf("this image fell back at %s: %s", f.At.Local().Format("2006-01-02 15:04"), f.Reason))
	}
	if t.Env.Slot != t.Machine.Running {
		warnings = append(warnings, fmt.Sprintf("slot %s runs, which was picked by hand; slot %s starts by itself, and is overwritten", t.Machine.Running, t.Env.Slot))
	}
	return warnings, nil
}

// Files are what an upgrade reads and writes.
type Files struct {
	ISO     io.ReaderAt
	Volume  *Volume
	State   string // folder of the state partition
	Was     fs.FS  // the image that runs
	OpenDev func(blockdev.Device) (SlotFile, error)
}

// SlotFile is a slot's partition.
type SlotFile interface {
	blockFile
	io.Closer
}

// overlayDir is where what is written over the root of a slot lies.
func overlayDir(state string, s disk.Slot) string {
	return filepath.Join(state, images.OverlayDir, string(s))
}

// PlanUpgrade checks everything that can be checked before anything is written, which takes as long as reading the ISO.
// finish is called with the folder to carry the overlay over to, or with none, and in any case once.
func PlanUpgrade(ctx context.Context, t Target, f Files, force bool, p Progress) (u Upgrade, finish func(ctx context.Context, to string, p Progress) error, err error) {
	source, _, err := f.Volume.Head()
	if err != nil {
		return u, nil, err
	}
	u = Upgrade{Source: source, Slot: t.Machine.Running.Other(), Running: t.Running, Deadline: slot.DefaultDeadline}
	if u.Warnings, err = CheckUpgrade(t, source, force); err != nil {
		return u, nil, err
	}
	if err := CheckISO(ctx, f.ISO, source, p); err != nil {
		return u, nil, err
	}
	next, free, err := OpenRoot(ctx, f.Volume, source.Image)
	if err != nil {
		return u, nil, err
	}
	plan, err := carry.Plan(carry.Roots{Upper: filepath.Join(overlayDir(f.State, t.Machine.Running), "upper"), Was: f.Was, Next: next})
	if err != nil {
		free()
		return u, nil, err
	}
	u.Overlay = plan.Report()
	if need := u.Overlay.Bytes + overlaySpare; need > t.Free {
		free()
		return u, nil, &hint{fmt.Errorf("what was written over the root takes %s, and the state partition has %s free", Size(u.Overlay.Bytes), Size(t.Free)),
			"remove what is not needed, such as old images: masthead image list"}
	}
	return u, func(ctx context.Context, to string, p Progress) error {
		defer free()
		if to == "" {
			return nil
		}
		return plan.Apply(ctx, to, func(done, total int64) { p("carry the overlay", done, total) })
	}, nil
}

// overlaySpare is what stays free on the state partition: the state must take changes, and the new root writes too.
const overlaySpare = 64 << 20

// RunUpgrade writes the other slot, carries the overlay over, and has GRUB try the slot at the next start. Until the last
// step nothing of that is in force: interrupted anywhere, the machine is as before, and it is done again from the
// beginning.
func RunUpgrade(ctx context.Context, t Target, u Upgrade, f Files, carryTo func(context.Context, string, Progress) error, p Progress, now time.Time) error {
	e := t.Machine.Environment()
	for _, s := range []struct {
		name string
		run  func() error
	}{
		{"prepare", func() error { return e.Write(disk.Env{Slot: t.Machine.Running}) }},
		{"copy", func() error { return writeOther(ctx, t, u, f, p) }},
		{"overlay", func() error { return carryOver(ctx, f.State, u, carryTo, p) }},
		{"record", func() error { return recordUpgrade(f.State, u, now) }},
		{"try", func() error { return e.Write(slot.Try(disk.Env{Slot: t.Machine.Running}, u.Slot)) }},
	} {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("upgrade: %w before step %s; nothing of it is in force", err, s.name)
		}
		p(s.name, 0, 0)
		if err := s.run(); err != nil {
			return fmt.Errorf("upgrade: step %s: %w", s.name, err)
		}
		p(s.name, 1, 1)
	}
	return nil
}

func writeOther(ctx context.Context, t Target, u Upgrade, f Files, p Progress) error {
	dev, err := t.Machine.Slot(u.Slot)
	if err != nil {
		return err
	}
	w, err := f.OpenDev(dev)
	if err != nil {
		return err
	}
	err = WriteSlot(ctx, w, 0, dev.Size, f.ISO, u.Source, func(what string, done, total int64) { p("copy: "+what, done, total) })
	return errors.Join(err, w.Close())
}

// carryOver makes the overlay of the other slot anew, under another name until it is whole.
func carryOver(ctx context.Context, state string, u Upgrade, carryTo func(context.Context, string, Progress) error, p Progress) error {
	dir := overlayDir(state, u.Slot)
	next := dir + ".next"
	for _, old := range []string{next, dir} {
		if err := os.RemoveAll(old); err != nil {
			return err
		}
	}
	upper := filepath.Join(next, "upper")
	if err := os.MkdirAll(upper, 0o755); err != nil {
		return err
	}
	if err := carryTo(ctx, upper, p); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(next, "image"), []byte(u.Source.Image+"\n"), 0o600); err != nil {
		return err
	}
	if err := syncDir(next); err != nil {
		return err
	}
	return os.Rename(next, dir)
}

// syncDir writes out all of the file system that a folder is on.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("write out %s: %w", dir, err)
	}
	return nil
}

func recordUpgrade(state string, u Upgrade, now time.Time) error {
	r, err := slot.ReadRecord(state)
	if err != nil {
		return err
	}
	if r.Slots == nil {
		r.Slots = map[disk.Slot]slot.Image{}
	}
	r.Slots[u.Slot] = slot.Image{Name: u.Source.Name, Digest: u.Source.Image, Kernel: u.Source.Kernel, Written: now.UTC()}
	r.Trial = &slot.Trial{Slot: u.Slot, Image: u.Source.Image, Began: now.UTC(), Deadline: u.Deadline}
	return r.Write(state)
}
