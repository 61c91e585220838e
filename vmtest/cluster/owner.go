package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"time"

	"masthead/node/wire"
	"masthead/vmtest/prober"
)

var placeholder = regexp.MustCompile(`\$\{management\.([a-z0-9.-]+)\}`)

// Document is the lab's configuration of the cluster, with what only a running lab knows.
func (c *Cluster) Document() (string, error) {
	var errs []error
	text := placeholder.ReplaceAllStringFunc(c.Config().Cluster, func(word string) string {
		name := placeholder.FindStringSubmatch(word)[1]
		m := c.Machine(name)
		if m == nil {
			errs = append(errs, fmt.Errorf("%s: no such machine", word))
			return word
		}
		_, guest := m.Management()
		if guest == "" {
			errs = append(errs, fmt.Errorf("%s: the machine has no management controller", word))
		}
		return guest
	})
	return text, errors.Join(errs...)
}

// Configure gives the heads the lab's configuration of the cluster, if there is one.
func (c *Cluster) Configure(ctx context.Context, head *wire.Client) error {
	text, err := c.Document()
	if err != nil || text == "" {
		return err
	}
	changed, err := head.SetCluster(ctx, wire.ClusterChange{Text: text, Version: -1})
	if err != nil {
		return fmt.Errorf("configure the cluster: %w", err)
	}
	_ = changed // warnings are the lab file's business
	return nil
}

// AwaitOwner waits until a head says that one of the heads owns the cluster, and that one is name, or any if name is empty.
func AwaitOwner(ctx context.Context, head *wire.Client, name string) (wire.OwnerStatus, error) {
	for {
		s, err := head.Owner(ctx)
		if err == nil {
			for _, m := range s.Members {
				if m.Name == s.Owner && m.Phase == "active" && (name == "" || name == s.Owner) {
					return s, nil
				}
			}
			err = fmt.Errorf("%q owns it; %s: %s", s.Owner, s.Self, s.Why.Summary)
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("wait for the owner %s: %w: %w", name, context.Cause(ctx), err)
		case <-time.After(ownerLook):
		}
	}
}

// ownerLook is the time between two looks at the owner: the heads' processors are emulated.
const ownerLook = 200 * time.Millisecond

// stationMAC is the card of a lab's own machine on the cluster network; it is not a QEMU's.
var stationMAC = net.HardwareAddr{0x02, 0x4d, 0x48, 0, 0, 0xfe}

// Watch probes an address from a port of its own on a switch, as the machine self, which answers ARP too, so that it can
// be the heads' gateway. every is the time between two questions. stop ends it.
func (c *Cluster) Watch(sw string, self, target netip.Addr, every time.Duration) (p *prober.Prober, stop func() error, err error) {
	port, err := c.Switch(sw).Attach("prober")
	if err != nil {
		return nil, nil, err
	}
	if p, err = prober.New(port, stationMAC, self, target); err != nil {
		return nil, nil, errors.Join(err, port.Close())
	}
	p.Interval = every
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	return p, func() error {
		cancel()
		return errors.Join(<-done, port.Close())
	}, nil
}

// NameOf is the machine whose first card has that MAC address, or the address itself.
func (c *Cluster) NameOf(mac string) string {
	for _, m := range c.Machines() {
		if len(m.Config.NICs) > 0 && m.MAC(0) == mac {
			return m.Name
		}
	}
	return mac
}
