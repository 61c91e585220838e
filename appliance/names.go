package appliance

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"masthead/appliance/dns"
	"masthead/appliance/ntp"
	"masthead/node/agent"
	"masthead/node/wire"
)

const (
	// bookPause is the shortest time between two books. A boot storm changes a lease for each machine, and a book of 5,000
	// nodes takes 3 ms to write.
	bookPause = 200 * time.Millisecond
	// bookAge is when a book is written again though nothing changed in the state: leases end, and the head's own
	// resolvers change.
	bookAge = 10 * time.Second
)

// The files of the head's own machine.
const (
	hostsPath  = "/etc/hosts"
	resolvPath = "/etc/resolv.conf"
)

// book is the present one. It never blocks on the state but for the first.
func (h *Head) book() *book {
	if b := h.known.Load(); b != nil {
		return b
	}
	d := newDirectory()
	h.fillDirectory(d)
	b := h.write(d, time.Now())
	h.known.CompareAndSwap(nil, b)
	return b
}

func (h *Head) fillDirectory(d *directory) {
	for _, kind := range directoryKinds {
		for _, rec := range h.db.List(kind, "") {
			if err := d.take(rec); err != nil {
				h.log.Warn("a record that names a machine is not understood", "key", rec.Key, "err", err)
			}
		}
	}
}

// write adds to a directory what only this head knows.
func (h *Head) write(d *directory, now time.Time) *book {
	b := d.at(now)
	if !slices.ContainsFunc(b.heads, func(x wire.Host) bool { return x.Name == h.cfg.Name }) && h.cfg.Address.IsValid() {
		// Not configured yet: the first moment of a new head.
		d.heads[h.cfg.Name] = versioned[wire.HeadRecord]{value: wire.HeadRecord{Address: h.cfg.Address.Addr()}}
		b = d.at(now)
	}
	var own []netip.Addr
	if text, err := os.ReadFile(resolvPath); err == nil { // else there is none, which is allowed
		own = resolvers(string(text))
	}
	b.forwarders = forwardersOf(b.forwarders, append(own, h.cfg.DNS...), func(a netip.Addr) bool { return b.isHead(a) || localAddress(a) })
	return b
}

func (b *book) isHead(a netip.Addr) bool {
	return slices.ContainsFunc(b.heads, func(x wire.Host) bool { return x.Address == a })
}

// localAddress tells an address of a NIC of this machine. A resolver on its loopback is another program.
func localAddress(a netip.Addr) bool {
	all, _ := net.InterfaceAddrs()
	return !a.IsLoopback() && slices.ContainsFunc(all, func(x net.Addr) bool {
		p, err := netip.ParsePrefix(x.String())
		return err == nil && p.Addr() == a
	})
}

// runNames keeps the book, and the hosts file of this machine, as the state has it.
func (h *Head) runNames(ctx context.Context) error {
	watch := h.db.Watch(directoryKinds...)
	defer watch.Close()
	d := newDirectory()
	h.fillDirectory(d) // after the watch has begun: nothing is missed
	for {
		b := h.write(d, time.Now())
		h.known.Store(b)
		h.writeHosts(b)
		if err := pauseFor(ctx, bookPause); err != nil {
			return err
		}
		next, cancel := context.WithTimeout(ctx, bookAge)
		records, err := watch.Next(next)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		for _, rec := range records {
			if err := d.take(rec); err != nil {
				h.log.Warn("a record that names a machine is not understood", "key", rec.Key, "err", err)
			}
		}
	}
}

func pauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// writeHosts keeps the names of the cluster in /etc/hosts of a head that masthead booted. On another machine that file is
// its owner's, whose DNS can ask us.
func (h *Head) writeHosts(b *book) {
	if h.cfg.Self == nil {
		return
	}
	if _, err := agent.WriteHosts(hostsPath, agent.HostsBlock(h.cfg.Name, netip.Addr{}, b.hosts)); err != nil {
		h.once("names: " + err.Error())
	}
}

// once makes an event of something that goes wrong again and again.
func (h *Head) once(text string) {
	if _, told := h.told.LoadOrStore(text, true); !told {
		h.event(text, true)
	}
}

// servers are the DNS and NTP servers of machines that this head looks after.
func (h *Head) servers() []netip.Addr {
	if h.cfg.Interface == "" {
		return nil // a head without a cluster network serves neither
	}
	return servers(h.cfg.Address.Addr(), h.book().heads)
}

// addNames adds to a machine's spec whom it can find, and whom it can ask for others.
func (h *Head) addNames(spec *wire.Spec) {
	spec.DNS, spec.Hosts = h.servers(), h.book().hosts
	if len(spec.DNS) == 0 {
		spec.DNS = h.cfg.DNS
	}
}

func (h *Head) dnsConfig() dns.Config {
	return dns.Config{
		Listen: []netip.AddrPort{netip.AddrPortFrom(h.cfg.Address.Addr(), dns.Port)},
		Domain: h.cfg.Domain, Networks: h.cfg.subnets(), Lookup: func() dns.Names { return h.book() },
		Forwarders: h.forwarders, Log: h.log,
	}
}

func (h *Head) forwarders() []netip.AddrPort {
	var all []netip.AddrPort
	for _, a := range h.book().forwarders {
		all = append(all, netip.AddrPortFrom(a, dns.Port))
	}
	return all
}

func (h *Head) serveDNS(ctx context.Context) error {
	err := serveDNSAt(ctx, h.dnsConfig())
	if err != nil {
		h.once(err.Error())
	}
	return err
}

func serveDNSAt(ctx context.Context, cfg dns.Config) error {
	s, err := dns.New(cfg)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

func (h *Head) serveNTP(ctx context.Context) error {
	s, err := ntp.New(ntp.Config{Listen: []netip.AddrPort{netip.AddrPortFrom(h.cfg.Address.Addr(), ntp.Port)}, Log: h.log})
	if err == nil {
		err = s.Run(ctx)
	}
	if err != nil {
		h.once(err.Error())
	}
	return err
}
