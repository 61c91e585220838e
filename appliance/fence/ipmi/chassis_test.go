package ipmi

import (
	"context"
	"errors"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/clock"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/transport/udp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// controller is go-ipmi's simulator.
func controller(t *testing.T) (*mock.Chassis, map[string]string) {
	t.Helper()
	h := mock.New()
	b := bmc.New(bmc.DeviceInfo{DeviceID: 32, IPMIVersion: 0x20}, [16]byte{1}, h, bmc.WithClock(clock.Real))
	user, err := b.Users.Add(2, "ADMIN")
	if err != nil {
		t.Fatal(err)
	}
	user.SetPassword([]byte("s3cr3t"))
	user.Enabled = true
	user.ChannelAccess[1] = bmc.UserChannelAccess{MaxPrivilege: bmc.PrivilegeLevelAdministrator, Enabled: true}
	conn, err := udp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := server.NewServer(b, conn)
	ended := make(chan error)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- s.Serve(ctx) }()
	t.Cleanup(func() { cancel(); s.Close(); <-ended })
	return h.Chassis().(*mock.Chassis), params(conn.LocalAddr())
}

func params(a net.Addr) map[string]string {
	return map[string]string{"ip": "127.0.0.1", "ipport": strconv.Itoa(a.(*net.UDPAddr).Port), "username": "ADMIN", "password": "s3cr3t"}
}

func open(t *testing.T, p map[string]string, more ...string) *Chassis {
	t.Helper()
	p = maps.Clone(p)
	for i := 0; i < len(more); i += 2 {
		p[more[i]] = more[i+1]
	}
	c, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func power(t *testing.T, c *mock.Chassis) bool {
	t.Helper()
	on, err := c.PowerState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return on
}

func TestOff(t *testing.T) {
	sim, p := controller(t)
	for name, c := range map[string]*Chassis{
		"best suite": open(t, p), "suite 3": open(t, p, "cipher", "3"), "suite 17": open(t, p, "cipher", "17"),
		"operator": open(t, p, "privlvl", "operator"), "IPMI 1.5": open(t, p, "lanplus", "no"),
	} {
		if err := sim.SetPower(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if on, err := c.On(t.Context()); !on || err != nil {
			t.Errorf("%s: on %v, %v", name, on, err)
		}
		for range 2 { // the second time it is off already
			if err := c.Off(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if on, err := c.On(t.Context()); on || err != nil || power(t, sim) {
			t.Errorf("%s: on %v, %v; in truth %v", name, on, err, power(t, sim))
		}
	}
	if sim.ColdResets+sim.WarmResets+sim.PowerCycles != 0 {
		t.Errorf("a machine was reset: %+v", sim)
	}
}

// TestLies: an order that is taken and not followed leaves the status at on; one that is refused is an error.
func TestLies(t *testing.T) {
	sim, p := controller(t)
	sim.SetPower(t.Context(), true)
	sim.SetPowerHook = func(bool) error { return errors.New("stuck") }
	err := open(t, p).Off(t.Context())
	on, serr := open(t, p).On(t.Context())
	if !on || serr != nil {
		t.Errorf("order: %v; on %v, %v", err, on, serr)
	}
}

func TestUnknown(t *testing.T) {
	_, p := controller(t)
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, test := range []struct {
		name string
		c    *Chassis
	}{
		{"password", open(t, p, "password", "wrong")},
		{"user", open(t, p, "username", "nobody")},
		{"no answer", open(t, params(silent.LocalAddr()))},
		{"no such host", open(t, p, "ip", "bmc.invalid")},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			began := time.Now()
			on, err := test.c.On(ctx)
			if err == nil || on {
				t.Errorf("on %v, %v", on, err)
			}
			if err != nil && strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("the password is in %v", err)
			}
			if took := time.Since(began); took > 6*time.Second {
				t.Errorf("took %v", took)
			}
			if err := test.c.Off(ctx); err == nil {
				t.Error("Off without an error")
			}
		})
	}
}

// TestGarbage: a controller that answers with what is no IPMI, or with pieces of it, is unknown, and breaks nothing.
func TestGarbage(t *testing.T) {
	good := []byte{6, 0, 0xff, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0x81, 0x1c, 0x63, 0x20, 4, 0x38, 0, 1, 0x80, 4, 2, 0, 0, 0, 0, 0x1d}
	for name, answer := range map[string][]byte{"empty": {}, "short": good[:9], "half": good[:20], "zeros": make([]byte, 64), "text": []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), "the same always": good} {
		t.Run(name, func(t *testing.T) {
			c, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			var asked atomic.Int32
			go func() {
				defer close(ended)
				buf := make([]byte, 2048)
				for {
					_, from, err := c.ReadFrom(buf)
					if err != nil {
						return
					}
					asked.Add(1)
					c.WriteTo(answer, from)
				}
			}()
			defer func() { c.Close(); <-ended }()
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if on, err := open(t, params(c.LocalAddr())).On(ctx); err == nil || on {
				t.Errorf("on %v, %v", on, err)
			}
			if asked.Load() == 0 {
				t.Error("was not asked")
			}
		})
	}
}

// TestLossyNetwork: some packets are lost on their way to and from the controller.
func TestLossyNetwork(t *testing.T) {
	sim, p := controller(t)
	sim.SetPower(t.Context(), true)
	port, err := strconv.Atoi(p["ipport"])
	if err != nil {
		t.Fatal(err)
	}
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	var client atomic.Pointer[net.UDPAddr]
	ended := make(chan struct{}, 2)
	go func() {
		defer func() { ended <- struct{}{} }()
		buf := make([]byte, 2048)
		for n := 1; ; n++ {
			k, from, err := front.ReadFromUDP(buf)
			if err != nil {
				return
			}
			client.Store(from)
			if n%7 != 0 {
				back.Write(buf[:k])
			}
		}
	}()
	go func() {
		defer func() { ended <- struct{}{} }()
		buf := make([]byte, 2048)
		for n := 1; ; n++ {
			k, err := back.Read(buf)
			if err != nil {
				return
			}
			if n%5 != 0 {
				front.WriteToUDP(buf[:k], client.Load())
			}
		}
	}()
	defer func() { front.Close(); back.Close(); <-ended; <-ended }()
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
	defer cancel()
	c := open(t, params(front.LocalAddr()), "cipher", "17")
	if err := c.Off(ctx); err != nil {
		t.Fatal(err)
	}
	if on, err := c.On(ctx); on || err != nil {
		t.Errorf("on %v, %v", on, err)
	}
}

func TestNew(t *testing.T) {
	for _, test := range []struct {
		params map[string]string
		fault  string
	}{
		{map[string]string{"ipaddr": "10.0.0.5", "login": "root", "passwd": "x", "lanplus": "1"}, ""},
		{map[string]string{"ip": "10.0.0.5", "username": "root", "password": "x", "cipher": "0"}, "must be 3 or 17"},
		{map[string]string{"ip": "10.0.0.5", "username": "root", "password": "x", "privlvl": "user"}, "must be operator or administrator"},
		{map[string]string{"ip": "10.0.0.5", "username": "root"}, "password: is missing"},
	} {
		_, err := New(test.params)
		if test.fault == "" && err != nil || test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)) {
			t.Errorf("%v: %v, want %q", test.params, err, test.fault)
		}
	}
}
