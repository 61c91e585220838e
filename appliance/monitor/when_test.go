package monitor

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"
)

// TestPeriods holds the periods against answers of Time::Period 1.25 itself, in the time zone of New York, over the changes of
// its clocks: testdata/periods has a time(2), the module's answer (-1: it refuses the period) and a period in each line.
func TestPeriods(t *testing.T) {
	f, err := os.Open("testdata/periods")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zone, err := time.LoadLocation("America/New_York")
	prerequisite.Have(t, err == nil, "the time zones (tzdata)")
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); n++ {
		fields := strings.SplitN(lines.Text(), "\t", 3)
		at, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		w, err := ParseWhen(fields[2])
		got := "0"
		if err != nil {
			got = "-1"
		} else if w.Contains(time.Unix(at, 0).In(zone)) {
			got = "1"
		}
		if got != fields[1] {
			t.Errorf("%s at %s: %s, want %s (%v)", fields[2], time.Unix(at, 0).In(zone).Format("Mon 2006-01-02 15:04:05 MST"), got, fields[1], err)
		}
	}
	if n < 900 {
		t.Errorf("only %d answers", n)
	}
}

// TestPeriodExamples are those of mon's manual, of its example.cf and of the MySQL howto.
func TestPeriodExamples(t *testing.T) {
	for _, tt := range []struct {
		when, at string
		want     bool
	}{
		{"hr {12am-11pm}", "Mon 2026-11-23 00:00:00", true},
		{"hr {12am-11pm}", "Mon 2026-11-23 23:59:59", true},
		{"wd {Mon-Fri} hr {7am-10pm}", "Fri 2026-11-20 22:59:59", true},
		{"wd {Mon-Fri} hr {7am-10pm}", "Fri 2026-11-20 23:00:00", false},
		{"wd {Mon-Fri} hr {7am-10pm}", "Sun 2026-11-22 12:00:00", false},
		{"wd {Sun-Sat}", "Sat 2026-11-21 03:00:00", true},
		{"wd {Sat-Sun}", "Sun 2026-11-22 03:00:00", true},
		{"wd {Sat-Sun}", "Mon 2026-11-23 03:00:00", false},
		{"wd {Sun} hr {10pm-4am}", "Sun 2026-11-22 02:00:00", true},
		{"wd {Sun} hr {10pm-4am}", "Sun 2026-11-22 12:00:00", false},
		{"wd {Mon Wed Fri} hr {9am-4pm}, wd{Tue Thu} hr {9am-2pm}", "Tue 2026-11-24 15:00:00", false},
		{"wd {Mon Wed Fri} hr {9am-4pm}, wd{Tue Thu} hr {9am-2pm}", "Wed 2026-11-25 15:00:00", true},
		{"", "Sun 2026-11-22 12:00:00", true},
		{"none", "Sun 2026-11-22 12:00:00", false},
	} {
		at, err := time.Parse("Mon 2006-01-02 15:04:05", tt.at)
		if err != nil {
			t.Fatal(err)
		}
		w, err := ParseWhen(tt.when)
		if got := w.Contains(at); err != nil || got != tt.want {
			t.Errorf("%q at %s: %v, %v, want %v", tt.when, tt.at, got, err, tt.want)
		}
	}
}

func TestPeriodErrors(t *testing.T) {
	for text, want := range map[string]string{
		"hr {12am-25}":    `period "hr {12am-25}": hr {25}: "25" is no hour`,
		"hr {13pm}":       `period "hr {13pm}": hr {13pm}: "13pm" is no hour`,
		"hr {}":           `period "hr {}": hr {}: no value is named`,
		"wd {Foo}":        `period "wd {Foo}": wd {foo}: "foo" is no wday`,
		"weekday {Mon}":   `period "weekday {Mon}": "weekday" is no scale; there are yr, mo, wk, yd, md, wd, hr, min and sec`,
		"Mon-Fri":         `period "Mon-Fri": "mon-fri" is not SCALE {VALUES}, as wd {Mon-Fri}`,
		"hr {1-}":         `period "hr {1-}": hr {}: "" is no hour`,
		", wd {Mon}":      `period ", wd {Mon}": nothing stands before or after a comma`,
		"yr {1950}":       `period "yr {1950}": yr {1950}: "1950" is no year`,
		"wd {Mon} hr {1":  `period "wd {Mon} hr {1": "hr {1" is not SCALE {VALUES}, as wd {Mon-Fri}`,
		"min {-5}":        `period "min {-5}": min {}: "" is no minute`,
		"hr {9am-5pm-10}": `period "hr {9am-5pm-10}": hr {5pm-10}: "5pm-10" is no hour`,
	} {
		_, err := ParseWhen(text)
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseWhen(f *testing.F) {
	for _, s := range []string{"hr {12am-11pm}", "wd {Mon-Fri} hr {9am-4pm}, wd{Tue Thu} hr{9am-2pm}", "yr {99-1972}", "none", "wk{1 3 5}", "md {-}", "}{"} {
		f.Add(s, int64(1763800000))
	}
	f.Fuzz(func(t *testing.T, s string, at int64) {
		w, err := ParseWhen(s)
		if err != nil {
			return
		}
		now := time.Unix(at%(1<<40), 0).UTC()
		in := w.Contains(now)
		// The same, in capitals, once more, is the same.
		again, err := ParseWhen(strings.ToUpper(s) + "," + s)
		if s = strings.ToLower(strings.Trim(s, " \t\r\n\f\v,")); err == nil && s != "" && s != "none" && again.Contains(now) != in {
			t.Errorf("%q: %v and %v", s, in, again.Contains(now))
		}
	})
}
