package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// volume is a replicated volume: first this head's copy becomes the one that is written to, then its file system and its
// folders are mounted.
type volume struct {
	world
	name string
	env  []string
	soon time.Duration // within which it can be used, but for filling its folders
}

func (v volume) start(ctx context.Context) error {
	if v.volumes == nil {
		return &failure{error: errors.New("this head has no replicated data"), clean: true, hard: true}
	}
	mounts := v.volumes.Mounts(v.name)
	folders := mounts[min(1, len(mounts)):]
	err := v.within(ctx, func(ctx context.Context) error {
		if err := v.volumes.Promote(ctx, v.name); err != nil {
			return err
		}
		return v.mountAll(ctx, mounts[:len(mounts)-len(folders)])
	})
	if err != nil {
		return err
	}
	if err := v.volumes.Prepare(ctx, v.name); err != nil {
		return err
	}
	if err := v.within(ctx, func(ctx context.Context) error { return v.mountAll(ctx, folders) }); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// within does what a takeover waits for.
func (v volume) within(ctx context.Context, do func(ctx context.Context) error) error {
	short, cancel := context.WithTimeoutCause(ctx, v.soon, timeoutError{v.soon})
	defer cancel()
	err := do(short)
	if err != nil && short.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", context.Cause(short), err)
	}
	return err
}

func (v volume) mountAll(ctx context.Context, mounts []Filesystem) error {
	for _, m := range mounts {
		if err := v.mount(m).start(ctx); err != nil {
			return err
		}
	}
	return nil
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
