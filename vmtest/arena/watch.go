package arena

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"masthead/vmtest/prober"
)

// Watch is a prober that runs on a machine, as another station beside it.
type Watch struct {
	*prober.Record
	wire   *Wire
	cancel context.CancelFunc
	done   chan error
}

// stationAddress is what the probers of all arenas have.
var stationAddress = netip.MustParseAddr("10.9.0.200")

// Watch asks for an address from now on, until Close.
func (m *Machine) Watch(target netip.Addr) (*Watch, error) {
	if _, err := m.Run("ip", "link", "set", NIC, "promisc", "on"); err != nil {
		return nil, err
	}
	wire, err := m.Wire()
	if err != nil {
		return nil, err
	}
	mac := append(net.HardwareAddr(nil), m.MAC...)
	mac[5] = 0xee // not the kernel's own, which would answer too
	p, err := prober.New(wire, mac, stationAddress, target)
	if err != nil {
		return nil, errors.Join(err, wire.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watch{Record: p.Record, wire: wire, cancel: cancel, done: make(chan error, 1)}
	go func() { w.done <- p.Run(ctx) }()
	return w, nil
}

// Close ends it. The record stays.
func (w *Watch) Close() error {
	w.cancel()
	err := <-w.done
	_ = w.wire.Close() // the end of the prober has closed it, mostly
	return err
}
