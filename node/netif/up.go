package netif

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"masthead/images"
)

// Up sets the loopback up and gives the cluster NIC its address. It blocks until that is done, has failed (a *Failure)
// or ctx ends. In mode none it does nothing but the loopback.
func Up(ctx context.Context, c Config) (Result, error) {
	c, err := c.withDefaults()
	if err != nil {
		return Result{}, err
	}
	if err := loopbackUp(); err != nil {
		return Result{}, err
	}
	if c.Mode == images.IPNone {
		return Result{How: "none, as the kernel command line says"}, nil
	}
	b := &bringUp{
		Config:   c,
		now:      sinceBoot,
		listen:   listenRaw,
		links:    map[int]Link{},
		running:  map[int]bool{},
		attempts: map[int]Attempt{},
		turn:     make(chan struct{}, 1),
		offers:   make(chan struct{}, 1),
		results:  make(chan Result, 1),
		appeared: -1,
		carrier:  -1,
	}
	b.began = b.now()
	r, err := b.run(ctx)
	if err != nil {
		return Result{}, err
	}
	r.Link = r.Link.look()
	if err := apply(r); err != nil {
		return Result{}, b.failure(Kernel, err)
	}
	c.Log.Info(r.String(), "took", b.now()-b.began)
	return r, nil
}

// relist keeps a socket that dies at once from taking the whole CPU.
const relist = 100 * time.Millisecond

// bringUp is one call of Up. Its exchanges own nothing of it but the channels and, under mu, attempts.
type bringUp struct {
	Config
	now    func() time.Duration
	listen func(Link) (net.PacketConn, error)
	began  time.Duration

	links             map[int]Link // all but the loopback, by index
	running           map[int]bool // has an exchange
	appeared, carrier time.Duration
	offered           bool

	turn    chan struct{}
	offers  chan struct{}
	results chan Result
	wg      sync.WaitGroup

	mu       sync.Mutex
	attempts map[int]Attempt
}

// run listens to the kernel and decides after each of its messages.
func (b *bringUp) run(parent context.Context) (Result, error) {
	ctx, cancel := context.WithCancel(parent)
	defer b.wg.Wait()
	defer cancel()
	links, err := watch(ctx, &b.wg)
	if err != nil {
		return Result{}, b.failure(Kernel, err)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case u, ok := <-links:
			if !ok && parent.Err() == nil {
				// The kernel had more to say than the socket held (ENOBUFS): ask again for all.
				pause(ctx, relist)
				clear(b.links)
				if links, err = watch(ctx, &b.wg); err != nil {
					return Result{}, b.failure(Kernel, err)
				}
				continue
			}
			if ok {
				b.see(ctx, u)
			}
		case <-b.offers:
			b.offered = true
		case r := <-b.results:
			return r, nil
		case <-timer.C:
		case <-parent.Done():
			cancel()
			b.wg.Wait()
			return Result{}, b.failure(Cancelled, context.Cause(parent))
		}
		v := b.view()
		switch s := decide(b.Config, v); s.do {
		case wait:
			timer.Reset(s.until - v.elapsed)
		case takeStatic:
			cancel()
			b.wg.Wait()
			select {
			case r := <-b.results: // a lease came in the last moment
				return r, nil
			default:
			}
			return fixed(v.candidates[0], b.Config, s.why), nil
		case fail:
			cancel()
			b.wg.Wait() // the attempts are complete then
			return Result{}, b.failure(s.cause, nil)
		}
	}
}

func (b *bringUp) view() view {
	v := view{elapsed: b.now() - b.began, candidates: b.candidates(), offered: b.offered}
	if b.appeared < 0 && len(v.candidates) > 0 {
		b.appeared = v.elapsed
	}
	if b.carrier < 0 && slices.ContainsFunc(v.candidates, func(l Link) bool { return l.Carrier }) {
		b.carrier = v.elapsed
	}
	v.appeared, v.carrier = b.appeared, b.carrier
	return v
}

func (b *bringUp) candidates() []Link {
	return candidates(b.NIC, slices.SortedFunc(maps.Values(b.links), byRank))
}

