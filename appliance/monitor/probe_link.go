package monitor

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func (l *Link) probe() probe {
	var seen atomic.Bool
	return func(context.Context) Result {
		link, err := netlink.LinkByName(l.NIC)
		var gone netlink.LinkNotFoundError
		switch {
		case errors.As(err, &gone) && seen.Load():
			return down("%s is gone", l.NIC) // was pulled, or its driver gave it up
		case err != nil:
			return unknown("%s: %v", l.NIC, err) // never seen: a slip of the pen is no failure
		}
		seen.Store(true)
		switch flags := link.Attrs().RawFlags; {
		case flags&unix.IFF_UP == 0:
			return down("%s is switched off", l.NIC)
		case flags&unix.IFF_LOWER_UP == 0:
			return down("%s has no carrier", l.NIC)
		}
		return up("%s has a carrier", l.NIC)
	}
}
