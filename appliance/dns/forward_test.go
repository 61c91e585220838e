package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"
)

// upstream is a resolver of the outside. answer is called for each question; nil is no answer.
type upstream struct {
	at       netip.AddrPort
	udp, tcp atomic.Int64 // questions
	mu       sync.Mutex
	last     *miekg.Msg
}

func newUpstream(t testing.TB, answer func(req *miekg.Msg, udp bool) *miekg.Msg) *upstream {
	t.Helper()
	u := &upstream{at: freePort(t, "127.0.0.1")}
	h := miekg.HandlerFunc(func(w miekg.ResponseWriter, req *miekg.Msg) {
		_, udp := w.RemoteAddr().(*net.UDPAddr)
		if udp {
			u.udp.Add(1)
		} else {
			u.tcp.Add(1)
		}
		u.mu.Lock()
		u.last = req
		u.mu.Unlock()
		if m := answer(req, udp); m != nil {
			w.WriteMsg(m)
		}
	})
	for _, network := range []string{"udp", "tcp"} {
		started := make(chan struct{})
		srv := &miekg.Server{Addr: u.at.String(), Net: network, Handler: h, NotifyStartedFunc: func() { close(started) }}
		done := make(chan error, 1)
		go func() { done <- srv.ListenAndServe() }()
		select {
		case <-started:
		case err := <-done:
			t.Fatal(err)
		}
		t.Cleanup(func() {
			srv.Shutdown()
			<-done
		})
	}
	return u
}

