package redfish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"masthead/appliance/fence/redfish/redfishtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves h with TLS; the parameters name it.
func start(t *testing.T, h http.Handler) (*httptest.Server, map[string]string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(s.Certificate().Raw)
	return s, map[string]string{"ip": u.Hostname(), "ipport": u.Port(), "username": "root", "password": "calvin", "ssl_fingerprint": hex.EncodeToString(sum[:])}
}

func with(params map[string]string, more ...string) map[string]string {
	params = maps.Clone(params)
	for i := 0; i < len(more); i += 2 {
		params[more[i]] = more[i+1]
	}
	return params
}

func open(t *testing.T, params map[string]string) *System {
	t.Helper()
	s, err := New(params)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOff(t *testing.T) {
	c := redfishtest.New("root", "calvin", redfishtest.Machine{ID: "1", Name: "head1", Power: "On"}, redfishtest.Machine{ID: "437XR1138R2", Name: "head2", Power: "On"})
	_, params := start(t, c)
	for _, plug := range []string{"437XR1138R2", "head2", "/redfish/v1/Systems/437XR1138R2", "/redfish/v1/Systems/437XR1138R2/"} {
		c.Set("437XR1138R2", func(m *redfishtest.Machine) { m.Power = "On" })
		before := len(c.Orders())
		s := open(t, with(params, "systems_uri", plug))
		if on, err := s.On(t.Context()); !on || err != nil {
			t.Fatalf("%s: on %v, %v", plug, on, err)
		}
		for range 2 { // the second time it is off already
			if err := s.Off(t.Context()); err != nil {
				t.Fatalf("%s: %v", plug, err)
			}
		}
		if on, err := s.On(t.Context()); on || err != nil {
			t.Errorf("%s: on %v, %v", plug, on, err)
		}
		if diff := cmp.Diff([]string{"437XR1138R2 ForceOff"}, c.Orders()[before:]); diff != "" {
			t.Errorf("orders (-want +got):\n%s", diff)
		}
	}
}

func TestPowerState(t *testing.T) {
	c := redfishtest.New("root", "calvin", redfishtest.Machine{ID: "1"})
	_, params := start(t, c)
	for power, want := range map[string]string{"On": "on", "Off": "off", "PoweringOff": "on", "PoweringOn": "on", "Paused": "on", "": "error", "Sleeping": "error"} {
		c.Set("1", func(m *redfishtest.Machine) { m.Power = power })
		on, err := open(t, params).On(t.Context())
		got := map[bool]string{true: "on", false: "off"}[on]
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s (%v), want %s", power, got, err, want)
		}
	}
}

// TestLies: an order that is taken and not followed leaves the status at on.
func TestLies(t *testing.T) {
	c := redfishtest.New("root", "calvin", redfishtest.Machine{ID: "1", Power: "On", Stuck: true})
	_, params := start(t, c)
	s := open(t, params)
	if err := s.Off(t.Context()); err != nil {
		t.Fatal(err)
	}
	if on, err := s.On(t.Context()); !on || err != nil {
		t.Errorf("on %v, %v", on, err)
	}
}

func TestUnknown(t *testing.T) {
	two := redfishtest.New("root", "calvin", redfishtest.Machine{ID: "1", Power: "Off"}, redfishtest.Machine{ID: "2", Power: "Off"})
	good, params := start(t, two)
	_, garbage := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"PowerState": "Off"}`) }))
	_, page := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>Off</html>") }))
	_, endless := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte(strings.Repeat(" ", 1<<16))); err != nil {
				return
			}
		}
	}))
	_, hangs := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	_, dies := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }))
	_ = good
	for _, test := range []struct {
		name   string
		params map[string]string
		want   string
	}{
		{"which of two", params, "2 machines are meant"},
		{"none of them", with(params, "plug", "3"), `0 machines are meant by systems_uri "3"; the controller has 1, 2`},
		{"no such path", with(params, "plug", "/redfish/v1/Systems/3"), "404"},
		{"a path that is no machine", with(params, "plug", "/redfish/v1"), "unknown power state"},
		{"password", with(params, "plug", "1", "password", "wrong"), "401"},
		{"fingerprint", with(params, "plug", "1", "ssl_fingerprint", strings.Repeat("ab", 32)), "not the one of ssl_fingerprint"},
		{"no authority", with(params, "plug", "1", "ssl_fingerprint", ""), "certificate"},
		{"other JSON", garbage, "0 machines"},
		{"other JSON at the path", with(garbage, "plug", "/redfish/v1/Systems/1"), "is not a machine"},
		{"a page", page, "invalid character"},
		{"endless", endless, "has no end"},
		{"hangs", hangs, ""},
		{"dies", dies, "EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			on, err := open(t, test.params).On(ctx)
			if err == nil || on || !strings.Contains(err.Error(), test.want) {
				t.Errorf("on %v, %v; want %s", on, err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "calvin") {
				t.Errorf("the password is in %v", err)
			}
		})
	}
	if orders := two.Orders(); orders != nil {
		t.Errorf("orders: %v", orders)
	}
}

func TestNew(t *testing.T) {
	for _, test := range []struct {
		params          map[string]string
		endpoint, fault string
	}{
		{map[string]string{"ipaddr": "10.0.0.5", "login": "root", "passwd": "x"}, "https://10.0.0.5", ""},
		{map[string]string{"ip": "fd00::5"}, "https://[fd00::5]", ""},
		{map[string]string{"ip": "[fd00::5]", "ipport": "8443"}, "https://[fd00::5]:8443", ""},
		{map[string]string{"ip": "bmc2", "ssl": "0"}, "http://bmc2", ""},
		{map[string]string{"ip": "bmc2", "username": "root"}, "", "one is missing"},
		{map[string]string{"ip": "bmc2", "ssl_fingerprint": "abc"}, "", "64 hexadecimal digits"},
		{map[string]string{"ip": "bmc2", "ipport": "https"}, "", "must be a number"},
		{nil, "", "ip: is missing"},
	} {
		s, err := New(test.params)
		if test.fault != "" {
			if err == nil || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("%v: %v, want %s", test.params, err, test.fault)
			}
			continue
		}
		if err != nil || s.endpoint != test.endpoint {
			t.Errorf("%v: %+v, %v", test.params, s, err)
		}
	}
}
