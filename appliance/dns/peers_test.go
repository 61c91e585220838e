package dns

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"
)

// dnsmasq runs one as the resolver of the outside world.
func dnsmasq(t testing.TB) netip.AddrPort {
	t.Helper()
	prerequisite.Programs(t, "dnsmasq")
	at := freePort(t, "127.0.0.1")
	args := []string{"-d", "-C", "/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces", "--listen-address=127.0.0.1",
		"--port=" + fmt.Sprint(at.Port()), "--user=", "--local-ttl=300", "--auth-ttl=300",
		"--address=/www.example.com/192.0.2.80", "--address=/www.example.com/2001:db8::80", "--ptr-record=80.2.0.192.in-addr.arpa,leak.example.com",
		"--ptr-record=1.0.0.11.in-addr.arpa,eleven.example.com", "--local=/example.com/", "--address=/cluster/192.0.2.66",
	}
	for i := range 8 { // more than fits into 512 and into 1232 bytes
		args = append(args, fmt.Sprintf("--txt-record=big.example.com,%d%s", i, strings.Repeat("x", 240)))
	}
	cmd := exec.Command("dnsmasq", args...)
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("dnsmasq:\n%s", log.String())
		}
	})
	client := miekg.Client{Timeout: 100 * time.Millisecond}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, _, err := client.Exchange(question("www.example.com."), at.String()); err == nil {
			return at
		}
	}
	t.Fatal("dnsmasq does not answer")
	return at
}

// dig gives the header line, and the lines of the sections, of what BIND's dig shows.
func dig(t testing.TB, at netip.AddrPort, args ...string) string {
	t.Helper()
	args = append([]string{"@" + at.Addr().String(), "-p", fmt.Sprint(at.Port()), "+tries=1", "+time=8", "+norrcomments"}, args...)
	out, err := exec.Command("dig", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("dig %q: %v\n%s", args, err, out)
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		line = strings.Join(strings.Fields(line), " ")
		if _, rest, ok := strings.Cut(line, "status: "); ok {
			status, _, _ := strings.Cut(rest, ",")
			got = append(got, status)
		}
		if rest, ok := strings.CutPrefix(line, ";; flags: "); ok {
			flags, _, _ := strings.Cut(rest, ";")
			got = append(got, flags)
		}
		if strings.HasPrefix(line, "; EDE") || strings.HasPrefix(line, ";; WARNING") || strings.Contains(line, "malformed") {
			got = append(got, line)
		}
		if line != "" && !strings.HasPrefix(line, ";") {
			got = append(got, line)
		}
	}
	return strings.Join(got, "\n")
}

