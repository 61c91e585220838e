package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	miekg "github.com/miekg/dns"
)

// What is said of questions that no forwarder answers.
var (
	errNoForwarder = errors.New("this head has no resolver to ask for names outside the cluster")
	errBusy        = errors.New("too many questions are on their way to the forwarders")
)

// restTime is how long a forwarder that did not answer is asked only after the others.
const restTime = 30 * time.Second

// forwarder asks other resolvers.
type forwarder struct {
	cfg   Config
	cache *cache
	room  *limit

	mu      sync.Mutex
	resting map[netip.AddrPort]time.Time // until when
	asking  map[key]*asked               // on its way
	done    sync.WaitGroup
}

// asked is a question on its way, for all who asked it.
type asked struct {
	done  chan struct{} // closed when the rest is there
	reply *miekg.Msg    // nobody changes it; nil: err says why
	err   error
}

func newForwarder(cfg Config) *forwarder {
	return &forwarder{
		cfg: cfg, cache: newCache(cfg.Cached), room: newLimit(cfg.Forwards, cfg.PerHost),
		resting: map[netip.AddrPort]time.Time{}, asking: map[key]*asked{},
	}
}

// wait returns after the last question has ended, which its context brings about.
func (f *forwarder) wait() { f.done.Wait() }

// ask gives the answer of the cache or of the first forwarder that has one, which the caller may change. With an error
// that is not nil the answer may be there all the same: it is what the forwarders said last.
func (f *forwarder) ask(ctx context.Context, client netip.Addr, req *miekg.Msg) (*miekg.Msg, error) {
	k := keyOf(req)
	if m, ok := f.cache.get(k, time.Now()); ok {
		return m, nil
	}
	servers := f.cfg.Forwarders()
	if len(servers) == 0 {
		return nil, errNoForwarder
	}
	if !f.room.take(client) {
		return nil, errBusy
	}
	defer f.room.give(client)
	a := f.join(ctx, k, query(req), servers)
	select {
	case <-a.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if a.reply == nil {
		return nil, a.err
	}
	return a.reply.Copy(), a.err
}

// join asks, unless the same question is already on its way: a thousand nodes that start want the same few names.
func (f *forwarder) join(ctx context.Context, k key, m *miekg.Msg, servers []netip.AddrPort) *asked {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.asking[k]; a != nil {
		return a
	}
	a := &asked{done: make(chan struct{})}
	f.asking[k] = a
	servers = f.order(servers, time.Now())
	f.done.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, f.cfg.Patience)
		defer cancel()
		a.reply, a.err = f.tryAll(ctx, m, servers)
		now := time.Now()
		if a.reply != nil {
			f.cache.put(k, a.reply, now)
		} else if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			f.cache.put(k, new(miekg.Msg).SetRcode(m, miekg.RcodeServerFailure), now)
		}
		f.mu.Lock()
		delete(f.asking, k)
		f.mu.Unlock()
		close(a.done)
	})
	return a
}

// order puts the forwarders that rest behind the others. The caller holds mu.
func (f *forwarder) order(servers []netip.AddrPort, now time.Time) []netip.AddrPort {
	ordered := slices.Clone(servers)
	rests := func(s netip.AddrPort) int {
		if f.resting[s].After(now) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(ordered, func(a, b netip.AddrPort) int { return rests(a) - rests(b) })
	return ordered
}

// tryAll asks one forwarder after the other until one knows. That a name is not there is an answer; that a forwarder
// failed or does not want us is not, unless all say so.
func (f *forwarder) tryAll(ctx context.Context, m *miekg.Msg, servers []netip.AddrPort) (*miekg.Msg, error) {
	var last *miekg.Msg
	var errs []error
	for _, s := range servers {
		if ctx.Err() != nil {
			break
		}
		reply, err := f.try(ctx, m, s)
		f.learn(ctx, s, err)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s, err))
			continue
		}
		switch reply.Rcode {
		case miekg.RcodeSuccess, miekg.RcodeNameError:
			return reply, nil
		}
		last = reply
		errs = append(errs, fmt.Errorf("%s says %s", s, miekg.RcodeToString[reply.Rcode]))
	}
	return last, errors.Join(append(errs, ctx.Err())...)
}

