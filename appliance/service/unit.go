package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// unit is a systemd unit, by systemctl(1).
type unit struct {
	world
	Unit
	env []string
}

// booted reports whether systemd is the init of this machine (sd_booted(3)).
func booted() bool {
	st, err := os.Lstat("/run/systemd/system")
	return err == nil && st.IsDir()
}

// errNoSystemd is for units on a machine without systemd.
var errNoSystemd = errors.New("this machine does not run systemd: use a script or an OCF agent in place of the unit")

// full is the name with its suffix, as systemctl completes it.
func (u Unit) full() string {
	if i := strings.LastIndexByte(u.Name, '.'); i > 0 {
		switch u.Name[i+1:] {
		case "service", "socket", "target", "mount", "automount", "timer", "path", "slice", "scope", "swap", "device":
			return u.Name
		}
	}
	return u.Name + ".service"
}

func (u unit) start(ctx context.Context) error {
	show, err := u.show(ctx)
	if err != nil {
		return &failure{error: err, clean: true, hard: true}
	}
	if load := show["LoadState"]; load != "loaded" {
		return &failure{error: fmt.Errorf("the unit is %s", load), clean: true, hard: true}
	}
	if show["ActiveState"] == "failed" {
		// Else the limit of starts (systemd.unit(5), StartLimitBurst) would count those before.
		_, _ = u.systemctl(ctx, "reset-failed")
	}
	return u.must(ctx, "start")
}

func (u unit) stop(ctx context.Context) error { return u.must(ctx, "stop") }

func (u unit) check(ctx context.Context) (verdict, error) {
	show, err := u.show(ctx)
	if errors.Is(err, errNoSystemd) {
		return absent, err
	}
	if err != nil {
		return missing(err), err
	}
	why := fmt.Errorf("the unit is %s (%s)", show["ActiveState"], show["SubState"])
	if r := show["Result"]; r != "" && r != "success" {
		why = fmt.Errorf("%w: %s", why, r)
	}
	switch show["ActiveState"] {
	case "active", "reloading", "refreshing":
		return up, nil
	case "activating":
		// Its own Restart= is at work. What comes of it the next check sees; it ends in "failed".
		return up, nil
	case "inactive", "failed":
		return down, why
	}
	return bad, why // deactivating, maintenance
}

// show asks systemd for the unit's state.
func (u unit) show(ctx context.Context) (map[string]string, error) {
	if !u.systemd() {
		return nil, errNoSystemd
	}
	o, err := u.run(ctx, command{argv: []string{"systemctl", "show", "--property=LoadState,ActiveState,SubState,Result", "--", u.full()}, env: u.env, apart: true})
	if err != nil {
		return nil, withOutput(err, o)
	}
	if o.exit != 0 {
		return nil, exitError(outcome{exit: o.exit, output: o.errors}, "systemctl show")
	}
	show := map[string]string{}
	for line := range strings.Lines(o.output) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			show[name] = value
		}
	}
	if show["ActiveState"] == "" {
		return nil, fmt.Errorf("systemctl show says nothing of %s", u.full())
	}
	return show, nil
}

func (u unit) systemctl(ctx context.Context, action string) (outcome, error) {
	if !u.systemd() {
		return outcome{}, errNoSystemd
	}
	return u.run(ctx, command{argv: []string{"systemctl", "--no-ask-password", action, "--", u.full()}, env: u.env})
}

func (u unit) must(ctx context.Context, action string) error {
	o, err := u.systemctl(ctx, action)
	if err != nil {
		return withOutput(err, o)
	}
	if o.exit != 0 {
		return exitError(o, "")
	}
	return nil
}
