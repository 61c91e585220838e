package ownership

import (
	"context"
	"net"
	"net/netip"
	"net/textproto"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"masthead/appliance/failover"
	"masthead/appliance/service"
	"masthead/node/wire"
	"masthead/vmtest/arena/heads"
)

// A service's address answers while the service has started it, and no longer; the cluster's own answers all the time. A
// daemon that is killed and back within its lease changes neither.
func TestArenaServiceAddress(t *testing.T) {
	address := netip.MustParseAddr("10.9.0.101")
	r := newRing(t, 1, 0, "services: [{name: web, resources: [{ip: {address: "+address.String()+"/24}}]}]\n")
	theirs, err := r.Machine(heads.Client).Watch(address)
	must(t, err)
	defer theirs.Close()
	r.boot("head1")
	r.owner("head1", 15*time.Second)
	answers := func(within time.Duration) {
		t.Helper()
		from := theirs.Now()
		r.await(within, "the service's address answers", func() error {
			if mac, at := theirs.Last(); at < from {
				return errNotYet
			} else if r.NameOf(mac) != "head1" {
				t.Fatalf("%s answers", r.NameOf(mac))
			}
			return nil
		})
	}
	silent := func(after, length time.Duration) {
		t.Helper()
		time.Sleep(after)
		from := theirs.Now()
		time.Sleep(length)
		if n := len(theirs.Answers(from)); n > 0 {
			t.Errorf("the service's address answered %d times", n)
		}
	}
	wish := func(wish string) {
		t.Helper()
		dir := filepath.Join(r.dir, "head1")
		c, err := ReadConfig(dir)
		must(t, err)
		c.Wishes = map[string]Wish{"web": {Wish: wish, At: time.Now()}}
		_, err = WriteConfig(dir, c)
		must(t, err)
		api := r.client("head1")
		defer api.Close()
		must(t, api.ReloadOwner(context.Background()))
	}
	answers(5 * time.Second)
	for _, w := range []string{service.Disabled, service.Stopped} {
		wish(w)
		stopped, begin := theirs.Now(), r.prober.Now()
		silent(500*time.Millisecond, 300*time.Millisecond)
		if gap := r.gap(begin).Length(); gap > atRest {
			t.Errorf("%s: the cluster's address was silent for %v", w, gap)
		}
		_, at := theirs.Last()
		t.Logf("%s: answered until %v later", w, at-stopped)
		r.kill("head1")
		r.restart("head1")
		r.owner("head1", 5*time.Second)
		silent(0, 300*time.Millisecond)

		from := theirs.Now()
		wish(service.Enabled)
		answers(2 * time.Second)
		_, at = theirs.Last()
		t.Logf("enabled: answers %v later", at-from)
		from, begin = theirs.Now(), r.prober.Now()
		r.kill("head1")
		r.restart("head1")
		r.owner("head1", 5*time.Second)
		answers(time.Second)
		gap, cluster := r.longest(theirs, from), r.gap(begin).Length()
		t.Logf("kill -9 and restart: the service's address silent for %v, the cluster's for %v", gap, cluster)
		if gap > cluster+100*time.Millisecond { // which is longer than the lease where the machine is busy
			t.Errorf("kill -9 and restart: the service's address silent for %v, the cluster's for %v", gap, cluster)
		}
	}
	r.phase("head1", failover.Active, time.Second)
}

// A service that `recovery: disable` disables is told of, with a mail, and its status says that it is to be disabled in the
// cluster; who does that is package appliance.
func TestArenaServiceDisabled(t *testing.T) {
	mails := make(chan string, 10)
	r := newRing(t, 1, 0, "mail: {server: '10.9.0.2:2525', tls: none, to: [root@example.com]}\n"+
		"services: [{name: report, recovery: disable, resources: [{name: printer, script: {start: 'echo no paper; exit 1'}}]}]\n")
	client := r.Machine(heads.Client)
	if client.Address.Addr() != netip.MustParseAddr("10.9.0.2") {
		t.Fatalf("the client is at %v", client.Address)
	}
	var l net.Listener
	must(t, client.In(func() (err error) {
		l, err = net.Listen("tcp", "10.9.0.2:2525")
		return err
	}))
	var served sync.WaitGroup
	served.Go(func() { receiveMail(l, mails) })
	defer served.Wait()
	defer l.Close()
	r.boot("head1")
	r.owner("head1", 15*time.Second)
	select {
	case mail := <-mails:
		flat := strings.ReplaceAll(strings.ReplaceAll(mail, "=\n", ""), "\n ", " ") // quoted-printable, and folded
		if !strings.Contains(flat, "service report is disabled until somebody enables it: printer: start: exit code 1: no paper") {
			t.Errorf("the mail says:\n%s", mail)
		}
	case <-time.After(10 * time.Second):
		t.Error("no mail")
	}
	s, err := r.status("head1")
	must(t, err)
	if len(s.Services) != 1 || s.Services[0].State != service.StateDisabled || s.Services[0].GivenUp != "printer: start: exit code 1: no paper" {
		t.Errorf("services %+v", s.Services)
	}
	told := slices.IndexFunc(s.Events, func(e wire.OwnerEvent) bool {
		return e.Kind == "service" && e.Bad && strings.Contains(e.Text, "no paper")
	})
	if told < 0 {
		t.Errorf("events %+v", s.Events)
	}

	// It is so until somebody says something else.
	dir := filepath.Join(r.dir, "head1")
	c, err := ReadConfig(dir)
	must(t, err)
	at := time.Now()
	c.Wishes = map[string]Wish{"report": {Wish: service.Enabled, At: at}}
	_, err = WriteConfig(dir, c)
	must(t, err)
	r.await(10*time.Second, "it has failed again, under the newer wish", func() error {
		s, err := r.status("head1")
		if err == nil && (s.Services[0].GivenUp == "" || !s.Services[0].Wished.Equal(at)) {
			err = errNotYet
		}
		return err
	})
}

// receiveMail takes mails as a server that is asked for nothing special does (RFC 5321).
func receiveMail(l net.Listener, mails chan<- string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		text := textproto.NewConn(conn)
		_ = text.PrintfLine("220 mail.example.com")
		for {
			line, err := text.ReadLine()
			if err != nil {
				break
			}
			switch verb, _, _ := strings.Cut(strings.ToUpper(line), " "); verb {
			case "DATA":
				_ = text.PrintfLine("354 go on")
				lines, _ := text.ReadDotLines()
				mails <- strings.Join(lines, "\n")
				_ = text.PrintfLine("250 taken")
			case "QUIT":
				_ = text.PrintfLine("221 bye")
			default:
				_ = text.PrintfLine("250 mail.example.com")
			}
		}
		text.Close()
	}
}