func TestDig(t *testing.T) {
	prerequisite.Programs(t, "dig")
	forwarder := dnsmasq(t)
	at := start(t, func(c *Config) { c.Forwarders = func() []netip.AddrPort { return []netip.AddrPort{forwarder} } })
	for _, tt := range []struct {
		name string
		args string
		want string
	}{
		{"a node", "n01.cluster", "NOERROR\nqr aa rd ra\nn01.cluster. 10 IN A 10.77.0.101"},
		{"by TCP", "+tcp n01.cluster", "NOERROR\nqr aa rd ra\nn01.cluster. 10 IN A 10.77.0.101"},
		{"without EDNS", "+noedns n01.cluster", "NOERROR\nqr aa rd ra\nn01.cluster. 10 IN A 10.77.0.101"},
		{"by the search domain", "+search +domain=cluster n01", "NOERROR\nqr aa rd ra\nn01.cluster. 10 IN A 10.77.0.101"},
		{"IPv6 of a head", "head2.cluster AAAA", "NOERROR\nqr aa rd ra\nhead2.cluster. 10 IN AAAA fd00:77::2"},
		{"backwards", "-x 10.77.0.101", "NOERROR\nqr aa rd ra\n101.0.77.10.in-addr.arpa. 10 IN PTR n01.cluster."},
		{"IPv6 backwards", "-x fd00:77::2 +short", "head2.cluster."},
		{"none of ours", "n99.cluster", "NXDOMAIN\nqr aa rd ra\n" + soa}, // though the forwarder has any name below cluster
		{"nothing of that type", "n01.cluster MX", "NOERROR\nqr aa rd ra\n" + soa},
		{"a private address of nobody", "-x 192.168.9.9", "NXDOMAIN\nqr aa rd ra\n" + soaOf("168.192.in-addr.arpa.")},
		{"a documentation address that the forwarder knows", "-x 192.0.2.80", "NXDOMAIN\nqr aa rd ra\n" + soaOf("2.0.192.in-addr.arpa.")},
		{"the name servers", "cluster NS", "NOERROR\nqr aa rd ra\ncluster. 10 IN NS head1.cluster.\ncluster. 10 IN NS head2.cluster.\n" +
			"head1.cluster. 10 IN A 10.77.0.1\nhead2.cluster. 10 IN A 10.77.0.2\nhead2.cluster. 10 IN AAAA fd00:77::2"},
		{"a transfer", "+noedns cluster AXFR +onesoa", "; Transfer failed."},
		{"version.bind", "version.bind CH TXT +noedns", "REFUSED\nqr rd ra"},
		{"EDNS version 1", "+edns=1 +noednsneg n01.cluster", "BADVERS\nqr rd ra"},
		{"not recursive", "+norec www.example.com", "REFUSED\nqr ra"},
		{"of the outside", "www.example.com", "NOERROR\nqr rd ra\nwww.example.com. 300 IN A 192.0.2.80"},
		{"of the outside, IPv6", "www.example.com AAAA +short", "2001:db8::80"},
		{"of the outside, backwards", "-x 11.0.0.1 +short", "eleven.example.com."},
		{"of the outside, none", "nothing.example.com", "NXDOMAIN\nqr rd ra"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Contains(tt.args, "AXFR") {
				out, _ := exec.Command("dig", append([]string{"@" + at.Addr().String(), "-p", fmt.Sprint(at.Port())}, strings.Fields(tt.args)...)...).CombinedOutput()
				if !strings.Contains(string(out), tt.want) {
					t.Errorf("got %s", out)
				}
				return
			}
			got := dig(t, at, strings.Fields(tt.args)...)
			if strings.HasPrefix(got, "NOERROR\nqr rd ra\nwww.example.com. 2") { // a second may have passed
				got = "NOERROR\nqr rd ra\nwww.example.com. 300 IN A 192.0.2.80"
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("dig %s: -want +got:\n%s", tt.args, diff)
			}
		})
	}
	t.Run("long", func(t *testing.T) {
		got := dig(t, at, "big.example.com", "TXT") // dig goes on by TCP
		if n := strings.Count(got, "IN TXT"); n != 8 || !strings.HasPrefix(got, "NOERROR") {
			t.Errorf("%d records: %s", n, got)
		}
		got = dig(t, at, "+ignore", "+noedns", "big.example.com", "TXT")
		if !strings.HasPrefix(got, "NOERROR\nqr tc rd ra") {
			t.Errorf("by UDP: %s", got)
		}
	})
	t.Run("on IPv6", func(t *testing.T) {
		got := dig(t, netip.AddrPortFrom(netip.IPv6Loopback(), at.Port()), "n01.cluster", "+short")
		if got != "10.77.0.101" {
			t.Errorf("got %s", got)
		}
	})
}

// TestDigDead shows what a person sees when the way out is dead: our own names, and a reason for the others.
func TestDigDead(t *testing.T) {
	prerequisite.Programs(t, "dig")
	dead := freePort(t, "127.0.0.1")
	at := start(t, func(c *Config) { c.Forwarders = func() []netip.AddrPort { return []netip.AddrPort{dead} } })
	began := time.Now()
	got := dig(t, at, "www.example.com")
	if !strings.HasPrefix(got, "SERVFAIL\nqr rd ra\n; EDE: 22 (No Reachable Authority): (") || !strings.Contains(got, dead.String()) {
		t.Errorf("got %s", got)
	}
	if took := time.Since(began); took > DefaultPatience+time.Second {
		t.Errorf("took %v", took)
	}
	if got := dig(t, at, "n01.cluster", "+short"); got != "10.77.0.101" {
		t.Errorf("our own: %s", got)
	}
}

