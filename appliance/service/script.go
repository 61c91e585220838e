package service

import (
	"context"
	"errors"
	"fmt"
)

// script is an init script (LSB Core 5.0, 22.2).
type script struct {
	world
	Script
	env []string
}

// Exit codes of init scripts, status excepted.
const (
	lsbArguments     = 2
	lsbUnimplemented = 3
	lsbPrivilege     = 4
	lsbInstalled     = 5
	lsbConfigured    = 6
)

func (s script) do(ctx context.Context, action string) (outcome, error) {
	argv := append([]string{s.File}, s.Args...)
	return s.run(ctx, command{argv: append(argv, action), env: s.env})
}

func (s script) start(ctx context.Context) error {
	o, err := s.do(ctx, "start")
	if err != nil {
		return notThere(withOutput(err, o))
	}
	switch o.exit {
	case 0:
		return nil
	case lsbArguments, lsbUnimplemented, lsbPrivilege, lsbConfigured:
		return &failure{error: exitError(o, ""), hard: true}
	case lsbInstalled:
		return &failure{error: exitError(o, "not installed"), hard: true, clean: true}
	}
	return exitError(o, "")
}

func (s script) stop(ctx context.Context) error {
	o, err := s.do(ctx, "stop")
	if err != nil {
		return withOutput(err, o)
	}
	if o.exit != 0 {
		return exitError(o, "")
	}
	return nil
}

func (s script) check(ctx context.Context) (verdict, error) {
	o, err := s.do(ctx, "status")
	if err != nil {
		return missing(err), withOutput(err, o)
	}
	return lsbStatus(o)
}

// lsbStatus is the exit code of the action status: 0 runs, 1 and 2 died and left a pid or lock file, 3 is not running, 4
// unknown.
func lsbStatus(o outcome) (verdict, error) {
	switch o.exit {
	case 0:
		return up, nil
	case 3:
		return down, exitError(o, "not running")
	case 1, 2:
		return bad, exitError(o, "dead")
	}
	return bad, exitError(o, "status unknown")
}

// commands is a script in single commands.
type commands struct {
	world
	Script
	env []string
}

func (c commands) line(ctx context.Context, line string) error {
	o, err := c.run(ctx, command{argv: shell(c.env, line), env: c.env})
	if err != nil {
		return withOutput(err, o)
	}
	if o.exit != 0 {
		return exitError(o, "")
	}
	return nil
}

func (c commands) start(ctx context.Context) error { return c.line(ctx, c.Start) }

func (c commands) stop(ctx context.Context) error {
	if c.Stop == "" {
		return nil
	}
	return c.line(ctx, c.Stop)
}

func (c commands) check(ctx context.Context) (verdict, error) {
	if c.Status == "" {
		return unclear, nil
	}
	o, err := c.run(ctx, command{argv: shell(c.env, c.Status), env: c.env})
	if err != nil {
		return missing(err), withOutput(err, o)
	}
	switch o.exit {
	case 0:
		return up, nil
	case 1, 3: // pgrep, test; init scripts, systemctl is-active
		return down, exitError(o, "not running")
	}
	return bad, exitError(o, "status unknown")
}

// exitError is a program that ended with another code than 0.
func exitError(o outcome, meaning string) error {
	text := fmt.Sprintf("exit code %d", o.exit)
	if meaning != "" {
		text += " (" + meaning + ")"
	}
	if r := reasonOf(o.output); r != "" {
		text += ": " + r
	}
	return errors.New(text)
}

// withOutput adds to an error what the program said before.
func withOutput(err error, o outcome) error {
	if r := reasonOf(o.output + o.errors); r != "" {
		return fmt.Errorf("%w: %s", err, r)
	}
	return err
}

// notThere is the error of a start that could not begin as a failure without consequences.
func notThere(err error) error {
	if errors.Is(err, errNotThere) {
		return &failure{error: err, clean: true, hard: true}
	}
	return err
}

// missing is what a check has found that could not be made.
func missing(err error) verdict {
	if errors.Is(err, errNotThere) {
		return absent
	}
	return bad
}
