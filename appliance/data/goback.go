package data

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// wish lies on the logical volume, since the snapshots are this head's: it is fulfilled when the service is started again, under
// the same epoch.
func (t thin) wish(ctx context.Context, snapshot string) error {
	device, g, err := t.whole(ctx)
	if err != nil {
		return err
	}
	if why := g.pool().refuses(0); why != "" {
		return refuse("masthead snapshot rm", "%s cannot go back: %s", t.v.Name, why)
	}
	s := t.s
	s.mu.Lock()
	view, look := s.view, t.v.look
	major := s.cfg.Major
	s.mu.Unlock()
	if major >= 9 {
		return refuse("masthead snapshot diff "+snapshot, "%s cannot go back: that is done with DRBD 8.4 alone, and this kernel has %d", t.v.Name, major)
	}
	w := Wish{snapshot, view.Record.Epoch}
	look.Back = w
	if why := look.notBack(view); why != "" {
		return refuse("masthead data status -w", "%s cannot go back: %s", t.v.Name, why)
	}
	if err := t.forget(ctx, device, g); err != nil {
		return err
	}
	if err := t.run(ctx, device, "lvchange", "--addtag", w.tag(), g.Name+"/"+t.v.Name); err != nil {
		return err
	}
	s.mu.Lock()
	t.v.look.Back = w
	s.mu.Unlock()
	return nil
}

func (t thin) wished() string {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	return t.v.look.Back.Snapshot
}

// forget takes all wishes off the logical volume.
func (t thin) forget(ctx context.Context, device string, g *Group) error {
	t.s.mu.Lock()
	t.v.look.Back = Wish{}
	t.s.mu.Unlock()
	for _, w := range wishes(g.named(t.v.Name).Tags) {
		if err := t.run(ctx, device, "lvchange", "--deltag", w.tag(), g.Name+"/"+t.v.Name); err != nil {
			return err
		}
	}
	return nil
}

// connectTime is how long the other copy is waited for after this one went back. Without it a promotion would have to ask
// whether the other head writes.
const connectTime = 10 * time.Second

// goBack puts a snapshot in the place of a copy that nobody writes to. What cannot be is told, and the volume stays what it is.
func (s *Set) goBack(ctx context.Context, v *volume) error {
	t := thin{s, v}
	s.mu.Lock()
	view, look := s.view, v.look
	s.mu.Unlock()
	to := look.Back.Snapshot
	err := func() error {
		if why := look.notBack(view); why != "" {
			return errors.New(why)
		}
		return t.replace(ctx, to, view.Peer.Name == "")
	}()
	if err != nil && ctx.Err() != nil {
		return err // the daemon ends; the next one goes on
	}
	if err != nil {
		s.cfg.Event(fmt.Sprintf("data %s: not rolled back: %v", v.Name, err), true)
		if _, err := s.moves(ctx, v, Mend); err != nil {
			return err
		}
		device, g, err := t.whole(ctx)
		if err != nil {
			return err
		}
		return t.forget(ctx, device, g) // and the next step gives the kernel what there is
	}
	s.mu.Lock()
	v.look.Back, v.look.WentBack = Wish{}, look.Back.Epoch
	s.mu.Unlock()
	s.cfg.Event(fmt.Sprintf("data %s: went back to the snapshot %s", v.Name, to), false)
	if _, err := s.moves(ctx, v, Mend); err != nil {
		return err
	}
	if err := s.up(ctx, v); err != nil {
		return err
	}
	s.await(ctx, v, func(c Copy) bool { return c.There })
	if look.Copy.Connected() {
		s.await(ctx, v, func(c Copy) bool { return c.Connected() && c.Disk == upToDate })
	}
	return nil
}

// replace makes a copy of a snapshot ready beside the volume, and gives it the volume's name. Before the last of its steps the
// volume is what it was, or is made so again by Volume.move; after that it has gone back.
func (t thin) replace(ctx context.Context, snapshot string, alone bool) error {
	s, name := t.s, t.v.Name
	device, g, err := t.whole(ctx)
	if err != nil {
		return err
	}
	if g.named(t.v.kept(snapshot)) == nil {
		return fmt.Errorf("there is no snapshot %q", snapshot)
	}
	if err := s.down(ctx, t.v); err != nil {
		return err
	}
	out, err := s.cfg.Tools.Run(ctx, s.node(), "drbdadm", "-c", s.conf(), "get-gi", name)
	if err != nil {
		return err
	}
	now, err := parseGenerations(out)
	if err != nil {
		return err
	}
	if !now.Consistent || !now.UpToDate {
		return errors.New("this copy is not up to date")
	}
	if g.named(t.v.next()) != nil {
		if err := t.run(ctx, device, "lvremove", "--yes", g.Name+"/"+t.v.next()); err != nil {
			return err
		}
	}
	if _, err := s.cfg.Tools.Run(ctx, nil, t.v.copies(device, g.Name, snapshot)...); err != nil {
		return err
	}
	// What DRBD noted in the snapshot is of that time: with its generations the other copy would count as the newer, or as the
	// same. All else of it stays, above all the size on which the two heads have agreed (la-size-sect): create-md would forget it,
	// the copy would be as large as its volume is, and DRBD refuse a smaller other one.
	conf := filepath.Join(s.cfg.Dir, name+".next.conf")
	beside := func(v Volume, head string) string { return logicalPath(groupName(v.device(head)), v.next()) }
	if err := renameio.WriteFile(conf, []byte(s.cfg.render(beside)), 0o600); err != nil {
		return fmt.Errorf("write DRBD's configuration: %w", err)
	}
	next := now.replaced(newGeneration(), alone)
	if _, err := s.cfg.Tools.Run(ctx, s.node(), "drbdadm", "-c", conf, "--", "--force", next.String(), "set-gi", name); err != nil {
		return err
	}
	// The snapshot was made of a copy in use, whose activity log has extents. After set-gi the copy counts as one that nobody
	// writes to, of which drbdmeta only begins the log anew, even where it cannot be read (meta_apply_al): all of it is copied anyway.
	if err := s.admBy(ctx, conf, "apply-al", name); err != nil {
		return err
	}
	if err := t.run(ctx, device, "lvrename", g.Name, name, t.v.kept(snapshotName(time.Now(), KindRollback))); err != nil {
		return err
	}
	return t.run(ctx, device, "lvrename", g.Name, t.v.next(), name)
}

// newGeneration is one that no copy has.
func newGeneration() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	// None of those that mean something by themselves (drbd.h, UUID_JUST_CREATED), nor that of a primary.
	return (binary.BigEndian.Uint64(b[:]) | 1<<63) &^ 1
}

// await waits until the kernel has said that a copy is so, for connectTime at most. What it says comes after what was done: who
// looks before would do it again.
func (s *Set) await(ctx context.Context, v *volume, is func(Copy) bool) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !is(v.look.Copy) {
		if s.wait(ctx) != nil {
			return
		}
	}
}