// learn remembers whether a forwarder answers, and tells of changes.
func (f *forwarder) learn(ctx context.Context, s netip.AddrPort, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, rested := f.resting[s]
	switch {
	case err == nil && rested:
		delete(f.resting, s)
		f.cfg.Log.Info("a DNS forwarder answers again", "forwarder", s)
	case err != nil && !errors.Is(ctx.Err(), context.Canceled):
		f.resting[s] = time.Now().Add(restTime)
		if !rested {
			f.cfg.Log.Warn("a DNS forwarder does not answer", "forwarder", s, "err", err)
		}
	}
}

// query is the question as we ask it: a number of our own, and nothing of the client's but what belongs to the question.
// Without EDNS from the client there is none to the forwarder, so that old ones work for old clients.
func query(req *miekg.Msg) *miekg.Msg {
	m := &miekg.Msg{MsgHdr: miekg.MsgHdr{Id: miekg.Id(), RecursionDesired: true, CheckingDisabled: req.CheckingDisabled}}
	m.Question = []miekg.Question{{Name: req.Question[0].Name, Qtype: req.Question[0].Qtype, Qclass: miekg.ClassINET}}
	if opt := req.IsEdns0(); opt != nil {
		m.SetEdns0(ednsSize, opt.Do())
	}
	return m
}

// try asks one forwarder by UDP, and by TCP if the answer was cut.
func (f *forwarder) try(ctx context.Context, m *miekg.Msg, server netip.AddrPort) (*miekg.Msg, error) {
	reply, err := f.exchange(ctx, "udp", m, server)
	if reply != nil && reply.Truncated { // what there is of it may not be readable
		reply, err = f.exchange(ctx, "tcp", m, server)
	}
	if err != nil {
		return nil, err
	}
	return reply, nil
}

func (f *forwarder) exchange(ctx context.Context, network string, m *miekg.Msg, server netip.AddrPort) (*miekg.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	// Each question has a socket, so a port, of its own: who wants to forge an answer has to guess it (RFC 5452, 9.2).
	conn, err := new(net.Dialer).DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	client := miekg.Client{Timeout: f.cfg.Timeout}
	reply, _, err := client.ExchangeWithConnContext(ctx, m, &miekg.Conn{Conn: conn})
	switch {
	case ctx.Err() != nil && err != nil:
		return nil, ctx.Err()
	case err != nil && (reply == nil || reply.Id != m.Id || !reply.Truncated):
		return nil, err
	case !answers(reply, m):
		return nil, errors.New("the answer is to another question")
	case !reply.Truncated && !sound(reply):
		return nil, errors.New("the answer has records that make no sense")
	}
	return reply, nil
}

// answers tells whether a message is the answer to our question, and no other's (RFC 5452, 9.1).
func answers(reply, m *miekg.Msg) bool {
	if !reply.Response || reply.Id != m.Id || reply.Opcode != m.Opcode {
		return false
	}
	if len(reply.Question) != 1 {
		return reply.Rcode != miekg.RcodeSuccess && len(reply.Answer) == 0 && len(reply.Question) == 0
	}
	a, b := reply.Question[0], m.Question[0]
	return miekg.CanonicalName(a.Name) == miekg.CanonicalName(b.Name) && a.Qtype == b.Qtype && a.Qclass == b.Qclass
}

// sound tells whether an answer can be handed on: the library reads records without data (RFC 2136, 2.5 has some) that no
// client can.
func sound(reply *miekg.Msg) bool {
	packed, err := reply.Pack()
	return err == nil && new(miekg.Msg).Unpack(packed) == nil
}
