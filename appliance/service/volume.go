package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// volume is a replicated volume: first this head's copy becomes the one that is written to, then its file system and its
// folders are mounted.
type volume struct {
	world
	name string
	env  []string
}

func (v volume) start(ctx context.Context) error {
	if v.volumes == nil {
		return &failure{error: errors.New("this head has no replicated data"), clean: true, hard: true}
	}
	if err := v.volumes.Promote(ctx, v.name); err != nil {
		return err
	}
	for i, m := range v.volumes.Mounts(v.name) {
		if err := v.mount(m).start(ctx); err != nil {
			return err
		}
		if i == 0 {
			if err := v.volumes.Prepare(ctx, v.name); err != nil {
				return err
			}
		}
	}
	return context.Cause(ctx)
}

func (v volume) stop(ctx context.Context) error {
	if v.volumes == nil {
		return nil
	}
	for _, m := range slices.Backward(v.volumes.Mounts(v.name)) {
		if err := v.mount(m).stop(ctx); err != nil {
			return err
		}
	}
	return v.volumes.Demote(ctx, v.name)
}

func (v volume) check(ctx context.Context) (verdict, error) {
	if v.volumes == nil {
		return down, nil
	}
	mounts := v.volumes.Mounts(v.name)
	mounted := 0
	var problem error
	for _, m := range mounts {
		switch verdict, err := v.mount(m).check(ctx); {
		case verdict == up:
			mounted++
		case verdict != down:
			problem = fmt.Errorf("%s: %w", m.Path, err)
		case problem == nil:
			problem = fmt.Errorf("%s %w", m.Path, err)
		}
	}
	primary, err := v.volumes.Primary(v.name)
	switch {
	case errors.Is(err, ErrUnclear), err != nil && mounted == 0:
		return unclear, err
	case err != nil:
		return bad, err
	case !primary && mounted == 0:
		return down, errors.New("this copy only follows")
	case !primary:
		return bad, errors.New("this copy only follows, and is mounted")
	case problem != nil:
		return bad, problem
	}
	return up, nil
}

func (v volume) mount(m Filesystem) filesystem { return filesystem{v.world, m, v.env} }
