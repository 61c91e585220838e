package dns

import (
	"context"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
)

// FuzzAnswer gives a server any packet. An answer must be one that the client can read, to its question, and of a size
// that it takes.
func FuzzAnswer(f *testing.F) {
	seed := func(m *miekg.Msg) {
		if b, err := m.Pack(); err == nil {
			f.Add(b, true)
			f.Add(b, false)
		}
	}
	for _, name := range []string{"n01.cluster.", "cluster.", "101.0.77.10.in-addr.arpa.", "x.ip6.arpa.", "example.com.", "."} {
		for _, qtype := range []uint16{miekg.TypeA, miekg.TypeANY, miekg.TypePTR, miekg.TypeAXFR} {
			seed(new(miekg.Msg).SetQuestion(name, qtype))
			seed(new(miekg.Msg).SetQuestion(name, qtype).SetEdns0(4096, true))
		}
	}
	f.Add([]byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1}, true) // a name that points at itself
	s := newServer(f, nil)
	f.Fuzz(func(t *testing.T, packet []byte, udp bool) {
		req := new(miekg.Msg)
		if req.Unpack(packet) != nil {
			return // the library refuses it before us
		}
		for _, client := range []string{"10.77.0.3", "192.0.2.1"} {
			m := s.answer(context.Background(), ip(client), req, udp)
			if m == nil {
				continue
			}
			out, err := m.Pack()
			if err != nil {
				t.Fatalf("%v\n%v", err, m)
			}
			size := 65535
			if udp {
				size = 512
				if opt := req.IsEdns0(); opt != nil {
					size = max(size, int(opt.UDPSize()))
				}
			}
			back := new(miekg.Msg)
			if err := back.Unpack(out); err != nil || back.Id != req.Id || !back.Response || len(out) > size {
				t.Fatalf("%v, number %d of %d, %d bytes of %d", err, back.Id, req.Id, len(out), size)
			}
			if len(req.Question) > 0 && (len(back.Question) != 1 || back.Question[0] != req.Question[0]) {
				t.Fatalf("question %v, want %v", back.Question, req.Question[0])
			}
			if req.IsEdns0() == nil && back.IsEdns0() != nil {
				t.Fatal("EDNS to a client that does not know it")
			}
		}
	})
}

// FuzzForwarded gives a server any packet as the word of a forwarder. What it makes of it must be readable, and of a size
// that the client takes; and the cache must be able to age it.
func FuzzForwarded(f *testing.F) {
	for _, answer := range [][]string{{web}, {"www.example.com. 60 IN CNAME a.example.com.", "ns example.com. 60 IN SOA a. b. 1 2 3 4 30"}, nil} {
		if b, err := fixed(f, miekg.RcodeSuccess, answer...)(question("www.example.com."), true).Pack(); err == nil {
			f.Add(b, true)
			f.Add(b, false)
		}
	}
	f.Fuzz(func(t *testing.T, packet []byte, udp bool) {
		found := new(miekg.Msg)
		if found.Unpack(packet) != nil {
			return
		}
		req := question("www.example.com.")
		req.Id = found.Id
		if !answers(found, req) || !sound(found) {
			return
		}
		if life := lifetime(found); life < 0 || life > maxTTL {
			t.Fatalf("kept for %v", life)
		}
		found = aged(found, time.Minute)
		m := new(miekg.Msg).SetReply(req)
		m.Rcode, m.Answer, m.Ns, m.Extra = found.Rcode, found.Answer, found.Ns, found.Extra
		finish(req, m, udp, because(miekg.ExtendedErrorCodeOther, errBusy))
		out, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if back := new(miekg.Msg); back.Unpack(out) != nil || udp && len(out) > plainSize || len(back.Question) != 1 {
			t.Fatalf("%d bytes, %v", len(out), back)
		}
	})
}
