package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thejerf/suture/v4"

	"masthead/appliance/command"
	"masthead/appliance/gossip"
	"masthead/appliance/httpboot"
	"masthead/appliance/ndp"
	"masthead/appliance/pki"
	"masthead/appliance/registry"
	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// Head is a head node.
type Head struct {
	cfg     Config
	log     *slog.Logger
	started time.Time

	db        *state.DB
	replica   *gossip.Replica
	reg       *registry.Registry
	library   *library
	files     *fileService
	authority *pki.Authority
	server    *pki.Server
	tokens    *pki.Tokens
	admin     admins
	blobs     http.Handler
	boot      *httpboot.Handler
	dhcpMode  dhcpMode
	uefi      uefiLoaders
	first     recent[map[string]images.Digest] // the loaders that firmware may ask for
	told      sync.Map                         // of broken images
	commands  *command.Dispatcher
	peers     peers
	member    membership
	program   program
	known     atomic.Pointer[book]
	owner     *wire.Client // of the owner daemon on this machine
	ownerTold atomic.Bool  // the daemon runs with what was last written
	ownerFile sync.Mutex   // a configuration that was taken away stays away
	confirmed atomic.Bool  // no other head says that this one is none of the cluster any more
	voters    voters
	votes     atomic.Pointer[map[string]*wire.Vote] // by the MAC addresses of witnesses
	virtual   atomic.Pointer[map[netip.Addr]bool]   // addresses of the cluster's configuration
}

