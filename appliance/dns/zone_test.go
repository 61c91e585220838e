package dns

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"
	"pgregory.net/rapid"
)

// text is an answer in the order and the manner of a zone file.
func text(m *miekg.Msg) string {
	if m == nil {
		return "none"
	}
	var b strings.Builder
	b.WriteString(miekg.RcodeToString[m.Rcode])
	for _, f := range []struct {
		set  bool
		name string
	}{{m.Authoritative, " aa"}, {m.RecursionAvailable, " ra"}, {m.Truncated, " tc"}, {m.AuthenticatedData, " ad"}} {
		if f.set {
			b.WriteString(f.name)
		}
	}
	for _, s := range []struct {
		name string
		all  []miekg.RR
	}{{"", m.Answer}, {"ns ", m.Ns}, {"extra ", m.Extra}} {
		for _, rr := range s.all {
			line := strings.Join(strings.Fields(rr.String()), " ")
			if opt, ok := rr.(*miekg.OPT); ok {
				line = "OPT"
				for _, o := range opt.Option {
					line += " " + o.String()
				}
			}
			b.WriteString("\n" + s.name + line)
		}
	}
	return b.String()
}

const (
	soa   = "cluster. 5 IN SOA head1.cluster. hostmaster.cluster. 1 3600 600 86400 5"
	nsset = "%s 10 IN NS head1.cluster.\n%s 10 IN NS head2.cluster."
	glue  = "extra head1.cluster. 10 IN A 10.77.0.1\nextra head2.cluster. 10 IN A 10.77.0.2\nextra head2.cluster. 10 IN AAAA fd00:77::2"
)

func soaOf(zone string) string { return zone + strings.TrimPrefix(soa, "cluster.") }
func nsOf(owner string) string { return strings.ReplaceAll(nsset, "%s", owner) + "\n" + glue }
func denied(zone string) string {
	return "NXDOMAIN aa\nns " + soaOf(zone)
}
func empty(zone string) string { return "NOERROR aa\nns " + soaOf(zone) }

