package monitor

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"masthead/appliance/failover"
)

// A Sunday.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func mailTo(to string) Alert { return Alert{Mail: &MailAlert{To: []string{to}}} }

// play takes in a result every 10 s: U up, D down, d down with another summary, e down with another detail, ? unknown,
// b down because of another, p nothing for an hour. It returns what was due at each: f failover, m mail, u upalert, q a mail
// that it is unknown, - nothing.
func play(m Monitor, s State, results string) (State, string) {
	now := noon
	var out []string
	for _, c := range results {
		now = now.Add(10 * time.Second)
		r, because := Result{Reading: failover.Down, Summary: "refused", Detail: "x", Code: 1}, ""
		switch c {
		case 'U':
			r = Result{Reading: failover.Up}
		case 'd':
			r.Summary = "timeout"
		case 'e':
			r.Detail = "y"
		case 'b':
			because = "router:ping"
		case '2':
			r.Code = 2
		case '?':
			r = Result{Summary: "no such script", Code: 3}
		case 'p':
			now = now.Add(time.Hour)
			continue
		}
		var due []Due
		s, due = m.Step(s, r, because, now)
		word := ""
		for _, d := range due {
			switch {
			case d.Type == TypeUp:
				word += "u"
			case d.Type == TypeUnknown:
				word += "q"
			case d.Alert.Failover:
				word += "f"
			default:
				word += "m"
			}
		}
		if word == "" {
			word = "-"
		}
		out = append(out, word)
	}
	return s, strings.Join(out, " ")
}

func TestStep(t *testing.T) {
	mail := []Alert{mailTo("a@example.com")}
	howto := Period{When: "hr {12am-11pm}", Alerts: []Alert{{Failover: true}, mail[0]}, NumAlerts: 1}
	for _, tt := range []struct {
		name, results, want string
		failures            int
		periods             []Period
	}{
		{"the MySQL howto", "UUDDDUD", "- - fm - - - fm", 0, []Period{howto}},
		{"the MySQL howto, unknown", "U??????", "- - - q - - -", 0, []Period{howto}},
		{"unknown between does not fail over twice", "D?D???D", "fm - - - - q -", 0, []Period{howto}},
		{"every failure", "DDD", "m m m", 0, []Period{{Alerts: mail}}},
		{"failures needed", "DDUDDD", "- - - - - m", 3, []Period{{Alerts: mail}}},
		{"unknown alone is no failure", "D?D", "- - m", 2, []Period{{Alerts: mail}}},
		{"failures long apart are not in a row", "D???D", "- - - q -", 2, []Period{{Alerts: mail}}},
		{"numalerts", "DDDDUDDD", "m m - - - m m -", 0, []Period{{Alerts: mail, NumAlerts: 2}}},
		{"alertevery", "DDDDpDD", "m - - - m -", 0, []Period{{Alerts: mail, AlertEvery: time.Hour}}},
		{"alertevery, reset by up", "DDUDD", "m - - m -", 0, []Period{{Alerts: mail, AlertEvery: time.Hour}}},
		{"alertevery, another summary", "DDddD", "m - m - m", 0, []Period{{Alerts: mail, AlertEvery: time.Hour}}},
		{"alertevery, another detail", "DDee", "m - - -", 0, []Period{{Alerts: mail, AlertEvery: time.Hour}}},
		{"alertevery observe_detail", "DDee", "m - m -", 0, []Period{{Alerts: mail, AlertEvery: time.Hour, Changes: ChangesDetail}}},
		{"alertevery strict", "DdUDpD", "m - - - m", 0, []Period{{Alerts: mail, AlertEvery: time.Hour, Changes: ChangesNone}}},
		{"alertevery ignore_summary", "DdUDd", "m - - m -", 0, []Period{{Alerts: mail, AlertEvery: time.Hour, Changes: ChangesUp}}},
		{"alertafter 3", "DDUDDDD", "- - - - - m m", 0, []Period{{Alerts: mail, AlertAfter: 3}}},
		{"alertafter 3 30s", "DUDUDUD", "- - - - - - -", 0, []Period{{Alerts: mail, AlertAfter: 3, AlertAfterTime: 30 * time.Second}}},
		{"alertafter 3 40s", "DUDUD", "- - - - m", 0, []Period{{Alerts: mail, AlertAfter: 3, AlertAfterTime: 40 * time.Second}}},
		{"alertafter 20s", "DDDDUD", "- - - m - -", 0, []Period{{Alerts: mail, AlertAfterTime: 20 * time.Second}}},
		{"upalert", "UDDUU", "- m m u -", 0, []Period{{Alerts: mail, UpAlerts: mail}}},
		{"upalert without alert", "DU", "- -", 2, []Period{{Alerts: mail, UpAlerts: mail}}},
		{"upalert of another period only", "DU", "m -", 0, []Period{{Alerts: mail}, {When: "none", Alerts: mail, UpAlerts: mail}}},
		{"no_comp_alerts", "DU", "- u", 0, []Period{{UpAlerts: mail, NoCompAlerts: true}}},
		{"upalertafter", "DUDDDU", "m - m m m u", 0, []Period{{Alerts: mail, UpAlerts: mail, UpAlertAfter: 25 * time.Second}}},
		{"up after unknown", "????U", "- - q - u", 0, []Period{{Alerts: mail, UpAlerts: mail}}},
		{"unknown after down, up", "D????UU", "m - - q - u -", 0, []Period{{Alerts: mail, UpAlerts: mail, NumAlerts: 1}}},
		{"not now", "DDU", "- - -", 0, []Period{{When: "wd {Mon-Fri}", Alerts: mail, UpAlerts: mail}}},
		{"two periods", "DDU", "mm m -", 0, []Period{{When: "wd {Sun}", Alerts: mail}, {Alerts: mail, NumAlerts: 1}}},
		{"explained", "bbDbDU", "- - m - - -", 0, []Period{{Alerts: mail, NumAlerts: 1}}},
		{"explained, no failover", "bbbU", "- - - -", 0, []Period{howto}},
		{"exit", "D2D", "- m -", 0, []Period{{Alerts: []Alert{{Mail: &MailAlert{}, Exit: "2-4"}}}}},
		{"none", "DU???U", "- - - - - -", 0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := Monitor{Name: "db:mysql", TCP: &TCP{Port: 3306}, Failures: tt.failures, Periods: tt.periods}
			if errs := Check([]Monitor{m}, nil); errs != nil {
				t.Fatal(errs)
			}
			_, got := play(m, State{}, tt.results)
			if got != tt.want {
				t.Errorf("%s:\n got %s\nwant %s", tt.results, got, tt.want)
			}
		})
	}
}