// New opens the state of a head and prepares its services. It touches the network only in Run.
func New(cfg Config) (*Head, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	h := &Head{cfg: cfg, log: cfg.Log, started: time.Now(), owner: wire.NewUnixClient(cfg.OwnerSocket)}
	h.openCommands()
	if err := h.settleFiles(); err != nil {
		return nil, err
	}
	if err := errors.Join(h.openLibrary(), h.openFiles()); err != nil {
		return nil, err
	}
	if err := h.openKeys(); err != nil {
		return nil, err
	}
	if err := h.openState(); err != nil {
		return nil, err
	}
	if err := errors.Join(h.openBoot(), h.settleWish()); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// Close lets go of the state. Run must have returned.
func (h *Head) Close() error {
	h.library.fetch.Close()
	h.files.fetch.Close()
	h.owner.Close()
	return h.db.Close()
}

func (h *Head) openKeys() error {
	dir := filepath.Join(h.cfg.StateDir, keysDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("open the keys: %w", err)
	}
	var err error
	if h.authority, err = pki.OpenAuthority(dir, "masthead"); err != nil {
		return err
	}
	if h.tokens, err = pki.OpenTokens(dir); err != nil {
		return err
	}
	own, err := pki.OpenAdmin(dir)
	if err != nil {
		return err
	}
	h.admin = admins{own}
	if h.cfg.AdminToken != "" {
		given, err := pki.GivenAdmin(h.cfg.AdminToken)
		if err != nil {
			return err
		}
		h.admin = append(h.admin, given)
	}
	key, err := pki.OpenHeadKey(dir)
	if err != nil {
		return err
	}
	h.server, err = pki.NewServer(h.authority, key, h.names(), nil)
	return err
}

// admins are the tokens that make somebody the administrator: the head's own, and one that the machine's owner gave.
type admins []*pki.Admin

// Verify reports whether token is one of them.
func (a admins) Verify(token string) bool {
	ok := false
	for _, admin := range a { // all of them, so that the time tells nothing
		ok = admin.Verify(token) || ok
	}
	return ok
}

// names are what the head's certificate is for.
func (h *Head) names() pki.Names {
	n := pki.Names{Head: h.cfg.Name, Hosts: []string{h.cfg.Name, h.cfg.Name + "." + h.cfg.Domain, "localhost"},
		Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	if h.cfg.Address.IsValid() {
		n.Addresses = append(n.Addresses, h.cfg.Address.Addr())
	}
	return n
}

func (h *Head) openState() error {
	err := h.openReplica()
	if err != nil {
		return err
	}
	if d := h.db.Damage(); d != nil {
		h.log.Error("the state file was damaged", "err", d, "try", d.Try())
	}
	if err := errors.Join(h.settleState(), h.settleKnown(context.Background())); err != nil {
		return errors.Join(err, h.db.Close())
	}
	conf := registry.Config{
		Store: h.replica, Log: h.log, Cmdline: checkCmdline,
		Image: h.resolveImage,
		Clone: h.ownImage,
		Taken: h.taken,
		Head:  h.cfg.Name, HeadAlive: h.headAlive, ApplyAt: h.replica.ApplyAt,
	}
	if h.cfg.Address.IsValid() {
		conf.Subnets = h.cfg.subnets()
	}
	if h.reg, err = registry.New(conf); err != nil {
		return errors.Join(err, h.db.Close())
	}
	return nil
}

// checkCmdline refuses kernel arguments that init would complain about.
func checkCmdline(s string) error {
	_, err := images.ParseBoot(s)
	return errors.Join(err, httpboot.CheckCmdline(s))
}

// Run serves until ctx ends, and returns after everything has ended. A service that fails is started again, with
// pauses that grow; the others go on meanwhile. ErrRestart means that the head wants to be opened anew (Serve does).
func (h *Head) Run(ctx context.Context) error {
	ctx, stop := h.restartable(ctx)
	defer stop()
	if d := h.db.Damage(); d != nil {
		h.reg.Event(wire.Event{Time: h.started, Kind: "state", Failed: true, Text: d.Error() + "; " + d.Try()})
	}
	if h.serves() {
		if err := h.enter(ctx); err != nil {
			h.event(err.Error(), true)
		}
	}
	serves := h.serves()
	if !serves {
		if err := h.quitOwner(ctx); err != nil {
			h.event(err.Error(), true)
		}
	}
	if serves {
		h.takeFirst(ctx)
		if err := h.knowSelf(ctx); err != nil {
			h.event("this head is not among its own nodes: "+err.Error(), true)
		}
	}
	sup := suture.New("head", suture.Spec{EventHook: func(e suture.Event) { h.log.Warn("service", "event", e.String()) }})
	add := func(name string, run func(context.Context) error) { sup.Add(service{name, run}) }
	api := &api{head: h, now: time.Now}
	add("registry", h.reg.Run)
	if h.cfg.Socket != "" {
		add("socket", func(ctx context.Context) error { return h.serveSocket(ctx, h.guard(api.handler(true))) })
	}
	add("https", func(ctx context.Context) error {
		return h.serveHTTPS(ctx, h.withPeers(h.guard(api.handler(false)), h.peerRoutes(api)...))
	})
	if h.member.phase() != phaseRemoved {
		add("replica", h.replica.Run)
		add("keys", h.runKeys)
		add("names", h.runNames)
		add("announce", h.announceHeads)
	}
	add("heads", h.runMembership)
	add("slots", h.runSlots)
	if serves {
		add("owner", h.runOwner)
		add("owner events", h.followOwner)
		add("images", h.keepImages)
		add("files", h.keepFiles)
		add("http", func(ctx context.Context) error { return h.serveHTTP(ctx, h.withInstall(h.boot)) })
	}
	if serves && h.cfg.Interface != "" {
		add("tftp", h.serveTFTP)
		add("dhcp", h.serveDHCP)
		add("dns", h.serveDNS)
		add("ntp", h.serveNTP)
		// iPXE waits 15 s for an IPv6 router; the answer that there is none lets it boot at once.
		add("ndp", func(ctx context.Context) error { return ndp.New(h.nic(), h.log).Run(ctx) })
	}
	err := sup.Serve(ctx)
	h.closePeers()
	if errors.Is(context.Cause(ctx), ErrRestart) {
		return ErrRestart
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// service is a named suture.Service.
type service struct {
	name string
	run  func(context.Context) error
}

func (s service) Serve(ctx context.Context) error { return s.run(ctx) }
func (s service) String() string                  { return s.name }

// knowSelf enters this machine among the nodes, so that its boot can be looked at like any other.
func (h *Head) knowSelf(ctx context.Context) error {
	if h.cfg.Self == nil || h.cfg.Self.MAC == "" {
		return nil
	}
	// The address is reserved for it: a head that starts again while others serve DHCP asks them, as any machine does.
	address := ""
	if h.cfg.Address.IsValid() {
		address = h.cfg.Address.Addr().String()
	}
	rec, known := h.reg.ByMAC(h.cfg.Self.MAC)
	var err error
	if !known {
		yes := true
		_, err = h.reg.Add(ctx, ownOrigin, wire.NodeChange{
			Name: &h.cfg.Name, MAC: &h.cfg.Self.MAC, Address: &address, Approved: &yes, Attrs: map[string]string{"role": string(images.RoleHead)},
		})
	} else if rec.Name == h.cfg.Name && rec.Address != h.cfg.Address.Addr() {
		_, err = h.reg.Set(ctx, ownOrigin, []string{rec.Name}, wire.NodeChange{Address: &address})
	}
	if err != nil {
		return err
	}
	_, err = h.reg.Hello(ctx, *h.cfg.Self, h.cfg.Address.Addr(), time.Now())
	return err
}

// complete adds to a machine's spec what the registry does not know.
func (h *Head) complete(spec *wire.Spec) {
	spec.Domain = h.cfg.Domain
	spec.SSHKeys = h.cfg.SSHKeys
	spec.Heads = h.headsFor(spec.Name)
	h.addNames(spec)
}

// url is the API as nodes reach it.
func (h *Head) url() string {
	host := h.cfg.Address.Addr().String()
	if h.cfg.HTTPS == wire.PortHTTPS {
		if h.cfg.Address.Addr().Is6() {
			host = "[" + host + "]"
		}
		return "https://" + host
	}
	return "https://" + net.JoinHostPort(host, strconv.Itoa(int(h.cfg.HTTPS)))
}

// status is the cluster on one page.
func (h *Head) status(now time.Time) (wire.Status, error) {
	nodes, err := h.reg.List("", now)
	if err != nil {
		return wire.Status{}, err
	}
	list, err := h.images()
	if err != nil {
		return wire.Status{}, err
	}
	s := wire.Status{
		Name: h.cfg.Name, Version: h.cfg.Version, CA: h.authority.Digest(), Started: h.started,
		DHCP: h.dhcpMode.String(), Nodes: nodes, Images: list, Events: h.reg.Log().Last(statusEvents),
	}
	h.addHeads(&s, now)
	if h.cfg.Address.IsValid() {
		s.Address = h.cfg.Address.String()
		if nic := h.nic(); nic != "" {
			s.Address += " on " + nic
		}
	}
	if err := h.db.ReadOnly(); err != nil {
		s.ReadOnly = err.Error()
	}
	h.addOwner(&s)
	return s, nil
}

// images lists the images that are whole. Each one that is not is an event, once.
func (h *Head) images() ([]wire.Image, error) {
	list, broken, err := h.library.list()
	for _, b := range broken {
		if _, told := h.told.LoadOrStore(b.Tag+b.err.Error(), true); !told {
			h.reg.Event(wire.Event{Time: time.Now(), Kind: "image", Failed: true, Text: fmt.Sprintf("image %s %s", b.Tag, b.Note)})
		}
		list = append(list, b.Image)
	}
	slices.SortFunc(list, byTag)
	return list, err
}

// nic is the present name of the cluster NIC.
func (h *Head) nic() string {
	if h.cfg.MAC == "" {
		return h.cfg.Interface
	}
	files, _ := filepath.Glob("/sys/class/net/*/address")
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(data)) == h.cfg.MAC {
			return filepath.Base(filepath.Dir(f))
		}
	}
	return h.cfg.Interface
}

// statusEvents is how many of the last events the status carries.
const statusEvents = 50
