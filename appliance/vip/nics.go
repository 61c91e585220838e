package vip

import (
	"errors"
	"sync"

	"github.com/vishvananda/netlink"
)

// nics finds interfaces by name, also those that have had it: udev renames cards while they are up, late in a boot, and the
// configuration with the new names comes a moment later. Its methods may be called by many goroutines.
type nics struct {
	mu     sync.Mutex
	number map[string]int // of each name, when it was found last
}

// find gives the interface of that name, or the one that had it, if that is called otherwise now.
func (n *nics) find(name string) (link netlink.Link, renamed bool, err error) {
	link, err = netlink.LinkByName(name)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		n.number[name] = link.Attrs().Index
		return link, false, nil
	}
	var gone netlink.LinkNotFoundError
	number, known := n.number[name]
	if !known || !errors.As(err, &gone) {
		return nil, false, err
	}
	if link, err := netlink.LinkByIndex(number); err == nil {
		return link, true, nil
	}
	delete(n.number, name) // numbers are given out again
	return nil, false, err
}
