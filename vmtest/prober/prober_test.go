package prober

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"masthead/vmtest/ethernet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func answers(text string) []Answer {
	var all []Answer
	for i, c := range text {
		if c != '.' {
			all = append(all, Answer{time.Duration(i) * 5 * time.Millisecond, string(c)})
		}
	}
	return all
}

func TestRecord(t *testing.T) {
	for _, test := range []struct {
		name, answers string
		longest       time.Duration
		spans         int
		doubles       int
	}{
		{"one owner", "aaaaaaaa", 5 * time.Millisecond, 1, 0},
		{"a takeover", "aaaa....bbbb", 25 * time.Millisecond, 2, 0},
		{"nobody", "", 0, 0, 0},
		{"two at once", "aaababbb", 5 * time.Millisecond, 4, 2},
		{"there and back", "aaa...........................................bb...........................................aa", 220 * time.Millisecond, 3, 0},
	} {
		all := answers(test.answers)
		if got := Longest(all).Length(); got != test.longest {
			t.Errorf("%s: longest gap %v, want %v", test.name, got, test.longest)
		}
		if got := len(Spans(all)); got != test.spans {
			t.Errorf("%s: %d spans, want %d", test.name, got, test.spans)
		}
		if got := len(Doubles(all, 100*time.Millisecond)); got != test.doubles {
			t.Errorf("%s: %d doubles, want %d", test.name, got, test.doubles)
		}
	}
}

// A machine on a switch answers ARP and echo requests as a kernel does; the prober sees both, and who it was.
func TestProber(t *testing.T) {
	sw := ethernet.NewSwitch("test", 1)
	defer sw.Close()
	mine, err := sw.Attach("prober")
	if err != nil {
		t.Fatal(err)
	}
	owner, err := sw.Attach("owner")
	if err != nil {
		t.Fatal(err)
	}
	mac, _ := net.ParseMAC("52:54:00:00:00:01")
	ownerMAC, _ := net.ParseMAC("52:54:00:00:00:02")
	self, vip := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.100")
	p, err := New(mine, mac, self, vip)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	done := make(chan error, 2)
	go func() { done <- p.Run(ctx) }()
	go func() {
		var b [2048]byte
		for {
			n, err := owner.Receive(ctx, b[:])
			if err != nil {
				done <- nil
				return
			}
			f := b[:n]
			if a, ok := parseARP(f[14:]); f[12] == 8 && f[13] == 6 && ok && a.op == arpRequest && a.target == vip {
				_ = owner.Send(arp(arpReply, a.hardware, ownerMAC, vip, a.hardware, a.sender))
			} else if f[12] == 8 && f[13] == 0 && f[14+20] == 8 { // an echo request: turned round
				r := append([]byte(nil), f...)
				copy(r, f[6:12])
				copy(r[6:], ownerMAC)
				copy(r[14+12:], f[14+16:14+20])
				copy(r[14+16:], f[14+12:14+16])
				r[14+20] = 0
				_ = owner.Send(r)
			}
		}
	}()
	for len(p.Record.Answers(0)) < 5 || len(p.Record.Echoes(0)) < 5 {
		if ctx.Err() != nil {
			t.Fatalf("%d answers, %d echoes", len(p.Record.Answers(0)), len(p.Record.Echoes(0)))
		}
		time.Sleep(time.Millisecond) // the kernel's clock drives the prober
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range append(p.Record.Answers(0), p.Record.Echoes(0)...) {
		if diff := cmp.Diff(ownerMAC.String(), a.MAC); diff != "" {
			t.Fatal(diff)
		}
	}
}

func FuzzTake(f *testing.F) {
	mac, _ := net.ParseMAC("52:54:00:00:00:01")
	self, vip := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.100")
	f.Add(arp(arpReply, mac, mac, vip, mac, self))
	f.Add(echo(mac, mac, vip, self, 1))
	f.Fuzz(func(t *testing.T, frame []byte) {
		p, err := New(nowhere{}, mac, self, vip)
		if err != nil {
			t.Fatal(err)
		}
		p.take(frame)
	})
}

type nowhere struct{}

func (nowhere) Send([]byte) error                            { return nil }
func (nowhere) Receive(context.Context, []byte) (int, error) { return 0, context.Canceled }

func TestStall(t *testing.T) {
	const ms = time.Millisecond
	r := &Record{asks: []time.Duration{5 * ms, 10 * ms, 60 * ms, 65 * ms}}
	for _, tt := range []struct{ from, to, want time.Duration }{
		{0, 70 * ms, 50 * ms},
		{0, 12 * ms, 5 * ms},
		{62 * ms, 100 * ms, 35 * ms}, // it still stands
		{70 * ms, 80 * ms, 10 * ms},
	} {
		if got := r.Stall(tt.from, tt.to); got != tt.want {
			t.Errorf("from %v to %v: stood still for %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
}