// TestAnswer has what a head says by itself; where it would ask others it has none to ask, and refuses.
func TestAnswer(t *testing.T) {
	const others = "REFUSED"
	for _, tt := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"n01.cluster.", miekg.TypeA, "NOERROR aa\nn01.cluster. 10 IN A 10.77.0.101"},
		{"N01.cLuStEr.", miekg.TypeA, "NOERROR aa\nN01.cLuStEr. 10 IN A 10.77.0.101"},
		{"n01.cluster.", miekg.TypeAAAA, empty("cluster.")},
		{"n01.cluster.", miekg.TypeMX, empty("cluster.")},
		{"n01.cluster.", miekg.TypeSOA, empty("cluster.")},
		{"n01.cluster.", miekg.TypeANY, "NOERROR aa\nn01.cluster. 10 IN A 10.77.0.101"},
		{"head2.cluster.", miekg.TypeA, "NOERROR aa\nhead2.cluster. 10 IN A 10.77.0.2"},
		{"head2.cluster.", miekg.TypeAAAA, "NOERROR aa\nhead2.cluster. 10 IN AAAA fd00:77::2"},
		{"n99.cluster.", miekg.TypeA, denied("cluster.")},
		{"n99.cluster.", miekg.TypeTXT, denied("cluster.")},
		{"x.n01.cluster.", miekg.TypeA, denied("cluster.")},
		{"parent-head-node.cluster.", miekg.TypeA, denied("cluster.")},
		{"cluster.", miekg.TypeA, empty("cluster.")},
		{"cluster.", miekg.TypeSOA, "NOERROR aa\n" + strings.Replace(soa, " 5 IN", " 10 IN", 1)},
		{"cluster.", miekg.TypeNS, "NOERROR aa\n" + nsOf("cluster.")},
		{"xcluster.", miekg.TypeNS, others},
		{"cluster.example.", miekg.TypeA, others},
		{"n01.", miekg.TypeA, "NXDOMAIN"},
		{"n01.", miekg.TypeNS, others},
		{".", miekg.TypeNS, others},

		{"101.0.77.10.in-addr.arpa.", miekg.TypePTR, "NOERROR aa\n101.0.77.10.in-addr.arpa. 10 IN PTR n01.cluster."},
		{"101.0.77.10.IN-ADDR.arpa.", miekg.TypePTR, "NOERROR aa\n101.0.77.10.IN-ADDR.arpa. 10 IN PTR n01.cluster."},
		{"101.0.77.10.in-addr.arpa.", miekg.TypeA, empty("0.77.10.in-addr.arpa.")},
		{"102.0.77.10.in-addr.arpa.", miekg.TypePTR, denied("0.77.10.in-addr.arpa.")},
		{"0101.0.77.10.in-addr.arpa.", miekg.TypePTR, denied("0.77.10.in-addr.arpa.")},
		{"b._dns-sd._udp.0.0.77.10.in-addr.arpa.", miekg.TypePTR, denied("0.77.10.in-addr.arpa.")},
		{"0.77.10.in-addr.arpa.", miekg.TypeNS, "NOERROR aa\n" + nsOf("0.77.10.in-addr.arpa.")},
		{"0.77.10.in-addr.arpa.", miekg.TypePTR, empty("0.77.10.in-addr.arpa.")},
		{"9.3.88.10.in-addr.arpa.", miekg.TypePTR, "NOERROR aa\n9.3.88.10.in-addr.arpa. 10 IN PTR n02.cluster."},
		{"9.4.88.10.in-addr.arpa.", miekg.TypePTR, denied("10.in-addr.arpa.")}, // behind the /22
		{"77.10.in-addr.arpa.", miekg.TypeNS, empty("10.in-addr.arpa.")},       // on the way to ours
		{"78.10.in-addr.arpa.", miekg.TypeNS, denied("10.in-addr.arpa.")},
		{"1.16.172.in-addr.arpa.", miekg.TypePTR, denied("16.172.in-addr.arpa.")},
		{"1.1.32.172.in-addr.arpa.", miekg.TypePTR, others},
		{"1.1.168.192.in-addr.arpa.", miekg.TypePTR, denied("168.192.in-addr.arpa.")},
		{"x.10.in-addr.arpa.", miekg.TypePTR, denied("10.in-addr.arpa.")},
		{"8.8.8.8.in-addr.arpa.", miekg.TypePTR, others},
		{"in-addr.arpa.", miekg.TypeNS, others},
		{"2" + strings.Repeat(".0", 15) + ".0.0.0.0.7.7.0.0.0.0.d.f.ip6.arpa.", miekg.TypePTR, empty("0.0.0.0.0.0.0.0.7.7.0.0.0.0.d.f.ip6.arpa.")}, // four labels short of an address
		{"2" + strings.Repeat(".0", 15) + ".0.0.0.0.0.0.0.0.7.7.0.0.0.0.d.f.ip6.arpa.", miekg.TypePTR,
			"NOERROR aa\n2" + strings.Repeat(".0", 15) + ".0.0.0.0.0.0.0.0.7.7.0.0.0.0.d.f.ip6.arpa. 10 IN PTR head2.cluster."},
		{"d.f.ip6.arpa.", miekg.TypeNS, "NOERROR aa\n" + nsOf("d.f.ip6.arpa.")},
		{"8.b.d.0.1.0.0.2.ip6.arpa.", miekg.TypePTR, empty("8.b.d.0.1.0.0.2.ip6.arpa.")},
		{"1.0.0.2.ip6.arpa.", miekg.TypePTR, others},

		{"localhost.", miekg.TypeA, "NOERROR aa\nlocalhost. 10 IN A 127.0.0.1"},
		{"a.localhost.", miekg.TypeAAAA, "NOERROR aa\na.localhost. 10 IN AAAA ::1"},
		{"x.invalid.", miekg.TypeA, denied("invalid.")},
	} {
		t.Run(tt.name+" "+miekg.TypeToString[tt.qtype], func(t *testing.T) {
			req := new(miekg.Msg).SetQuestion(tt.name, tt.qtype)
			m := newServer(t, nil).answer(t.Context(), ip("10.77.0.101"), req, true)
			if diff := cmp.Diff(tt.want, text(m)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestRefused has questions that are none of ours, or in a form that we do not do.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		client string
		change func(*miekg.Msg)
		want   string
	}{
		{"a stranger", "192.0.2.1", nil, "REFUSED"},
		{"a stranger with EDNS", "2001:db8::1", func(m *miekg.Msg) { m.SetEdns0(4096, false) }, "REFUSED"},
		{"this machine", "127.0.0.1", nil, "NOERROR aa\nn01.cluster. 10 IN A 10.77.0.101"},
		{"mapped", "::ffff:10.77.0.3", nil, "NOERROR aa\nn01.cluster. 10 IN A 10.77.0.101"},
		{"an answer", "10.77.0.3", func(m *miekg.Msg) { m.Response = true }, "none"},
		{"NOTIFY", "10.77.0.3", func(m *miekg.Msg) { m.Opcode = miekg.OpcodeNotify }, "NOTIMP"},
		{"two questions", "10.77.0.3", func(m *miekg.Msg) { m.Question = append(m.Question, m.Question[0]) }, "FORMERR"},
		{"no question", "10.77.0.3", func(m *miekg.Msg) { m.Question = nil }, "FORMERR"},
		{"two OPTs", "10.77.0.3", func(m *miekg.Msg) { m.SetEdns0(1232, false).SetEdns0(1232, false) }, "FORMERR\nextra OPT"},
		{"EDNS", "10.77.0.3", func(m *miekg.Msg) { m.SetEdns0(1232, true) }, "NOERROR aa\nn01.cluster. 10 IN A 10.77.0.101\nextra OPT"},
		{"EDNS of the future", "10.77.0.3", func(m *miekg.Msg) { m.SetEdns0(1232, false).IsEdns0().SetVersion(1) }, "BADSIG\nextra OPT"}, // 16 is BADVERS here; the number has two names
		{"CHAOS", "10.77.0.3", func(m *miekg.Msg) { m.Question[0].Qclass = miekg.ClassCHAOS }, "REFUSED"},
		{"transfer", "10.77.0.3", func(m *miekg.Msg) { m.Question[0].Qtype = miekg.TypeAXFR }, "REFUSED"},
		{"no forwarders, with EDNS", "10.77.0.3", func(m *miekg.Msg) { m.SetQuestion("example.com.", miekg.TypeA).SetEdns0(1232, false) },
			"REFUSED\nextra OPT 20 (Not Authoritative): (" + errNoForwarder.Error() + ")"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := new(miekg.Msg).SetQuestion("n01.cluster.", miekg.TypeA)
			if tt.change != nil {
				tt.change(req)
			}
			m := newServer(t, nil).answer(t.Context(), ip(tt.client), req, true)
			if diff := cmp.Diff(tt.want, text(m)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if m != nil && m.Id != req.Id {
				t.Errorf("number %d, want %d", m.Id, req.Id)
			}
		})
	}
}

// TestStrangerGetsNoMore shows that an answer to somebody outside is not larger than the question.
func TestStrangerGetsNoMore(t *testing.T) {
	s := newServer(t, nil)
	rapid.Check(t, func(t *rapid.T) {
		req := new(miekg.Msg).SetQuestion(rapid.SampledFrom([]string{"cluster.", "n01.cluster.", "example.com."}).Draw(t, "name"), rapid.Uint16().Draw(t, "type"))
		if rapid.Bool().Draw(t, "edns") {
			req.SetEdns0(rapid.Uint16().Draw(t, "size"), rapid.Bool().Draw(t, "do"))
		}
		asked, err := req.Pack()
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.answer(context.Background(), ip("192.0.2.1"), req, true).Pack()
		if err != nil || len(got) > len(asked) {
			t.Errorf("%d bytes for %d: %v", len(got), len(asked), err)
		}
	})
}

// TestTruncated shows that an answer by UDP is no longer than the client takes, and says so.
func TestTruncated(t *testing.T) {
	many := book{hosts: map[string][]netip.Addr{"big": nil}}
	for i := range 200 {
		many.hosts["big"] = append(many.hosts["big"], netip.AddrFrom4([4]byte{10, 77, 1, byte(i)}))
	}
	s := newServer(t, func(c *Config) { c.Lookup = func() Names { return many } })
	for _, tt := range []struct {
		name string
		edns uint16 // 0: without
		udp  bool
		most int
		cut  bool
	}{
		{"plain", 0, true, 512, true},
		{"small EDNS", 100, true, 512, true},
		{"EDNS", 1000, true, 1000, true},
		{"large EDNS", 65535, true, 1232, true},
		{"TCP", 0, false, 65535, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := new(miekg.Msg).SetQuestion("big.cluster.", miekg.TypeA)
			if tt.edns > 0 {
				req.SetEdns0(tt.edns, false)
			}
			m := s.answer(t.Context(), ip("10.77.0.3"), req, tt.udp)
			got, err := m.Pack()
			if err != nil || len(got) > tt.most || m.Truncated != tt.cut || (m.IsEdns0() != nil) != (tt.edns > 0) {
				t.Errorf("%d bytes, cut %v, EDNS %v, %v; want at most %d, cut %v", len(got), m.Truncated, m.IsEdns0() != nil, err, tt.most, tt.cut)
			}
			if !tt.cut && len(m.Answer) != 200 {
				t.Errorf("%d addresses, want 200", len(m.Answer))
			}
		})
	}
}

// TestReverseNames shows that names and addresses are each other's inverse, by the library's own word.
func TestReverseNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")
		a, _ := netip.AddrFromSlice(b[:rapid.SampledFrom([]int{4, 16}).Draw(t, "length")])
		name, err := miekg.ReverseAddr(a.String())
		if err != nil {
			t.Fatal(err)
		}
		if a.Is4In6() {
			return // the library takes it for IPv4
		}
		r, ok := parseReverse(miekg.CanonicalName(name))
		want := netip.PrefixFrom(a, a.BitLen())
		if !ok || r.below || r.prefix != want || r.name(r.prefix) != name {
			t.Errorf("%s: %v %v, back %s; want %v", name, r.prefix, ok, r.name(r.prefix), want)
		}
		bits := rapid.IntRange(0, a.BitLen()/r.step).Draw(t, "labels") * r.step
		p := netip.PrefixFrom(a, bits).Masked()
		if r, ok := parseReverse(treeOf(a).name(p)); !ok || r.prefix != p || r.below {
			t.Errorf("%v: got %v %v", p, r.prefix, r.below)
		}
		if r, ok := parseReverse("x." + treeOf(a).name(p)); !ok || r.prefix != p || !r.below {
			t.Errorf("x.%v: got %v %v", p, r.prefix, r.below)
		}
	})
}

