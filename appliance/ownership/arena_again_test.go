package ownership

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// A daemon that was killed may be dying while the next one starts, and have the port of leases still. The next one has its
// arbiter as soon as the port is free: its lease lasts for half a second.
func TestArenaPortIsTaken(t *testing.T) {
	r := newRing(t, 2, 3, "")
	var port net.PacketConn
	take := func() {
		t.Helper()
		r.must(r.Machine("head1").In(func() (err error) {
			port, err = net.ListenPacket("udp", fmt.Sprintf("[::]:%d", PortWitness))
			return err
		}))
	}
	arbiter := func() (trouble string) {
		s, err := r.status("head1")
		if err != nil {
			return "status: " + err.Error()
		}
		for _, text := range s.Trouble {
			if strings.HasPrefix(text, "arbiter: ") {
				return text
			}
		}
		return ""
	}
	take()
	r.boot("head1")
	for i := range 5 { // a single look could fall together with the file being read again, which is each 2 s
		r.await(10*time.Second, "the arbiter has no port", func() error {
			if text := arbiter(); !strings.Contains(text, "address already in use") {
				return fmt.Errorf("it says %q", text)
			}
			return nil
		})
		r.must(port.Close())
		began := time.Now()
		r.await(10*time.Second, "the arbiter works", func() error {
			if text := arbiter(); text != "" {
				return fmt.Errorf("it says %q", text)
			}
			return nil
		})
		took := time.Since(began)
		t.Logf("the arbiter works %v after its port was free", took)
		if took > 600*time.Millisecond {
			t.Errorf("the arbiter works only %v after its port was free", took)
		}
		if i < 4 {
			r.kill("head1")
			take()
			r.restart("head1")
		}
	}
}
