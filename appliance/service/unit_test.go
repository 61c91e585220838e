package service

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeSystemd answers systemctl as systemd 252 does; the real one is asked in a guest.
type fakeSystemd struct {
	show  string // ActiveState and the like
	fails string // the output of a start or stop that fails
	calls []string
}

func (f *fakeSystemd) run(_ context.Context, c command) (outcome, error) {
	line := strings.Join(c.argv, " ")
	f.calls = append(f.calls, line)
	if c.argv[1] == "show" {
		return outcome{output: f.show}, nil
	}
	if f.fails != "" {
		return outcome{exit: 1, output: f.fails}, nil
	}
	return outcome{}, nil
}

func TestUnit(t *testing.T) {
	state := func(load, active, sub, result string) string {
		return "Result=" + result + "\nLoadState=" + load + "\nActiveState=" + active + "\nSubState=" + sub + "\n"
	}
	const show = "systemctl show --property=LoadState,ActiveState,SubState,Result -- mariadb.service"
	tests := []struct {
		name  string
		op    op
		fake  fakeSystemd
		want  result
		err   string
		calls []string
	}{
		{"check active", check, fakeSystemd{show: state("loaded", "active", "running", "success")}, result{verdict: up}, "", []string{show}},
		{"check inactive", check, fakeSystemd{show: state("loaded", "inactive", "dead", "success")}, result{verdict: down}, "the unit is inactive (dead)", []string{show}},
		{"check failed", check, fakeSystemd{show: state("loaded", "failed", "failed", "exit-code")}, result{verdict: down}, "the unit is failed (failed): exit-code", []string{show}},
		{"check deactivating", check, fakeSystemd{show: state("loaded", "deactivating", "stop-sigterm", "success")}, result{verdict: bad}, "the unit is deactivating (stop-sigterm)", []string{show}},
		{"check unknown unit", check, fakeSystemd{show: state("not-found", "inactive", "dead", "success")}, result{verdict: down}, "the unit is inactive (dead)", []string{show}},
		{"start", start, fakeSystemd{show: state("loaded", "inactive", "dead", "success")}, result{}, "", []string{show, "systemctl --no-ask-password start -- mariadb.service"}},
		{"start after a failure", start, fakeSystemd{show: state("loaded", "failed", "failed", "exit-code")}, result{}, "", []string{show, "systemctl --no-ask-password reset-failed -- mariadb.service", "systemctl --no-ask-password start -- mariadb.service"}},
		{"start unknown unit", start, fakeSystemd{show: state("not-found", "inactive", "dead", "success")}, result{clean: true, hard: true}, "the unit is not-found", []string{show}},
		{"start fails", start, fakeSystemd{show: state("loaded", "inactive", "dead", "success"), fails: "Job for mariadb.service failed."}, result{}, "exit code 1: Job for mariadb.service failed.", []string{show, "systemctl --no-ask-password start -- mariadb.service"}},
		{"stop", stop, fakeSystemd{}, result{}, "", []string{"systemctl --no-ask-password stop -- mariadb.service"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := world{run: test.fake.run, systemd: func() bool { return true }, log: quiet()}
			got := w.operate(t.Context(), job{res: Resource{Unit: &Unit{Name: "mariadb"}}, op: test.op, limit: DefaultStart})
			text := ""
			if got.err != nil {
				text = got.err.Error()
			}
			got.err = nil
			if got != test.want || text != test.err {
				t.Errorf("got %+v, %q, want %+v, %q", got, text, test.want, test.err)
			}
			if diff := cmp.Diff(test.calls, test.fake.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnitWithoutSystemd(t *testing.T) {
	w := world{run: execute, systemd: func() bool { return false }, log: quiet()}
	r := w.operate(t.Context(), job{res: Resource{Unit: &Unit{Name: "mariadb"}}, op: start, limit: DefaultStart})
	if !errors.Is(r.err, errNoSystemd) || !r.clean || !r.hard {
		t.Errorf("got %+v", r)
	}
	if r := w.operate(t.Context(), job{res: Resource{Unit: &Unit{Name: "mariadb"}}, op: check, limit: DefaultStart}); r.verdict != absent {
		t.Errorf("check: %+v", r)
	}
}

func TestUnitName(t *testing.T) {
	for name, want := range map[string]string{
		"mariadb": "mariadb.service", "mariadb.service": "mariadb.service", "srv-data.mount": "srv-data.mount",
		"openvpn@head.office": "openvpn@head.office.service",
	} {
		if got := (Unit{name}).full(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
