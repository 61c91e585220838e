package cluster

import (
	"errors"
	"fmt"
	"slices"

	"masthead/images"
	"masthead/vmtest"
)

// Check says what a lab lacks to come up as a cluster with so many heads, before anything is switched on: heads that its
// file has not off, and the ports by which they are reached. All that is wrong, joined.
func Check(config vmtest.Config, heads int) error {
	var errs []error
	on := starting(config, images.RoleHead)
	if len(on) < heads {
		errs = append(errs, fmt.Errorf("machines: want %s with role: head that comes up with the lab, got %d", count(heads, "machine"), len(on)))
	}
	for _, name := range on[:min(heads, len(on))] { // the others are reached through the first
		if config.Machines[name].Forward[HTTPS] == 0 {
			errs = append(errs, fmt.Errorf("machines.%s.forward: want {%s: 443}, by which the head is reached", name, HTTPS))
		}
	}
	return errors.Join(errs...)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// starting lists the machines with a role that the lab file has not off.
func starting(config vmtest.Config, role images.Role) []string {
	return slices.DeleteFunc(named(config, role), func(name string) bool { return config.Machines[name].Off })
}
