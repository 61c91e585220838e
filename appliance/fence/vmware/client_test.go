package vmware

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/simulator"
)

// TestCalls: what goes over the wire, the password once.
func TestCalls(t *testing.T) {
	model, vm, p := vcsim(t, simulator.VPX())
	logins := inventory{t, model}.logins()
	f, p := before(t, p)
	for _, test := range []struct {
		name string
		do   func(*Machine) error
		p    []string
		want string
	}{
		{"by its UUID", on, []string{"plug", vm.Config.Uuid}, "RetrieveServiceContent Login FindAllByUuid RetrieveProperties Logout"},
		{"by its path", on, []string{"plug", "/DC0/vm/" + vm.Name}, "RetrieveServiceContent Login RetrieveProperties RetrieveProperties RetrieveProperties RetrieveProperties Logout"},
		{"not there", on, []string{"plug", "/DC1"}, "RetrieveServiceContent Login RetrieveProperties Logout"},
		{"off", off, []string{"plug", vm.Config.Uuid}, "RetrieveServiceContent Login FindAllByUuid RetrieveProperties PowerOffVM_Task RetrieveProperties Logout"},
		{"off already", off, []string{"plug", vm.Config.Uuid}, "RetrieveServiceContent Login FindAllByUuid RetrieveProperties Logout"},
	} {
		err := test.do(open(t, p, test.p...))
		if (err != nil) != (test.name == "not there") {
			t.Errorf("%s: %v", test.name, err)
		}
		got := f.seen()
		if test.name == "off" {
			got = slices.Compact(got) // the task is asked until it has ended
		}
		if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: calls (-want +got):\n%s", test.name, diff)
		}
	}
	for _, body := range f.with {
		if strings.Contains(body, "b0gus") && !strings.Contains(body, "<Login ") {
			t.Errorf("the password is in %s", body)
		}
	}
	if left := (inventory{t, model}).logins() - logins; left != 0 {
		t.Errorf("%d logins are left", left)
	}
}

func on(m *Machine) error {
	_, err := m.On(context.Background())
	return err
}

func off(m *Machine) error { return m.Off(context.Background()) }

// TestPassword: what has a meaning in XML, and what has none in ASCII, arrives as it was given.
func TestPassword(t *testing.T) {
	model, _, p := vcsim(t, simulator.ESX())
	const user, password = `ESX\<root> & "co"`, `]]> <&'" ä€𝄞 &amp; %41</password>`
	model.Service.Listen.User = url.UserPassword(user, password)
	if on, err := open(t, p, "username", user, "password", password).On(t.Context()); !on || err != nil {
		t.Errorf("on %v, %v", on, err)
	}
	for _, wrong := range []string{password + " ", strings.ToUpper(password), "x"} {
		on, err := open(t, p, "username", user, "password", wrong).On(t.Context())
		if on || err == nil || !strings.Contains(err.Error(), "Login: Login failure (InvalidLogin)") || strings.Contains(err.Error(), wrong) {
			t.Errorf("on %v, %v", on, err)
		}
	}
}

// TestBroken: a server that is broken, or is none, is never off; and none of it takes long or has the password in it.
func TestBroken(t *testing.T) {
	_, vm, p := vcsim(t, simulator.ESX())
	f, p := before(t, p)
	text := func(status int, s string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, s)
		}
	}
	endless := func(begin, repeat string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, begin)
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat(repeat, 1<<12)); err != nil {
					return
				}
			}
		}
	}
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.Errorf("%s %s at another server", r.Method, r.URL) }))
	defer other.Close()
	for _, method := range []string{"RetrieveServiceContent", "Login", "RetrieveProperties", "PowerOffVM_Task"} {
		for _, test := range []struct {
			name   string
			answer func(http.ResponseWriter, *http.Request)
			want   string
		}{
			{"a page", text(200, "<html>poweredOff</html>"), "not an answer of VMware: expected element type <Envelope>"},
			{"text", text(200, "poweredOff"), "not an answer of VMware: EOF"},
			{"nothing", text(200, ""), "not an answer of VMware: EOF"},
			{"no XML with 500", text(500, "oops"), "not an answer of VMware"},
			{"an answer with 500", text(500, envelope(`<`+method+`Response xmlns="urn:vim25"/>`)), "the server answers 500 without a fault"},
			{"503", text(503, properties(state)), method + ": the server answers 503 Service Unavailable"},
			{"a fault", text(500, soapFault("HostCommunication", "Unable to communicate")), method + ": Unable to communicate (HostCommunication)"},
			{"a fault with 200", text(200, soapFault("HostCommunication", "Unable to communicate")), method + ": Unable to communicate (HostCommunication)"},
			{"another answer", text(200, envelope(`<FooResponse xmlns="urn:vim25"/>`)), "not the answer to this call"},
			{"endless space", endless("", "          "), "the answer has no end"},
			{"endless text", endless(`<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>`, "poweredOff"), "the answer has no end"},
			{"endless elements", endless(`<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body><`+method+`Response>`, "<returnval/>"), "the answer has no end"},
			{"redirect", func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
			}, method + ": the server answers 307 Temporary Redirect"},
			{"dies", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, method + ": Post"},
		} {
			f.answer = func(w http.ResponseWriter, r *http.Request, m, _ string) bool {
				if m == method {
					test.answer(w, r)
				}
				return m == method
			}
			on, err := open(t, p).On(t.Context())
			if method == "PowerOffVM_Task" { // which On does not call
				if !on || err != nil {
					t.Fatalf("on %v, %v", on, err)
				}
			} else if on || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %s: on %v, %v; want %s", method, test.name, on, err, test.want)
			}
			f.seen()
			if err := open(t, p).Off(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %s: Off: %v; want %s", method, test.name, err, test.want)
			} else if strings.Contains(err.Error(), "b0gus") {
				t.Errorf("the password is in %v", err)
			}
			if calls := f.seen(); (calls[len(calls)-1] == "Logout") == (method == "RetrieveServiceContent" || method == "Login") {
				t.Errorf("%s: %s: calls %s", method, test.name, calls)
			}
		}
	}
	if vm.Runtime.PowerState != "poweredOn" {
		t.Errorf("the machine is %s", vm.Runtime.PowerState)
	}
}

