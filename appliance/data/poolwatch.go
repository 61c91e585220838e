package data

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// watchBusy is how often the pool is looked at while much is written: a resync, or a pool that is tight.
	watchBusy = 5 * time.Second
	// beforeResyncTime bounds the snapshot before a resync: DRBD waits for it, and so do the owner's writes, until they take this
	// head for dead after timeout times ko-count (0.9 s, 7 by default: drbd.conf(5)).
	beforeResyncTime = 4 * time.Second
	// beforeResyncAgain is for how long the next resync has the snapshot of the one before: a connection that is lost again and
	// again would else put the same few states in the place of those that were kept.
	beforeResyncAgain = time.Minute
)

// watch warns of a pool that becomes full, makes room in time, and says when it is to be looked at again. Both heads have
// pools of their own.
func (t thin) watch(ctx context.Context) time.Duration {
	device, g, err := t.whole(ctx)
	if err != nil {
		if ctx.Err() == nil {
			t.s.cfg.Log.Debug("pool of snapshots", "volume", t.v.Name, "err", err) // there is none yet, or it is asked again
			t.lookAgain()
		}
		return snapshotEvery
	}
	t.resume(ctx, device, g)
	g = t.relieve(ctx, g)
	t.prune(ctx, g)
	text := g.pool().warns()
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if text != "" && t.v.pool == "" {
		t.s.cfg.Event("data "+t.v.Name+": "+text, true)
	}
	if t.v.pool != text {
		t.v.pool = text
		t.s.tell()
	}
	if text != "" || t.v.look.Copy.Syncing() {
		return watchBusy
	}
	return snapshotEvery
}

// lookAgain has a device looked at again that was not masthead's: a person may have done what was said of it.
func (t thin) lookAgain() {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.v.look.Meta == MetaForeign {
		t.v.look.Meta, t.v.look.Foreign = MetaUnknown, ""
		t.s.tell()
	}
}

// resume has a volume go on that was left suspended: a program of LVM was killed all the same, as by a kernel without memory.
func (t thin) resume(ctx context.Context, device string, g *Group) {
	if !g.named(t.v.Name).Suspended { // LVM's lock keeps what is suspended for a moment from being seen
		return
	}
	if _, err := t.s.cfg.Tools.Run(ctx, nil, t.v.resumes(device, g.Name)...); err != nil {
		t.s.cfg.Log.Warn("logical volume that is suspended", "volume", t.v.Name, "err", err) // tried again at the next look
	}
}

// relieve removes snapshots that masthead has made by itself, the oldest first, while the pool is full, and gives the group as it
// is then. One that cannot be removed does not keep the others. Where a removal gives nothing back, the next is left for the next
// look: either something else holds the room, or two snapshots share it.
func (t thin) relieve(ctx context.Context, g *Group) *Group {
	var failed []string
	stays := func(name string) bool { return slices.Contains(failed, name) || t.s.stays(t, t.v, name) != "" }
	for first := true; g.pool().most() >= fullPool && ctx.Err() == nil; first = false {
		name, ok := spare(t.v.snapshots(g), stays)
		if !ok {
			break
		}
		if first {
			_ = t.message(ctx, releaseMetadata) // of one who was killed; sizes that are being read are not known then
		}
		if err := t.remove(ctx, name); err != nil {
			t.s.cfg.Log.Warn("a full pool keeps a snapshot", "volume", t.v.Name, "snapshot", name, "err", err) // tried again at the next look
			failed = append(failed, name)
			continue
		}
		t.s.cfg.Event(fmt.Sprintf("data %s: the snapshot %s is removed: its pool was %.0f %% full", t.v.Name, name, g.pool().most()), true)
		_, now, err := t.whole(ctx)
		if err != nil {
			break // what is known is said, and it is looked again soon
		}
		before := g.pool()
		if g = now; g.pool().most() >= before.most() {
			break
		}
	}
	return g
}

// prune removes what is more than is kept of each kind, also on a head that does not own: it has a snapshot more with each resync,
// and makes none by a schedule.
func (t thin) prune(ctx context.Context, g *Group) {
	for _, old := range surplus(t.v.snapshots(g), t.v.Volume.Snapshots, nil) {
		if t.s.stays(t, t.v, old) != "" {
			continue
		}
		if err := t.remove(ctx, old); err != nil {
			t.s.cfg.Log.Warn("old snapshot", "volume", t.v.Name, "snapshot", old, "err", err) // tried again at the next look
		}
	}
}

// beforeResync keeps what this copy has before it becomes that of the other head. A copy that is half of something is not
// worth it.
func (t thin) beforeResync(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, beforeResyncTime)
	defer cancel()
	t.s.mu.Lock()
	l := t.v.look
	t.s.mu.Unlock()
	if l.Meta == MetaNew || l.Copy.Disk == inconsistent {
		return
	}
	done := make(chan error)
	go func() { // ends with the programs
		made, err := t.takeBefore(ctx, l.Copy.OutOfSync<<10)
		select {
		case done <- err:
		case <-ctx.Done():
			if made == "" {
				return
			}
			if err := t.remove(context.WithoutCancel(ctx), made); err != nil { // it has part of what the resync writes
				t.s.cfg.Log.Warn("snapshot that came too late", "volume", t.v.Name, "snapshot", made, "err", err)
			}
		}
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = errors.New("LVM takes too long for it")
	}
	if err != nil {
		t.s.cfg.Event(fmt.Sprintf("data %s: no snapshot before the resync: %v", t.v.Name, err), true)
	}
}

// takeBefore gives the name of the snapshot; empty: none was made. What has begun when ctx ends is waited for.
func (t thin) takeBefore(ctx context.Context, change int64) (made string, err error) {
	device, g, err := t.whole(ctx)
	if err != nil {
		return "", err
	}
	for _, one := range t.v.snapshots(g) {
		if age := time.Since(one.Time); one.Kind == KindResync && age >= 0 && age < beforeResyncAgain {
			return "", nil
		}
	}
	if why := g.pool().refuses(change); why != "" {
		return "", refuse("masthead snapshot rm", "%s", why)
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	made = snapshotName(time.Now(), KindResync)
	if _, err := t.s.cfg.Tools.Run(context.WithoutCancel(ctx), nil, t.v.takes(device, g.Name, made)...); err != nil {
		return "", err
	}
	return made, nil
}