func rr(t testing.TB, s string) miekg.RR {
	t.Helper()
	r, err := miekg.NewRR(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fixed answers every question with the same records.
func fixed(t testing.TB, rcode int, answer ...string) func(*miekg.Msg, bool) *miekg.Msg {
	return func(req *miekg.Msg, _ bool) *miekg.Msg {
		m := new(miekg.Msg).SetRcode(req, rcode)
		m.RecursionAvailable, m.AuthenticatedData = true, true
		for _, s := range answer {
			if rest, ok := strings.CutPrefix(s, "ns "); ok {
				m.Ns = append(m.Ns, rr(t, rest))
			} else {
				m.Answer = append(m.Answer, rr(t, s))
			}
		}
		return m
	}
}

func silent(*miekg.Msg, bool) *miekg.Msg { return nil }

// through gives a Server with forwarders that are in a hurry.
func through(t testing.TB, ups ...*upstream) *Server {
	var list []netip.AddrPort
	for _, u := range ups {
		list = append(list, u.at)
	}
	s := newServer(t, func(c *Config) {
		c.Forwarders = func() []netip.AddrPort { return list }
		c.Timeout, c.Patience = 500*time.Millisecond, 4*time.Second
	})
	t.Cleanup(s.forward.wait)
	return s
}

const web = "www.example.com. 300 IN A 192.0.2.80"

func question(name string) *miekg.Msg { return new(miekg.Msg).SetQuestion(name, miekg.TypeA) }

func TestForward(t *testing.T) {
	for _, tt := range []struct {
		name string
		ups  []func(*miekg.Msg, bool) *miekg.Msg
		want string
		udp  []int64 // questions by UDP that each got
	}{
		{"the first knows", []func(*miekg.Msg, bool) *miekg.Msg{fixed(t, 0, web), fixed(t, 0, web)}, "NOERROR ra\n" + web, []int64{1, 0}},
		{"the first is silent", []func(*miekg.Msg, bool) *miekg.Msg{silent, fixed(t, 0, web)}, "NOERROR ra\n" + web, []int64{1, 1}},
		{"the first fails", []func(*miekg.Msg, bool) *miekg.Msg{fixed(t, miekg.RcodeServerFailure), fixed(t, 0, web)}, "NOERROR ra\n" + web, []int64{1, 1}},
		{"the first refuses", []func(*miekg.Msg, bool) *miekg.Msg{fixed(t, miekg.RcodeRefused), fixed(t, 0, web)}, "NOERROR ra\n" + web, []int64{1, 1}},
		{"both refuse", []func(*miekg.Msg, bool) *miekg.Msg{fixed(t, miekg.RcodeRefused), fixed(t, miekg.RcodeRefused)}, "REFUSED ra", []int64{1, 1}},
		{"both are silent", []func(*miekg.Msg, bool) *miekg.Msg{silent, silent}, "SERVFAIL ra", []int64{1, 1}},
		{"no such name", []func(*miekg.Msg, bool) *miekg.Msg{fixed(t, miekg.RcodeNameError, "ns example.com. 60 IN SOA a. b. 1 2 3 4 30"), fixed(t, 0, web)},
			"NXDOMAIN ra\nns example.com. 60 IN SOA a. b. 1 2 3 4 30", []int64{1, 0}},
		{"another question's answer", []func(*miekg.Msg, bool) *miekg.Msg{func(req *miekg.Msg, _ bool) *miekg.Msg {
			m := fixed(t, 0, web)(req, true)
			m.Question[0].Name = "evil.example.com."
			return m
		}, fixed(t, 0, web)}, "NOERROR ra\n" + web, []int64{1, 1}},
		{"no answer at all", []func(*miekg.Msg, bool) *miekg.Msg{func(req *miekg.Msg, _ bool) *miekg.Msg {
			m := fixed(t, 0)(req, true)
			m.Ns = []miekg.RR{&miekg.RFC3597{Hdr: miekg.RR_Header{Name: "example.com.", Rrtype: miekg.TypeSOA, Class: miekg.ClassINET}}}
			return m
		}, fixed(t, 0, web)}, "NOERROR ra\n" + web, []int64{1, 1}},
		{"another number", []func(*miekg.Msg, bool) *miekg.Msg{func(req *miekg.Msg, _ bool) *miekg.Msg {
			m := fixed(t, 0, "www.example.com. 300 IN A 192.0.2.66")(req, true)
			m.Id++
			return m
		}, fixed(t, 0, web)}, "NOERROR ra\n" + web, []int64{1, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			var ups []*upstream
			for _, answer := range tt.ups {
				ups = append(ups, newUpstream(t, answer))
			}
			s := through(t, ups...)
			for range 2 { // the second time out of the cache
				if diff := cmp.Diff(tt.want, text(s.answer(t.Context(), ip("10.77.0.3"), question("www.example.com."), true))); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			}
			var got []int64
			for _, u := range ups {
				got = append(got, u.udp.Load())
			}
			if diff := cmp.Diff(tt.udp, got); diff != "" {
				t.Errorf("questions: -want +got:\n%s", diff)
			}
		})
	}
}

// TestForwardTruncated shows that a cut answer is fetched by TCP and cut again for a client that takes no more.
func TestForwardTruncated(t *testing.T) {
	var long []string
	for i := range 100 {
		long = append(long, fmt.Sprintf("www.example.com. 300 IN A 192.0.2.%d", i))
	}
	up := newUpstream(t, func(req *miekg.Msg, udp bool) *miekg.Msg {
		m := fixed(t, 0, long...)(req, udp)
		if udp {
			m.Answer, m.Truncated = nil, true
		}
		return m
	})
	s := through(t, up)
	if m := s.answer(t.Context(), ip("10.77.0.3"), question("www.example.com."), false); len(m.Answer) != 100 || m.Truncated {
		t.Errorf("by TCP: %d records, cut %v", len(m.Answer), m.Truncated)
	}
	if m := s.answer(t.Context(), ip("10.77.0.3"), question("www.example.com."), true); len(m.Answer) == 100 || !m.Truncated || m.Len() > 512 {
		t.Errorf("by UDP: %d records, cut %v, %d bytes", len(m.Answer), m.Truncated, m.Len())
	}
	if up.udp.Load() != 1 || up.tcp.Load() != 1 {
		t.Errorf("asked %d times by UDP and %d by TCP, want one each", up.udp.Load(), up.tcp.Load())
	}
}

// TestQuery shows what of a client's question leaves the cluster.
func TestQuery(t *testing.T) {
	up := newUpstream(t, fixed(t, 0, web))
	s := through(t, up)
	req := question("WWW.example.com.")
	req.CheckingDisabled, req.AuthenticatedData = true, true
	req.SetEdns0(4096, true)
	req.IsEdns0().Option = append(req.IsEdns0().Option, &miekg.EDNS0_COOKIE{Code: miekg.EDNS0COOKIE, Cookie: "0011223344556677"})
	m := s.answer(t.Context(), ip("10.77.0.3"), req, true)
	if m.Question[0].Name != "WWW.example.com." || !m.IsEdns0().Do() || m.AuthenticatedData {
		t.Errorf("answer: %v", m)
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	got := up.last
	if got.Id == req.Id || !got.RecursionDesired || !got.CheckingDisabled || len(got.IsEdns0().Option) != 0 || !got.IsEdns0().Do() || got.IsEdns0().UDPSize() != ednsSize {
		t.Errorf("asked: %v", got)
	}
}

// TestOneQuestionForAll shows that a crowd's question is asked once, and that a machine that asks for too much gets no
// more than its part.
func TestOneQuestionForAll(t *testing.T) {
	release := make(chan struct{})
	up := newUpstream(t, func(req *miekg.Msg, udp bool) *miekg.Msg {
		<-release
		return fixed(t, 0, web)(req, udp)
	})
	s := newServer(t, func(c *Config) {
		c.Forwarders = func() []netip.AddrPort { return []netip.AddrPort{up.at} }
		c.Forwards, c.PerHost = 30, 10
	})
	t.Cleanup(s.forward.wait)
	answers := make(chan *miekg.Msg)
	for client := range 4 { // 10 questions of each have room, but only of three machines
		for range 12 {
			go func() {
				answers <- s.answer(t.Context(), netip.AddrFrom4([4]byte{10, 77, 0, byte(10 + client)}), question("www.example.com."), true)
			}()
		}
	}
	for range 4*12 - 30 {
		if m := <-answers; m.Rcode != miekg.RcodeServerFailure {
			t.Errorf("answer without room: %s", text(m))
		}
	}
	close(release)
	for range 30 {
		if m := <-answers; len(m.Answer) != 1 {
			t.Errorf("answer: %s", text(m))
		}
	}
	if n := up.udp.Load(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	if s.forward.room.all != 0 || len(s.forward.room.held) != 0 {
		t.Errorf("room not given back: %d, %v", s.forward.room.all, s.forward.room.held)
	}
}

// TestResting shows that a forwarder that was silent is asked last, until it has answered.
func TestResting(t *testing.T) {
	f := newForwarder(Config{Log: testLog(t)})
	a, b, c := netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53"), netip.MustParseAddrPort("192.0.2.3:53")
	list := []netip.AddrPort{a, b, c}
	order := func(after time.Duration) []netip.AddrPort {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.order(list, time.Now().Add(after))
	}
	check := func(what string, got, want []netip.AddrPort) {
		t.Helper()
		if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", what, diff)
		}
	}
	check("at first", order(0), list)
	f.learn(t.Context(), a, context.DeadlineExceeded)
	check("a silent", order(0), []netip.AddrPort{b, c, a})
	check("later", order(2*restTime), list)
	f.learn(t.Context(), b, context.DeadlineExceeded)
	check("a and b silent", order(0), []netip.AddrPort{c, a, b})
	f.learn(t.Context(), a, nil)
	check("a answers", order(0), []netip.AddrPort{a, c, b})
}

// TestStop shows that the end of the head does not wait for forwarders.
func TestStop(t *testing.T) {
	up := newUpstream(t, silent)
	s := newServer(t, func(c *Config) {
		c.Forwarders = func() []netip.AddrPort { return []netip.AddrPort{up.at} }
		c.Timeout, c.Patience = time.Hour, time.Hour
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan *miekg.Msg)
	go func() { done <- s.answer(ctx, ip("10.77.0.3"), question("www.example.com."), true) }()
	for end := time.Now().Add(5 * time.Second); up.udp.Load() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if m := <-done; m.Rcode != miekg.RcodeServerFailure {
		t.Errorf("answer: %s", text(m))
	}
	s.forward.wait()
}