// TestGoResolver asks as programs do: names with and without the domain, and addresses.
func TestGoResolver(t *testing.T) {
	at := start(t, nil)
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, at.String())
	}}
	addrs, err := r.LookupNetIP(t.Context(), "ip", "head2.cluster.")
	if err != nil || len(addrs) != 2 {
		t.Errorf("head2: %v, %v", addrs, err)
	}
	names, err := r.LookupAddr(t.Context(), "10.77.0.101")
	if err != nil || len(names) != 1 || names[0] != "n01.cluster." {
		t.Errorf("10.77.0.101: %v, %v", names, err)
	}
	var gone *net.DNSError
	if _, err = r.LookupNetIP(t.Context(), "ip", "n99.cluster."); !errors.As(err, &gone) || !gone.IsNotFound {
		t.Errorf("n99: %v, want that there is no such host", err)
	}
}

// TestGetent asks through the C library of this machine, with a resolv.conf as our nodes have it.
func TestGetent(t *testing.T) {
	prerequisite.Programs(t, "getent")
	prerequisite.Programs(t, "unshare")
	prerequisite.Root(t)
	at := netip.MustParseAddrPort("127.77.0.53:53")
	start(t, func(c *Config) { c.Listen = []netip.AddrPort{at} })
	dir := t.TempDir()
	resolv, nss := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "nsswitch.conf")
	for file, content := range map[string]string{resolv: "search cluster\nnameserver 127.77.0.53\n", nss: "hosts: dns\n"} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script := fmt.Sprintf("mount --bind %s /etc/resolv.conf && mount --bind %s /etc/nsswitch.conf || exit 77\n"+
		"for n in n01 n01.cluster head2 10.77.0.101 n99 parent-head-node; do getent hosts $n || echo $n: none; done", resolv, nss)
	cmd := exec.Command("unshare", "-m", "sh", "-c", script)
	cmd.Env = append(os.Environ(), "RES_OPTIONS=timeout:2 attempts:2")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	prerequisite.Have(t, !errors.As(err, &exit) || exit.ExitCode() != 77, "mount namespaces ("+strings.TrimSpace(string(out))+")")
	var got []string
	for s := bufio.NewScanner(strings.NewReader(string(out))); s.Scan(); {
		got = append(got, strings.Join(strings.Fields(s.Text()), " "))
	}
	want := []string{"10.77.0.101 n01.cluster", "10.77.0.101 n01.cluster", "fd00:77::2 head2.cluster", "10.77.0.101 n01.cluster", "n99: none", "parent-head-node: none"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestConnections shows that strangers' and too many TCP connections are closed, and that places come back.
func TestConnections(t *testing.T) {
	at := start(t, func(c *Config) { c.Conns, c.PerHost = 3, 3 })
	var conns []*miekg.Conn
	for range 3 {
		conn, err := miekg.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	for _, c := range conns { // each is served, so each has been accepted
		if _, _, err := new(miekg.Client).ExchangeWithConn(question("n01.cluster."), c); err != nil {
			t.Fatal(err)
		}
	}
	fourth, err := miekg.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer fourth.Close()
	if m, _, err := (&miekg.Client{Timeout: 5 * time.Second}).ExchangeWithConn(question("n01.cluster."), fourth); err == nil {
		t.Errorf("the fourth was served: %v", m)
	}
	if m := ask(t, "udp", at, question("n01.cluster.")); len(m.Answer) != 1 {
		t.Errorf("by UDP meanwhile: %s", text(m))
	}
	conns[0].Close()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		m, _, err := (&miekg.Client{Net: "tcp"}).Exchange(question("n01.cluster."), at.String())
		if err == nil && len(m.Answer) == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no place came back: %v", err)
		}
	}
}