// see takes in one message about one link, sets candidates up and starts an exchange on those with a carrier.
func (b *bringUp) see(ctx context.Context, u netlink.LinkUpdate) {
	l := fromNetlink(u.Link)
	if l.Kind == loopback {
		return
	}
	if u.Header.Type == unix.RTM_DELLINK {
		delete(b.links, l.Index)
		return
	}
	old, known := b.links[l.Index]
	if l.Driver = old.Driver; l.Driver == "" {
		l.Driver = l.look().Driver
	}
	b.links[l.Index] = l
	if !known || old.Carrier != l.Carrier {
		b.Log.Debug("link", "nic", l.String())
	}
	for _, c := range b.candidates() {
		switch {
		case !c.Up && c.Index == l.Index: // answered by a message when it is up
			if err := netlink.LinkSetUp(u.Link); err != nil {
				b.attempt(c, func(a *Attempt) { a.note(fmt.Errorf("set link up: %w", err)) })
			}
		case c.Carrier && !c.InfiniBand && !b.running[c.Index] && b.Mode != images.IPStatic:
			b.running[c.Index] = true
			b.start(ctx, c)
		}
	}
}

// start runs an exchange until it has a lease or ctx ends.
func (b *bringUp) start(ctx context.Context, l Link) {
	x := &exchange{
		link: l, listen: b.listen, now: b.now, turn: b.turn, log: b.Log,
		offered: func() {
			select {
			case b.offers <- struct{}{}:
			default:
			}
		},
	}
	b.wg.Go(func() {
		r, ok := x.run(ctx)
		b.attempt(l, func(a *Attempt) { *a = x.tried })
		if ok {
			b.results <- r // has room: only the holder of the turn comes here
		}
	})
}

func (b *bringUp) attempt(l Link, change func(*Attempt)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.attempts[l.Index]
	change(&a)
	b.attempts[l.Index] = a
}

func (b *bringUp) failure(cause Cause, err error) *Failure {
	f := &Failure{NIC: b.NIC, Mode: b.Mode, Cause: cause, Waited: b.now() - b.began, Err: err}
	candidate := map[int]bool{}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.candidates() {
		candidate[l.Index] = true
		a := b.attempts[l.Index]
		a.Link = l.look()
		f.Attempts = append(f.Attempts, a)
	}
	for _, l := range slices.SortedFunc(maps.Values(b.links), byRank) {
		if !candidate[l.Index] {
			f.Others = append(f.Others, l.look())
		}
	}
	if f.Cause == "" {
		f.Cause = causeOf(f.Attempts)
	}
	return f
}

// watch subscribes to the kernel's messages about links, the present ones first, so that none is missed between
// looking and listening. The channel is closed when ctx ends or messages were lost.
func watch(ctx context.Context, wg *sync.WaitGroup) (<-chan netlink.LinkUpdate, error) {
	in, out := make(chan netlink.LinkUpdate), make(chan netlink.LinkUpdate)
	done := make(chan struct{})
	err := netlink.LinkSubscribeWithOptions(in, done, netlink.LinkSubscribeOptions{
		ListExisting:      true,
		ReceiveBufferSize: 1 << 20,
		ErrorCallback:     func(error) {}, // what matters closes the channel
	})
	if err != nil {
		close(done)
		return nil, fmt.Errorf("subscribe to network links: %w", err)
	}
	wg.Go(func() {
		defer close(out)
		defer func() {
			close(done)
			for range in { // until netlink's own goroutine ends
			}
		}()
		for {
			select {
			case <-ctx.Done():
				return
			case u, ok := <-in:
				if !ok {
					return
				}
				select {
				case out <- u:
				case <-ctx.Done():
					return
				}
			}
		}
	})
	return out, nil
}

// errNoLoopback cannot happen with a usable kernel.
var errNoLoopback = errors.New("no loopback interface")

// loopbackUp also brings 127.0.0.1/8: the kernel adds it (net/ipv4/devinet.c, inetdev_event).
func loopbackUp() error {
	all, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list network interfaces: %w", err)
	}
	for _, l := range all {
		if l.Attrs().EncapType != loopback {
			continue
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return fmt.Errorf("set %s up: %w", l.Attrs().Name, err)
		}
		return nil
	}
	return errNoLoopback
}
