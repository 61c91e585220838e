package kmod

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

const (
	// maxRounds bounds how often Coldplug looks for devices that its own drivers brought up. Bridges behind bridges
	// take one round each; a machine needs three or four.
	maxRounds = 12

	// parallel is how many modules are loaded at once. Disk controllers may take ten seconds to probe, NICs one or two.
	parallel = 4
)

// Coldplug loads the modules for all hardware that is there, and for what appears because of them, until nothing new
// does. It returns the names of what it loaded. What fails does not stop it: err joins an Error for each module.
//
// Devices that announce themselves later (USB) are for Watch.
func (l *Loader) Coldplug(ctx context.Context) (loaded []string, err error) {
	seen := map[string]bool{}
	failed := map[string]error{}
	for range maxRounds {
		devices, err := l.devices()
		if err != nil {
			return loaded, err
		}
		fresh := slices.DeleteFunc(devices, func(d string) bool { return seen[d] })
		if len(fresh) == 0 {
			break
		}
		for _, d := range fresh {
			seen[d] = true
		}
		more, errs, err := l.plug(ctx, fresh)
		loaded = append(loaded, more...)
		if err != nil {
			return loaded, err
		}
		maps.Copy(failed, errs)
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		errs = append(errs, failed[name])
	}
	return loaded, errors.Join(errs...)
}

// plug loads the modules for devices. failed is by module; err is only that ctx ended.
func (l *Loader) plug(ctx context.Context, devices []string) (loaded []string, failed map[string]error, err error) {
	var names []string
	for _, d := range devices {
		for _, name := range l.table.Match(d) {
			if !l.options.blacklist[name] && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	type result struct {
		loaded []string
		err    error
	}
	results := make([]result, len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, name := range names {
		g.Go(func() error {
			results[i].loaded, results[i].err = l.load(ctx, name, "", false)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	failed = map[string]error{}
	for i, r := range results {
		loaded = append(loaded, r.loaded...)
		if r.err != nil {
			failed[names[i]] = r.err
		}
	}
	return loaded, failed, nil
}

// devices lists the modaliases of all devices, each once, in a fixed order.
func (l *Loader) devices() ([]string, error) {
	var all []string
	// Every device that drivers bind to is on a bus; the machine itself is in class dmi.
	for _, pattern := range []string{"bus/*/devices/*/modalias", "class/dmi/*/modalias"} {
		files, err := filepath.Glob(filepath.Join(l.sys, pattern))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				continue // it went away, or has none
			}
			if s := strings.TrimSpace(string(data)); s != "" {
				all = append(all, s)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