// TestNeverForwarded shows that no name of ours and of no private network reaches a forwarder, whatever is asked.
func TestNeverForwarded(t *testing.T) {
	z := zones{"cluster.", testConfig().Networks}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{".cluster.", ".10.in-addr.arpa.", ".168.192.in-addr.arpa.", ".31.172.in-addr.arpa.",
			".64.100.in-addr.arpa.", ".0.77.10.in-addr.arpa.", ".d.f.ip6.arpa.", ".localhost.", ".e.f.ip6.arpa."}).Draw(t, "zone")
		if strings.HasSuffix(name, ".e.f.ip6.arpa.") {
			name = ".9" + name // of fe80::/10
		}
		name = rapid.StringMatching(`([a-z0-9_-]{1,9}\.){0,4}[a-z0-9_-]{1,9}`).Draw(t, "host") + name
		if e, ok := z.find(name, cluster); !ok || !miekg.IsSubDomain(e.zone, name) {
			t.Errorf("%s: zone %q, ours: %v", name, e.zone, ok)
		}
	})
}

func TestConfigErrors(t *testing.T) {
	_, err := New(Config{Domain: ".", Listen: []netip.AddrPort{{}}, Networks: []netip.Prefix{{}}, Forwards: -1})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"address", "domain \".\"", "network", "no names", "limits"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want a word on %s", err, want)
		}
	}
}
