package data

import (
	"context"
	"fmt"
	"path/filepath"
)

// mostMoves bounds the moves in a row: each is one of a handful, and makes the next one another.
const mostMoves = 20

// beneath finds out what is on the device of a copy, beneath what DRBD has: MetaThere is a logical volume to look at further, or
// a device without one. What was interrupted is put right, and nothing that is blank is taken.
func (s *Set) beneath(ctx context.Context, v *volume) (Meta, string, error) {
	s.mu.Lock()
	used := v.look.Copy.There
	s.mu.Unlock()
	if v.snapshotsBy() != LVM || used {
		return MetaThere, "", nil
	}
	m, err := s.moves(ctx, v, Mend)
	if err != nil {
		return MetaUnknown, "", err
	}
	switch m.Kind {
	case Make:
		return MetaBlank, "", nil
	case Foreign:
		s.mu.Lock()
		v.look.Foreign = m.Why
		s.mu.Unlock()
		return MetaForeign, "", nil
	}
	return MetaThere, "", s.remember(ctx, v)
}

// lay makes the group, its pool and the logical volume of a copy on a blank device, as far as they are not there.
func (s *Set) lay(ctx context.Context, v *volume) error {
	if v.snapshotsBy() != LVM {
		return nil
	}
	if _, err := s.cfg.Tools.Run(ctx, nil, "thin_check", "-V"); err != nil { // which LVM wants for each pool, late
		return err
	}
	m, err := s.moves(ctx, v, Make)
	if err == nil && m.Kind != Stands {
		err = fmt.Errorf("data %s: %s", v.Name, m.Why)
	}
	return err
}

// moves does what is to be done beneath a copy, as far as it is not worse than most, and gives the first that is not done.
func (s *Set) moves(ctx context.Context, v *volume, most MoveKind) (Move, error) {
	s.laying.Lock()
	defer s.laying.Unlock()
	if err := s.cfg.load("dm-thin-pool"); err != nil { // a root without modprobe does not do so by itself
		return Move{}, err
	}
	t := thin{s, v}
	for range mostMoves {
		empty, err := s.cfg.Tools.Blank(v.device(s.cfg.Self))
		if err != nil {
			return Move{}, err
		}
		device, g, err := t.group(ctx)
		if err != nil {
			return Move{}, err
		}
		m := v.move(device, t.name(), empty, g)
		if m.Kind == Stands || m.Kind > most {
			return m, nil
		}
		if _, err := s.cfg.Tools.Run(ctx, nil, m.Argv...); err != nil {
			return m, err
		}
	}
	return Move{}, fmt.Errorf("data %s: LVM on %s stays half done", v.Name, v.device(s.cfg.Self))
}

// remember reads the wish to go back that lies on the logical volume.
func (s *Set) remember(ctx context.Context, v *volume) error {
	_, g, err := thin{s, v}.group(ctx)
	if err != nil || g == nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if live := g.named(v.Name); live != nil {
		for _, w := range wishes(live.Tags) {
			v.look.Back = w
		}
	}
	return nil
}

// lacking is what the kernel of a head does not have.
type lacking struct {
	module string
	err    error
}

func (l *lacking) Error() string {
	return fmt.Sprintf("the kernel of this head has no %s: %v", l.module, l.err)
}
func (l *lacking) Unwrap() error { return l.err }
func (l *lacking) Try() string {
	return "give the image of the heads a kernel with the module " + l.module
}

// load loads a module that a volume needs.
func (c *Config) load(module string) error {
	if c.Load == nil {
		return nil
	}
	if err := c.Load(module); err != nil {
		return &lacking{module, err}
	}
	return nil
}

// thin is a volume that lies on a thin logical volume.
type thin struct {
	s *Set
	v *volume
}

func (t thin) name() string { return groupName(t.v.device(t.s.cfg.Self)) }

// device is the block device beneath, by the name that LVM knows.
func (t thin) device() (string, error) {
	device, err := filepath.EvalSymlinks(t.v.device(t.s.cfg.Self))
	if err != nil {
		return "", fmt.Errorf("look at the device: %w", err)
	}
	return device, nil
}

// group is the volume group on the device; nil: none.
func (t thin) group(ctx context.Context) (device string, g *Group, err error) {
	if device, err = t.device(); err != nil {
		return "", nil, err
	}
	out, err := t.s.cfg.Tools.Run(ctx, nil, lookAtGroups(device)...)
	if err != nil {
		return device, nil, err
	}
	all, err := parseGroups(out)
	if err != nil || len(all) == 0 {
		return device, nil, err
	}
	g = &all[0]
	g.Volumes, err = t.volumes(ctx, device, g.Name)
	return device, g, err
}

func (t thin) volumes(ctx context.Context, device, group string) ([]Logical, error) {
	out, err := t.s.cfg.Tools.Run(ctx, nil, lookAtVolumes(device, group)...)
	if err != nil {
		return nil, err
	}
	return parseLogicals(out)
}

// whole is the group of a volume that is in use. It is looked at often, and needs one program.
func (t thin) whole(ctx context.Context) (device string, g *Group, err error) {
	g = &Group{Name: t.name()}
	if device, err = t.device(); err == nil {
		g.Volumes, err = t.volumes(ctx, device, g.Name)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("data %s: %w", t.v.Name, err)
	case g.named(t.v.Name) == nil:
		err = fmt.Errorf("data %s: there is no logical volume %s/%[1]s", t.v.Name, g.Name)
	}
	return device, g, err
}
