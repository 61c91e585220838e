package ownership

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"masthead/appliance/configuration"
	"masthead/appliance/data"
	"masthead/appliance/failover"
	"masthead/appliance/fence"
	"masthead/appliance/heartbeat"
	"masthead/appliance/monitor"
	"masthead/appliance/service"
	"masthead/appliance/vip"
	"masthead/images"
)

// parts are the senses and hands of the daemon, as the configuration in force wants them. Each is made anew only when what
// concerns it has changed, so that a new monitor does not interrupt a heartbeat.
type parts struct {
	d       *Daemon
	changed chan struct{} // something happened that a decision may depend on
	renamed chan struct{} // an interface has another name
	failed  bool          // a part could not be made, and is to be tried again

	heartbeat part[*heartbeat.Heartbeat, heartbeat.Config]
	judge     part[judge, judgeConfig]
	vip       part[*vip.VIP, vipConfig]
	fencer    part[*fence.Fencer, fenceConfig]
	data      part[*data.Set, dataConfig]
	lastData  *running                 // of the data before; it may not have ended yet
	dataNow   atomic.Pointer[data.Set] // for services, which run beside the loop
	noData    atomic.Bool              // none is configured, and the kernel has none of ours
	monitors  part[*monitor.Set, monitorConfig]
	mailer    part[*monitor.Mailer, monitor.Mail]
	services  *service.Group
	runs      *running // of services
	wishes    wishes
	keys      atomic.Pointer[map[string]images.Digest] // of the configured heads
}

// part is one of them, with the configuration that it was made for.
type part[T any, C any] struct {
	it   T
	made bool
	conf C
	run  *running
}

// running is a goroutine that ends when it is stopped.
type running struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func (r *running) stop() {
	if r != nil {
		r.cancel()
		<-r.done
	}
}

// wait blocks until it has ended.
func (r *running) wait() {
	if r != nil {
		<-r.done
	}
}

// replaced stops it without waiting, and gives what its successor has to wait for: itself, or what it waited for.
func (r *running) replaced(before *running) *running {
	if r == nil {
		return before
	}
	r.cancel()
	return r
}

func newParts(d *Daemon) *parts {
	return &parts{d: d, changed: make(chan struct{}, 1), renamed: make(chan struct{}, 1)}
}

// kick makes the daemon decide at once.
func (p *parts) kick() { poke(p.changed) }

// poke fills a channel that holds one, unless it is full: whoever reads it will look anyway.
func poke(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// run starts a goroutine. That it ended by itself is trouble of the part.
func (p *parts) run(name string, f func(context.Context) error) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel, make(chan struct{})}
	go func() {
		defer close(r.done)
		if err := f(ctx); ctx.Err() == nil {
			if err == nil {
				err = errors.New("ended by itself")
			}
			go p.d.do(ctx, func() { p.d.troubled(name, err) })
		}
	}()
	return r
}

// following is f, and beside it whatever changed says kicks the daemon. It ends with f.
func (p *parts) following(changed <-chan struct{}, f func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, stop := context.WithCancel(ctx)
		var beside sync.WaitGroup
		beside.Go(func() { p.follow(ctx, changed) })
		defer beside.Wait()
		defer stop()
		return f(ctx)
	}
}

// follow kicks the daemon whenever a channel says that something changed.
func (p *parts) follow(ctx context.Context, changed <-chan struct{}) {
	for {
		select {
		case <-changed:
			p.kick()
		case <-ctx.Done():
			return
		}
	}
}

// remake replaces a part if its configuration is another one than it was made for. reload, if it is not nil, changes one
// that runs; false says that it cannot.
func remake[T, C any](p *parts, old part[T, C], name string, conf C, reload func(T, C, C) bool, make func(C) (T, func(context.Context) error, error)) part[T, C] {
	if old.made && reflect.DeepEqual(old.conf, conf) {
		return old
	}
	if old.made && reload != nil && reload(old.it, old.conf, conf) {
		p.d.troubled(name, nil)
		old.conf = conf
		return old
	}
	old.run.stop()
	it, run, err := make(conf)
	p.d.troubled(name, err)
	if err != nil {
		p.failed = true
		return part[T, C]{}
	}
	next := part[T, C]{it: it, made: true, conf: conf}
	if run != nil {
		next.run = p.run(name, run)
	}
	return next
}

