package data

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
)

// A volume is left when the configuration does not have it any more, or has it by another number or port: the kernel may have it
// still, and a service that is being stopped may use it. Its name, number, port and device are for others when the kernel has
// let go of it.

// givenFile names, below Config.Dir, the volumes that may have been given to the kernel in this boot. A daemon that starts after
// the configuration was changed knows from it what it has to let go of. No note has a name without an ending.
const givenFile = "volumes"

// Left are the volumes that may have been given to the kernel in this boot, and that are not among those of now by the same
// name, number and port, which they have with them.
func Left(dir string, now []Volume) ([]Volume, error) {
	text, err := os.ReadFile(filepath.Join(dir, givenFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("data: read what was given to the kernel: %w", err)
	}
	now = numbered(now)
	var all []Volume
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("data: read what was given to the kernel: %s: %w", filepath.Join(dir, givenFile), err)
	}
	return slices.DeleteFunc(all, func(was Volume) bool {
		return slices.ContainsFunc(now, func(v Volume) bool { return v.Name == was.Name && v.Number == was.Number && v.Port == was.Port })
	}), nil
}

// numbered are volumes with their numbers and ports, which then do not follow from their places any more.
func numbered(volumes []Volume) []Volume {
	all := slices.Clone(volumes)
	for i, v := range volumes {
		all[i].Number, all[i].Port = v.minor(i)+1, v.port(i)
	}
	return all
}

// writeGiven notes what the kernel may have from now on. The caller holds mu; the folder is in memory.
func (s *Set) writeGiven() error {
	all := numbered(s.cfg.Volumes)
	for _, v := range s.left {
		all = append(all, v.Volume)
	}
	text, err := json.Marshal(all)
	if err == nil {
		err = renameio.WriteFile(filepath.Join(s.cfg.Dir, givenFile), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("data: note what is given to the kernel: %w", err)
	}
	return nil
}

// leave lets go of a volume that is left as soon as nothing uses it, until ctx ends.
func (s *Set) leave(ctx context.Context, v *volume) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for ctx.Err() == nil && !s.leaving(ctx, v) {
		select {
		case <-ctx.Done():
		case <-v.poke:
		case <-tick.C:
		}
	}
}

// Leave says what is to be done to a copy of a volume that is left, and why it waits if nothing is. Only one that nobody writes to
// and that is not mounted is taken from the kernel, and who uses it is not stopped here.
func (l Look) Leave(mounted bool) (Step, string) {
	switch {
	case l.Copy.Role == primary && l.Want == WantSecondary:
		return Demote, ""
	case l.Copy.Role != secondary:
		return Wait, "it is written to still"
	case l.Copy.PeerRole == primary: // it may not have heard yet, and its writes would wait for a word on this copy
		return Wait, "the other head writes to its copy still"
	case mounted:
		return Wait, "it is mounted still"
	}
	return Down, ""
}

// leaving does what is to be done next, and reports whether the kernel has let go of the volume.
func (s *Set) leaving(ctx context.Context, v *volume) bool {
	mounted, err := s.mounted(ctx, v.Name)
	if err != nil {
		return false
	}
	s.mu.Lock()
	if s.ready && !v.look.Copy.There || !s.ready && s.noTools && !s.cfg.Tools.InKernel(v.minor) {
		defer s.mu.Unlock()
		s.forget(v)
		return true
	}
	step, why := v.look.Leave(mounted)
	v.step, v.why = step, why
	now := s.cfg.Now()
	if !s.ready || step == Wait || v.failed >= 0 && now-v.failed < stepAgain || v.did.step == step && now-v.did.at < settleTime {
		s.mu.Unlock()
		return false
	}
	v.busy = true
	s.mu.Unlock()
	if step == Demote {
		err = s.demoteLeft(ctx, v)
	} else {
		_, err = s.cfg.Tools.Run(ctx, s.node(), "drbdsetup", "down", v.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v.busy, v.failed, v.did = false, -1, deed{step, s.cfg.Now()}
	text := ""
	if err != nil && ctx.Err() == nil {
		text, v.failed = withTry(err), s.cfg.Now()
	}
	if text != v.trouble && text != "" {
		s.cfg.Event("data "+v.Name+", which is not in the configuration any more: "+text, true)
	}
	v.trouble = text
	s.tell()
	return false
}

// demoteLeft has a copy follow that the configuration file of the others does not name.
func (s *Set) demoteLeft(ctx context.Context, v *volume) error {
	r := s.cfg.Resources
	r.Volumes = []Volume{v.Volume}
	if err := renameio.WriteFile(s.leftConf(v), []byte(r.Render()), 0o600); err != nil {
		return fmt.Errorf("write DRBD's configuration: %w", err)
	}
	return s.admBy(ctx, s.leftConf(v), "secondary", v.Name)
}

func (s *Set) leftConf(v *volume) string { return filepath.Join(s.cfg.Dir, v.Name+".left.conf") }

// forget is for a volume that the kernel does not have any more. The caller holds mu.
func (s *Set) forget(v *volume) {
	s.left = slices.DeleteFunc(s.left, func(one *volume) bool { return one == v })
	_ = os.Remove(s.leftConf(v)) // most have none; it is of no use to anybody
	if err := s.writeGiven(); err != nil {
		s.cfg.Log.Warn("a volume that is gone", "volume", v.Name, "err", err) // the daemon after this one finds that out again
	}
	if v.did.step == Down {
		s.cfg.Event(fmt.Sprintf("data %s: it is not in the configuration any more, and taken from the kernel; what it holds stays on %s", v.Name, v.lower(s.cfg.Self)), false)
	}
	s.tell()
}

// inTheWay is a volume that is left and has something still that v needs; nil: none. The caller holds mu.
func (s *Set) inTheWay(v *volume) *volume {
	for _, l := range s.left {
		if l.Name == v.Name || l.minor == v.minor || l.Port == v.Port || l.device(s.cfg.Self) == v.device(s.cfg.Self) && (l.SnapshotsBy != LVM || v.SnapshotsBy != LVM) {
			return l
		}
	}
	return nil
}

// any is a volume that is left, or one of the configuration, which the kernel does not have before it has let go of the other; nil:
// neither. What is neither was never given to the kernel. The caller holds mu.
func (s *Set) any(name string) *volume {
	if v := byName(s.left, name); v != nil {
		return v
	}
	return s.named(name)
}

// inKernel reports whether DRBD may have a device of that number, which it has without drbd-utils too. Where nobody can tell it
// has.
func inKernel(minor int) bool {
	const all = "/sys/block"
	if !there(all) {
		return true
	}
	_, err := os.Lstat(filepath.Join(all, filepath.Base(device(minor))))
	return !errors.Is(err, fs.ErrNotExist)
}