// TestReadings shows what a monitor counts as after each result.
func TestReadings(t *testing.T) {
	m := Monitor{Failures: 2}
	var s State
	var got []string
	for _, c := range "UDD?DUD?" {
		s, _ = play(m, s, string(c))
		got = append(got, s.Reading.String())
	}
	want := []string{"up", "up", "down", "unknown", "down", "up", "up", "unknown"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStepProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Period{
			Alerts: []Alert{{Failover: true}, mailTo("a@example.com")}, UpAlerts: []Alert{mailTo("a@example.com")},
			NumAlerts:  rapid.IntRange(0, 3).Draw(t, "numalerts"),
			AlertEvery: time.Duration(rapid.IntRange(0, 4).Draw(t, "every")) * 10 * time.Second,
			AlertAfter: rapid.IntRange(0, 3).Draw(t, "after"),
		}
		m := Monitor{Name: "a", Failures: rapid.IntRange(0, 3).Draw(t, "failures"), Periods: []Period{p}}
		results := rapid.StringMatching(`[UDdb?p]{0,40}`).Draw(t, "results")
		s, downs, alerts, told, tellable := State{}, 0, 0, false, false
		now := noon
		for _, c := range results {
			now = now.Add(10 * time.Second)
			before := fmt.Sprintf("%+v", s)
			next, word := play(m, s, string(c))
			if got := fmt.Sprintf("%+v", s); got != before {
				t.Fatalf("Step changed its argument:\n%s\n%s", before, got)
			}
			s = next
			switch c {
			case 'U':
				if strings.ContainsAny(word, "fm") {
					t.Fatalf("%q: an alert for up", results)
				}
				if strings.Contains(word, "u") != told {
					t.Fatalf("%q: told up %s, told of trouble before: %v", results, word, told)
				}
				downs, alerts, told, tellable = 0, 0, false, false
			case '?', 'b':
				if strings.ContainsAny(word, "f") || c == 'b' && word != "-" {
					t.Fatalf("%q: %s for %c", results, word, c)
				}
			}
			if c == 'D' || c == 'd' || c == 'b' {
				downs++
				tellable = tellable || c != 'b'
			}
			if strings.Contains(word, "f") {
				alerts++
				if downs < max(1, m.Failures) || !tellable {
					t.Fatalf("%q: failover after %d failures", results, downs)
				}
			}
			if p.NumAlerts > 0 && alerts > p.NumAlerts {
				t.Fatalf("%q: %d alerts, at most %d", results, alerts, p.NumAlerts)
			}
			told = told || strings.ContainsAny(word, "fmq")
			if s.Asked && s.Reading == failover.Up {
				t.Fatalf("%q: up, and still asks for a failover", results)
			}
		}
	})
}

func TestDelay(t *testing.T) {
	m := Monitor{Name: "local_mysql:mysql", Interval: 10 * time.Second, RandSkew: 4 * time.Second}
	var all []time.Duration
	for n := range uint64(2000) {
		d := m.Delay(7, n, false)
		if d != m.Delay(7, n, false) {
			t.Fatal("a schedule does not replay from its seed")
		}
		all = append(all, d)
	}
	least, most := slices.Min(all), slices.Max(all)
	if least < 6*time.Second || least > 6100*time.Millisecond || most > 14*time.Second || most < 13900*time.Millisecond {
		t.Errorf("from %s to %s, want 6 to 14 s", least, most)
	}
	if other := (Monitor{Name: "b", Interval: m.Interval, RandSkew: m.RandSkew}); other.Delay(7, 3, false) == m.Delay(7, 3, false) {
		t.Error("two monitors are checked in step")
	}
	m.FailureInterval, m.RandSkew = 2*time.Second, 0
	if got := m.Delay(7, 1, true); got != 2*time.Second {
		t.Errorf("while it fails: %s", got)
	}
}