// apply makes the parts what a configuration says.
func (p *parts) apply(c Config) {
	p.failed = false
	own, err := ownNets()
	p.d.troubled("network", err)
	p.setKeys(c)
	p.heartbeat = remake(p, p.heartbeat, "heartbeat", p.heartbeatConfig(c, own), p.reloadHeartbeat, p.makeHeartbeat)
	p.judge = remake(p, p.judge, "arbiter", p.judgeConfig(c), p.reloadJudge, p.makeJudge)
	vips, err := p.vipConfig(c, own)
	p.d.troubled("addresses", err)
	if len(vips.addresses) > 0 {
		p.vip = remake(p, p.vip, "vip", vips, nil, p.makeVIP)
	} else {
		p.dropVIP()
	}
	p.fencer = remake(p, p.fencer, "fence", fenceConfigOf(c), nil, p.makeFencer)
	p.mailer = remake(p, p.mailer, "mail", c.document.Mail, p.reloadMailer, p.makeMailer)
	p.applyData(c)
	p.dataNow.Store(p.data.it)
	said := p.wishes.set(c.Wishes)
	p.d.troubled("services", p.applyServices(c))
	if g := p.services; g != nil && len(said) > 0 {
		for _, name := range said {
			g.Clear(name)
		}
		g.Poke()
	}
	p.monitors = remake(p, p.monitors, "monitors", monitorConfig{c.document.Monitors, c.document.Name, p.mailer.it}, p.reloadMonitors, p.makeMonitors)
}

// close ends all parts. The gate stays as it is: an orderly end has shut it before, and another end must leave it to the
// next run of the daemon.
func (p *parts) close() {
	for _, r := range []*running{p.monitors.run, p.runs, p.data.run, p.fencer.run, p.vip.run, p.judge.run, p.heartbeat.run, p.mailer.run} {
		r.stop()
	}
}

func (p *parts) heartbeatConfig(c Config, own []ownNet) heartbeat.Config {
	return heartbeat.Config{
		Cluster: c.Cluster, Self: c.Heads[c.Self].Number, Key: c.key("heartbeat"), Port: p.d.opts.HeartbeatPort,
		NICs: c.nics(own, p.d.opts.HeartbeatPort), Serial: c.cables(),
	}
}

// reloadHeartbeat keeps the links over a change of names alone. udev renames cards while they are up, late in a boot, and
// a head that fell silent for that would be fenced.
func (p *parts) reloadHeartbeat(_ *heartbeat.Heartbeat, old, next heartbeat.Config) bool {
	old.NICs, next.NICs = nameless(old.NICs), nameless(next.NICs)
	return reflect.DeepEqual(old, next)
}

// nameless are cards by their numbers, where those are known.
func nameless(cards []heartbeat.NIC) []heartbeat.NIC {
	cards = slices.Clone(cards)
	for i := range cards {
		if cards[i].Index != 0 {
			cards[i].Name = ""
		}
	}
	return cards
}

func (p *parts) makeHeartbeat(c heartbeat.Config) (*heartbeat.Heartbeat, func(context.Context) error, error) {
	c.Now, c.Log = p.d.now, p.d.log
	h, err := heartbeat.New(c)
	if err != nil {
		return nil, nil, err
	}
	return h, p.following(h.Changed(), h.Run), nil
}

type vipConfig struct {
	addresses []vip.Address
	always    []netip.Addr // the cluster's own; the others answer while their service has started them
	peers     []netip.Addr
	gateway   netip.Addr
	profile   failover.Timing
}

// vipConfig lists the virtual addresses of the cluster and of its services: one gate is before all of them.
func (p *parts) vipConfig(c Config, own []ownNet) (vipConfig, error) {
	v := vipConfig{gateway: c.document.Gateway.Addr, profile: c.policy().Timing}
	var errs []error
	for _, a := range c.document.Addresses() {
		nic, err := vipNIC(a, own)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		v.addresses = append(v.addresses, vip.Address{Prefix: a.Address, NIC: nic})
	}
	for _, a := range c.document.VIPs {
		v.always = append(v.always, a.Address.Addr())
	}
	for _, name := range c.peers() {
		v.peers = append(v.peers, c.Heads[name].Address)
	}
	return v, errors.Join(errs...)
}

func (p *parts) makeVIP(c vipConfig) (*vip.VIP, func(context.Context) error, error) {
	v, err := vip.New(vip.Config{
		Addresses: c.addresses, Peers: c.peers, Gateway: c.gateway, Gate: c.profile.Gate, Now: p.d.now,
		Event:   p.teller("vip"), // which logs it
		Renamed: func() { poke(p.renamed) },
	})
	if err != nil {
		return nil, nil, err
	}
	return v, v.Run, nil
}

// dropVIP ends what looks after virtual addresses: there are none any more.
func (p *parts) dropVIP() {
	if !p.vip.made {
		return
	}
	p.vip.run.stop()
	p.d.troubled("gate", p.vip.it.Shut(context.Background()))
	p.vip = part[*vip.VIP, vipConfig]{}
}

// teller makes an event of what a part says, from any goroutine.
func (p *parts) teller(kind string) func(text string, bad bool) {
	return func(text string, bad bool) { p.d.event(kind, text, bad) }
}

type fenceConfig struct {
	devices []fence.Device
	heads   map[string][][]fence.Step
}

