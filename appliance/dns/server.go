package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	miekg "github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// Server is the name service of a head.
type Server struct {
	cfg     Config
	zones   zones
	forward *forwarder
	conns   *limit
}

// New checks the configuration and names all that is wrong with it.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	return &Server{
		cfg: cfg, zones: zones{cfg.Domain, cfg.Networks}, forward: newForwarder(cfg), conns: newLimit(cfg.Conns, cfg.PerHost),
	}, nil
}

// Run listens and serves until ctx ends, and returns nil then, after the last answer.
func (s *Server) Run(ctx context.Context) error {
	var servers []*miekg.Server
	closeAll := func() {
		for _, srv := range servers {
			if srv.PacketConn != nil {
				srv.PacketConn.Close()
			} else {
				srv.Listener.Close()
			}
		}
	}
	var lc net.ListenConfig
	for _, a := range s.cfg.Listen {
		udp, err := lc.ListenPacket(ctx, "udp", a.String())
		if err != nil {
			closeAll()
			return fmt.Errorf("dns: %w", err)
		}
		servers = append(servers, &miekg.Server{PacketConn: udp, UDPSize: ednsSize})
		tcp, err := lc.Listen(ctx, "tcp", a.String())
		if err != nil {
			closeAll()
			return fmt.Errorf("dns: %w", err)
		}
		servers = append(servers, &miekg.Server{Listener: &guarded{tcp, s.serves, s.conns}})
	}
	return s.serve(ctx, servers)
}

const (
	// idleTime is how long a TCP connection may be silent. It was 8 s for most servers; RFC 7766, 6.2.3 asks for seconds.
	idleTime = 8 * time.Second
	// shutTime is for connections to close at the end. Questions on their way have ended with the context by then.
	shutTime = 2 * time.Second
)

// serve answers on sockets that are open, and closes them.
func (s *Server) serve(ctx context.Context, servers []*miekg.Server) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, srv := range servers {
		srv.Handler = handler{s, ctx}
		srv.IdleTimeout = func() time.Duration { return idleTime }
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		g.Go(func() error {
			if err := srv.ActivateAndServe(); err != nil && ctx.Err() == nil {
				return fmt.Errorf("dns: %w", err)
			}
			return nil
		})
		g.Go(func() error {
			select { // one that has not started cannot be shut down
			case <-started:
			case <-time.After(shutTime):
				return errors.New("dns: not started")
			}
			<-ctx.Done()
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutTime)
			defer cancel()
			_ = srv.ShutdownContext(grace)
			return nil
		})
	}
	err := g.Wait()
	s.forward.wait()
	return err
}

// handler is the Server as the library calls it, one goroutine for each question.
type handler struct {
	*Server
	ctx context.Context
}

func (h handler) ServeDNS(w miekg.ResponseWriter, req *miekg.Msg) {
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	client, err := netip.ParseAddrPort(w.RemoteAddr().String())
	if err != nil {
		return
	}
	if m := h.answer(h.ctx, client.Addr(), req, udp); m != nil {
		if err := w.WriteMsg(m); err != nil { // the client is gone, or a forwarder's records cannot be written again
			_ = w.WriteMsg(new(miekg.Msg).SetRcode(req, miekg.RcodeServerFailure))
		}
	}
}

// serves tells the cluster's machines from others.
func (s *Server) serves(client netip.Addr) bool {
	client = client.Unmap().WithZone("")
	if client.IsLoopback() {
		return true
	}
	for _, n := range s.cfg.Networks {
		if n.Contains(client) {
			return true
		}
	}
	return false
}

// answer makes the whole answer to one message; nil: none. It blocks only while a forwarder is asked.
func (s *Server) answer(ctx context.Context, client netip.Addr, req *miekg.Msg, udp bool) *miekg.Msg {
	if req.Response {
		return nil // an answer to an answer would go on for ever
	}
	m := new(miekg.Msg).SetReply(req)
	m.RecursionAvailable = len(s.cfg.Forwarders()) > 0
	refuse := func(rcode int) *miekg.Msg {
		m.Rcode = rcode
		finish(req, m, udp, nil)
		return m
	}
	switch {
	case !s.serves(client):
		// No more than the header and the question: whoever it is said to come from gets no more than was sent.
		m.Rcode, m.RecursionAvailable = miekg.RcodeRefused, false
		return m
	case req.Opcode != miekg.OpcodeQuery:
		return refuse(miekg.RcodeNotImplemented)
	case len(req.Question) != 1 || opts(req) > 1: // RFC 6891, 6.1.1
		return refuse(miekg.RcodeFormatError)
	}
	if opt := req.IsEdns0(); opt != nil && opt.Version() != 0 { // RFC 6891, 6.1.3
		return refuse(miekg.RcodeBadVers)
	}
	q := req.Question[0]
	switch q.Qtype {
	case miekg.TypeAXFR, miekg.TypeIXFR, miekg.TypeMAILA, miekg.TypeMAILB, miekg.TypeOPT:
		return refuse(miekg.RcodeRefused)
	}
	if q.Qclass != miekg.ClassINET && q.Qclass != miekg.ClassANY {
		return refuse(miekg.RcodeRefused)
	}
	name, names := miekg.CanonicalName(q.Name), s.cfg.Lookup()
	if e, ok := s.zones.find(name, names); ok {
		s.zones.fill(m, e, names)
		finish(req, m, udp, nil)
		return m
	}
	if unqualified(name, q.Qtype) {
		return refuse(miekg.RcodeNameError)
	}
	if q.Qclass != miekg.ClassINET || !req.RecursionDesired {
		return refuse(miekg.RcodeRefused)
	}
	return s.recurse(ctx, client, req, m, udp)
}

// recurse answers with the word of a forwarder.
func (s *Server) recurse(ctx context.Context, client netip.Addr, req, m *miekg.Msg, udp bool) *miekg.Msg {
	found, err := s.forward.ask(ctx, client, req)
	var reason *miekg.EDNS0_EDE
	switch {
	case errors.Is(err, errNoForwarder):
		m.Rcode, reason = miekg.RcodeRefused, because(miekg.ExtendedErrorCodeNotAuthoritative, err)
	case found == nil:
		m.Rcode, reason = miekg.RcodeServerFailure, because(miekg.ExtendedErrorCodeNoReachableAuthority, err)
	default:
		m.Rcode, m.Answer, m.Ns, m.Extra = found.Rcode, found.Answer, found.Ns, found.Extra
		if err != nil {
			reason = because(miekg.ExtendedErrorCodeNoReachableAuthority, err)
		}
	}
	finish(req, m, udp, reason)
	return m
}

func opts(m *miekg.Msg) (n int) {
	for _, rr := range m.Extra {
		if rr.Header().Rrtype == miekg.TypeOPT {
			n++
		}
	}
	return n
}
