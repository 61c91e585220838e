package ntp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"

	beevik "github.com/beevik/ntp"
)

// ahead is how far the clock of the servers of these tests is from this machine's, which no client may set.
const ahead = 7 * time.Second

// start serves on a port of 127.0.0.1 and ::1; port 0 is any.
func start(t *testing.T, port uint16) netip.AddrPort {
	t.Helper()
	if port == 0 {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port = netip.MustParseAddrPort(c.LocalAddr().String()).Port()
		c.Close()
	}
	listen := []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), netip.AddrPortFrom(netip.IPv6Loopback(), port)}
	if port == Port {
		listen = listen[:1]
		listen[0] = netip.AddrPortFrom(netip.MustParseAddr("127.77.0.123"), port) // beside a daemon of this machine
	}
	s, err := New(Config{Listen: listen, Now: func() time.Time { return time.Now().Add(ahead) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	for end := time.Now().Add(10 * time.Second); ; {
		if _, err := beevik.QueryWithOptions(listen[0].String(), beevik.QueryOptions{Timeout: 100 * time.Millisecond}); err == nil {
			return listen[0]
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// near reports whether an offset that a client found is the right one.
func near(got time.Duration) bool { return (got - ahead).Abs() < 200*time.Millisecond }

func TestBeevik(t *testing.T) {
	at := start(t, 0)
	for _, address := range []string{at.String(), netip.AddrPortFrom(netip.IPv6Loopback(), at.Port()).String()} {
		for _, version := range []int{3, 4} {
			r, err := beevik.QueryWithOptions(address, beevik.QueryOptions{Version: version, Timeout: 5 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Validate(); err != nil || !near(r.ClockOffset) || r.Version != version {
				t.Errorf("%s: offset %v, version %d, %v; want %v, version %d", address, r.ClockOffset, r.Version, err, ahead, version)
			}
		}
	}
}

func TestFlood(t *testing.T) {
	at := start(t, 0)
	conn, err := net.Dial("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := unhex(t, chrony)
	for range 500 {
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
	}
	got := 0
	for buffer := make([]byte, 100); ; got++ {
		conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := conn.Read(buffer)
		if err != nil {
			break
		}
		if n > len(request) {
			t.Errorf("%d bytes for %d", n, len(request))
		}
	}
	if got > burst+2 {
		t.Errorf("%d answers to a flood, want at most %d and the few of its time", got, burst)
	}
}

// TestPeers asks with the clients of Debian, none of which sets the clock here.
func TestPeers(t *testing.T) {
	prerequisite.Have(t, os.Geteuid() == 0, "root (port 123)")
	at := start(t, Port)
	host := at.Addr().String()
	conf := filepath.Join(t.TempDir(), "chrony.conf")
	if err := os.WriteFile(conf, []byte("server "+host+" iburst maxsamples 4\ncmdport 0\npidfile "+conf+".pid\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string // with the offset in its group
	}{
		{[]string{"ntpdig", "-t", "5", host}, `([+-]\d+\.\d+) \+/- .* ` + host + ` s(4|10) no-leap`},
		{[]string{"ntpdate", "-q", host}, `([+-]\d+\.\d+) \+/- .* ` + host + ` s(4|10) no-leap`},
		{[]string{"chronyd", "-Q", "-t", "20", "-f", conf}, `System clock wrong by (-?\d+\.\d+) seconds`},
	} {
		t.Run(tt.args[0], func(t *testing.T) {
			prerequisite.Programs(t, tt.args[0])
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			out, err := exec.CommandContext(ctx, tt.args[0], tt.args[1:]...).CombinedOutput()
			m := regexp.MustCompile(tt.want).FindStringSubmatch(string(out))
			if m == nil {
				t.Fatalf("%s: %v\n%s", strings.Join(tt.args, " "), err, out)
			}
			var offset float64
			if _, err := fmt.Sscan(m[1], &offset); err != nil || !near(time.Duration(offset*float64(time.Second))) {
				t.Errorf("offset %v, want %v\n%s", offset, ahead, out)
			}
		})
	}
}