func fenceConfigOf(c Config) fenceConfig {
	f := fenceConfig{devices: c.document.FenceDevices, heads: map[string][][]fence.Step{}}
	for name, h := range c.document.Heads {
		if _, ok := c.Heads[name]; ok && len(h.Fence) > 0 {
			f.heads[name] = h.Fence
		}
	}
	return f
}

func (p *parts) makeFencer(c fenceConfig) (*fence.Fencer, func(context.Context) error, error) {
	f, err := fence.New(fence.Config{Devices: c.devices, Heads: c.heads, Now: p.d.now, Log: p.d.log, Event: p.teller("fence")})
	if err != nil {
		return nil, nil, err
	}
	return f, f.Run, nil
}

func (p *parts) makeMailer(c monitor.Mail) (*monitor.Mailer, func(context.Context) error, error) {
	if reflect.DeepEqual(c, monitor.Mail{}) {
		return nil, nil, nil
	}
	m, err := monitor.NewMailer(c, p.d.config.Self, p.d.log)
	if err != nil {
		return nil, nil, err
	}
	return m, m.Run, nil
}

// reloadMailer keeps the mails that wait.
func (p *parts) reloadMailer(m *monitor.Mailer, _, c monitor.Mail) bool {
	return m != nil && !reflect.DeepEqual(c, monitor.Mail{}) && m.Configure(c) == nil
}

type monitorConfig struct {
	monitors []monitor.Monitor
	cluster  string
	mailer   *monitor.Mailer
}

func (p *parts) makeMonitors(c monitorConfig) (*monitor.Set, func(context.Context) error, error) {
	s, err := monitor.New(p.monitorsOf(c))
	if err != nil {
		return nil, nil, err
	}
	return s, s.Run, nil
}

// reloadMonitors keeps what is known of monitors that stay as they are.
func (p *parts) reloadMonitors(s *monitor.Set, _, c monitorConfig) bool {
	return s.Reload(p.monitorsOf(c)) == nil
}

func (p *parts) monitorsOf(c monitorConfig) monitor.Config {
	return monitor.Config{
		Monitors: c.monitors, Mailer: c.mailer, Cluster: c.cluster, Self: p.d.config.Self, Owner: p.d.history.isOwner,
		Epoch: p.d.history.epochText, Log: p.d.log, Event: p.teller("monitor"), Failover: func(string) { p.kick() },
		Seed: uint64(p.d.config.Heads[p.d.config.Self].Number), // other heads check at other times
	}
}

// applyServices starts the group of services, or gives it the new ones.
func (p *parts) applyServices(c Config) error {
	conf := service.Config{
		Services: c.document.AllServices(), Domains: c.document.Domains, Self: c.Self, Heads: c.names(), Wish: p.wishes.of,
		Volumes: volumes{p}, Addresses: ownAddresses{c.document.Addresses()}, Owner: p.d.history.owner, Gen: p.d.history.gen, Now: p.d.now, Log: p.d.log,
		Event: p.teller("service"), Record: p.d.runFile("services.json"), Disable: p.mailDisabled,
	}
	if p.services != nil {
		return p.services.Reload(conf)
	}
	group, err := service.New(conf)
	if err != nil {
		return err
	}
	p.services = group
	p.runs = p.run("services", group.Run)
	return nil
}

// mailDisabled tells people that a service stays down. It does not block.
func (p *parts) mailDisabled(service, reason string) {
	d := p.d
	text := fmt.Sprintf("service %s is disabled until somebody enables it: %s", service, reason)
	d.serving.all.Go(func() { _ = d.do(d.serving.ctx, func() { d.mail(text, d.last.Why) }) }) // ends with the daemon
}

// wishes are what the administrator wants of services. They may be read from any goroutine.
type wishes struct {
	mu  sync.Mutex
	all map[string]Wish
}

// set takes the present ones, and names the services of which something was said since.
func (w *wishes) set(all map[string]Wish) (said []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, now := range all {
		if before, ok := w.all[name]; !ok || before.Wish != now.Wish || !before.At.Equal(now.At) {
			said = append(said, name)
		}
	}
	w.all = all
	return said
}

func (w *wishes) of(service string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all[service].Wish
}

// at is when something was said of a service.
func (w *wishes) at(service string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all[service].At
}

// ownAddresses are the addresses of services. They come and go with the cluster's own, behind the same gate, which opens for
// those alone that Group.Answering names; a service only makes sure that they are among them.
type ownAddresses struct{ all []configuration.VIP }

func (o ownAddresses) Add(_ context.Context, p netip.Prefix, _ string) error {
	if slices.ContainsFunc(o.all, func(v configuration.VIP) bool { return v.Address == p }) {
		return nil
	}
	return fmt.Errorf("address %s is not among the cluster's", p)
}

func (o ownAddresses) Remove(context.Context, netip.Prefix, string) error { return nil }
