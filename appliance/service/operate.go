package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

var errCut = errors.New("broken off")

// timeoutError is an operation that took too long.
type timeoutError struct{ after time.Duration }

func (e timeoutError) Error() string { return fmt.Sprintf("did not end within %v", e.after) }

// resource is one kind of resource. Its methods block; when ctx ends they end what they do, and return.
type resource interface {
	start(ctx context.Context) error
	stop(ctx context.Context) error
	check(ctx context.Context) (verdict, error)
}

// failure is an error that says more than that something failed.
type failure struct {
	error
	clean       bool // a start that has done nothing
	hard, fatal bool // see result
}

func (f *failure) Unwrap() error { return f.error }

// job is an operation with all that it needs.
type job struct {
	service string
	res     Resource
	op      op
	env     []string
	limit   time.Duration
}

// world is what resources act on: the effects of a Group.
type world struct {
	run       runner
	addresses Addresses
	volumes   Volumes
	links     links
	systemd   func() bool // the machine runs it
	log       *slog.Logger
}

// operate performs an operation. It returns when that has ended, which after ctx ends is soon, unless the kernel holds it.
func (w world) operate(ctx context.Context, j job) result {
	ctx, cancel := context.WithTimeoutCause(ctx, j.limit, timeoutError{j.limit})
	defer cancel()
	res := w.resource(j)
	var r result
	switch j.op {
	case check:
		r.verdict, r.err = res.check(ctx)
		if r.verdict != up && r.err == nil && r.verdict != unclear {
			r.err = errors.New("is not running")
		}
	case start:
		r.err = res.start(ctx)
	case stop:
		r.err = res.stop(ctx)
		if r.err != nil && ctx.Err() == nil {
			// Many init scripts answer a stop of what is stopped with an error, though they should not (LSB Core, 22.2).
			if v, _ := res.check(ctx); v == down {
				w.log.Info("a stop failed, and it is stopped", "service", j.service, "resource", j.res.Label(), "err", r.err)
				r.err = nil
			}
		}
	}
	var f *failure
	if errors.As(r.err, &f) {
		r.clean, r.hard, r.fatal = f.clean, f.hard, f.fatal
	}
	if ctx.Err() != nil && r.err != nil {
		cause := context.Cause(ctx)
		var late timeoutError
		r.cut = !errors.As(cause, &late)
		r.clean = false
		if !errors.Is(r.err, cause) {
			r.err = fmt.Errorf("%w: %w", cause, r.err)
		}
	}
	return r
}

func (w world) resource(j job) resource {
	switch r := j.res; {
	case r.IP != nil:
		return ip{w, *r.IP}
	case r.Unit != nil:
		return unit{w, *r.Unit, j.env}
	case r.Script != nil && r.Script.File != "":
		return script{w, *r.Script, j.env}
	case r.Script != nil:
		return commands{w, *r.Script, j.env}
	case r.OCF != nil:
		return newOCF(w, j)
	case r.Data != nil:
		return volume{w, r.Data.Volume, j.env, cmp.Or(r.StartTimeout, DefaultStart)}
	default:
		return filesystem{w, *r.Filesystem, j.env}
	}
}