// TestOtherObject: a power state that is of another machine, or of none, is none.
func TestOtherObject(t *testing.T) {
	_, vm, p := vcsim(t, simulator.ESX())
	f, p := before(t, p)
	machine := func(id string) string {
		return `<returnval><obj type="VirtualMachine">` + id + `</obj><propSet><name>runtime.powerState</name><val>poweredOff</val></propSet>` +
			`<propSet><name>runtime.connectionState</name><val>connected</val></propSet></returnval>`
	}
	denied := `<returnval><obj type="VirtualMachine">` + vm.Self.Value + `</obj><missingSet><path>runtime.powerState</path><fault><fault xsi:type="NoPermission"/><localizedMessage>Permission denied.</localizedMessage></fault></missingSet></returnval>`
	for _, test := range []struct{ objects, want string }{
		{machine(vm.Self.Value), ""},
		{machine(vm.Self.Value + "0"), "does not answer about"},
		{machine(vm.Self.Value) + machine("0"), "does not answer about"},
		{"", "does not answer about"},
		{denied, `property "runtime.powerState": Permission denied. (NoPermission)`},
		{`<returnval><obj type="VirtualMachine">` + vm.Self.Value + `</obj></returnval>`, `the host of the machine is ""`},
	} {
		f.answer = func(w http.ResponseWriter, _ *http.Request, method, _ string) bool {
			if method == "RetrieveProperties" {
				io.WriteString(w, properties(test.objects))
			}
			return method == "RetrieveProperties"
		}
		on, err := open(t, p, "plug", vm.Config.Uuid).On(t.Context())
		if test.want == "" {
			if on || err != nil {
				t.Errorf("on %v, %v", on, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: on %v, %v; want %s", test.objects, on, err, test.want)
		}
	}
}

// TestCancelled: when the time is up, whatever is under way, the error says so, and what was logged in is logged out.
func TestCancelled(t *testing.T) {
	_, vm, p := vcsim(t, simulator.ESX())
	f, p := before(t, p)
	const cookie = `vmware_soap_session="52 a1"` // in quotes, as vCenter sends it, and before the login; the simulator has its own after it
	for _, method := range []string{"RetrieveServiceContent", "Login", "RetrieveProperties", "PowerOffVM_Task", "Task"} {
		ctx, cancel := context.WithCancel(t.Context())
		cookies := make(chan string, 1)
		f.answer = func(w http.ResponseWriter, r *http.Request, m, body string) bool {
			if m == "RetrieveServiceContent" {
				w.Header().Add("Set-Cookie", cookie+"; Path=/; HttpOnly; Secure")
			}
			switch {
			case m == "Logout":
				cookies <- r.Header.Get("Cookie")
			case m == method, method == "Task" && strings.Contains(body, `<obj type="Task">`):
				cancel()
				<-r.Context().Done()
				return true
			case m == "PowerOffVM_Task":
				io.WriteString(w, envelope(`<PowerOffVM_TaskResponse xmlns="urn:vim25"><returnval type="Task">haTask-1</returnval></PowerOffVM_TaskResponse>`))
				return true
			}
			return false
		}
		err := open(t, p).Off(ctx)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", method, err)
		}
		if method == "RetrieveServiceContent" {
			continue // there is no cookie yet
		}
		select {
		case got := <-cookies:
			if want := map[bool]string{true: cookie, false: "vmware_soap_session="}[method == "Login"]; !strings.HasPrefix(got, want) {
				t.Errorf("%s: Logout with the cookie %s", method, got)
			}
		default:
			t.Errorf("%s: no Logout", method)
		}
	}
	if vm.Runtime.PowerState != "poweredOn" {
		t.Errorf("the machine is %s", vm.Runtime.PowerState)
	}
}

// TestLogoutHangs: a driver that is late keeps its device from the next order.
func TestLogoutHangs(t *testing.T) {
	_, _, p := vcsim(t, simulator.ESX())
	f, p := before(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	var cancelled time.Time
	f.answer = func(w http.ResponseWriter, r *http.Request, method, _ string) bool {
		if method == "Logout" {
			cancelled = time.Now()
			cancel()
			<-r.Context().Done()
		}
		return method == "Logout"
	}
	if on, err := open(t, p).On(ctx); !on || err != nil {
		t.Errorf("on %v, %v", on, err) // the state was read before
	}
	if took := time.Since(cancelled); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}
