package foreign

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"masthead/appliance/configuration"
	"masthead/appliance/monitor"
	"masthead/images"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	// The test binary runs itself in a network namespace (howto_test.go).
	if os.Getenv("MASTHEAD_INSIDE") != "" {
		if err := howto(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// print is a result as the golden files have it: the document, the secrets, and the lines, those that were not understood
// with a mark.
func print(t testing.TB, r Result) string {
	t.Helper()
	var b strings.Builder
	text, err := configuration.Encode(r.Document)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(text)
	for _, name := range slices.Sorted(maps.Keys(r.Secrets)) {
		fmt.Fprintf(&b, "# secret %s: %s\n", name, r.Secrets[name])
	}
	file := ""
	for _, l := range r.Lines {
		if l.File != file {
			file = l.File
			fmt.Fprintf(&b, "\n=== %s\n", file)
		}
		mark := " "
		if !l.Understood {
			mark = "?"
		}
		fmt.Fprintf(&b, "%s%4d  %s\n", mark, l.Number, l.Text)
		if l.Note != "" {
			fmt.Fprintf(&b, "         -> %s\n", l.Note)
		}
	}
	return b.String()
}

// whole checks what holds of every result: the document is valid, and no line was dropped.
func whole(t testing.TB, r Result, file string, data []byte, comment func(string) bool) {
	t.Helper()
	text, err := configuration.Encode(r.Document)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := configuration.Parse("imported.yaml", text); err != nil {
		t.Errorf("the document is not valid: %v\n%s", err, text)
	}
	reported := map[int]bool{}
	for _, l := range r.Lines {
		if l.File == file {
			if reported[l.Number] {
				t.Errorf("line %d is reported twice", l.Number)
			}
			reported[l.Number] = true
			if !l.Understood && l.Note == "" {
				t.Errorf("line %d, %q, was not understood, and why is not said", l.Number, l.Text)
			}
		}
	}
	for i, line := range strings.Split(string(data), "\n") {
		if line = strings.TrimSpace(line); line != "" && !comment(line) && !reported[i+1] {
			t.Errorf("line %d, %q, was dropped in silence", i+1, line)
		}
	}
}

func golden(t *testing.T, name string, r Result) {
	t.Helper()
	got := print(t, r)
	for name, value := range r.Secrets {
		if before, _, _ := strings.Cut(got, "# secret"); strings.Contains(before, value) {
			t.Errorf("the document shows the password of %s", name)
		}
		if _, after, _ := strings.Cut(got, "==="); strings.Contains(after, value) {
			t.Errorf("the lines show the password of %s", name)
		}
	}
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func xmlComment(s string) bool { return strings.HasPrefix(s, "<?") || strings.HasPrefix(s, "<!--") }

func TestClusterConf(t *testing.T) {
	for _, name := range []string{"seed001-skeleton", "seed001-service", "seed001-esx", "rhel"} {
		t.Run(name, func(t *testing.T) {
			data := read(t, name+".cluster.conf")
			r, err := ClusterConf(data)
			if err != nil {
				t.Fatal(err)
			}
			whole(t, r, "cluster.conf", data, xmlComment)
			golden(t, name+".cluster.conf", r)
			if strings.HasPrefix(name, "seed") && !r.Understood() {
				t.Error("not all of the example of the seed was understood")
			}
		})
	}
}

func TestHeartbeat(t *testing.T) {
	for _, name := range []string{"seed004-heartbeat", "linuxha"} {
		t.Run(name, func(t *testing.T) {
			hacf, haresources := read(t, name+".ha.cf"), read(t, name+".haresources")
			r, err := Heartbeat(hacf, haresources)
			if err != nil {
				t.Fatal(err)
			}
			whole(t, r, "ha.cf", hacf, hashComment)
			whole(t, r, "haresources", haresources, hashComment)
			golden(t, name, r)
		})
	}
}

func TestMon(t *testing.T) {
	for _, name := range []string{"seed004", "example"} {
		t.Run(name, func(t *testing.T) {
			data := read(t, name+".mon.cf")
			r, err := Mon(data)
			if err != nil {
				t.Fatal(err)
			}
			whole(t, r, "mon.cf", data, hashComment)
			golden(t, name+".mon.cf", r)
		})
	}
}

// TestHowtoMonitor: the example of the MySQL howto, its address filled in as it asks, is understood to the last word.
func TestHowtoMonitor(t *testing.T) {
	r, err := Mon([]byte(strings.ReplaceAll(string(read(t, "seed004.mon.cf")), "EMAILADDRESS", "admin@example.com")))
	if err != nil || !r.Understood() {
		t.Fatalf("%v\n%s", err, print(t, r))
	}
	want := []monitor.Monitor{{
		Name: "local_mysql:mysql", Hosts: []string{"localhost"}, TCP: &monitor.TCP{Port: 3306}, Interval: 10e9, RandSkew: 4e9,
		Periods: []monitor.Period{{When: "hr {12am-11pm}", NumAlerts: 1, Alerts: []monitor.Alert{
			{Failover: true}, {Mail: &monitor.MailAlert{To: []string{"admin@example.com"}, Subject: "MYSQL monitor is requesting failover"}},
		}}},
	}}
	if diff := cmp.Diff(want, r.Document.Monitors); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestClusterConfErrors(t *testing.T) {
	if _, err := ClusterConf([]byte("<cluster><rm></cluster>")); err == nil {
		t.Error("broken XML was read")
	}
	if _, err := ClusterConf([]byte("<other/>")); err == nil {
		t.Error("another file was read")
	}
	deep := strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100)
	if _, err := ClusterConf([]byte("<cluster>" + deep + "</cluster>")); err == nil {
		t.Error("bottomless XML was read")
	}
}

func FuzzClusterConf(f *testing.F) {
	for _, name := range []string{"seed001-skeleton", "seed001-service", "seed001-esx", "rhel"} {
		f.Add(read(f, name+".cluster.conf"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ClusterConf(data)
		if err != nil {
			return
		}
		if strings.Contains(string(data), "<!") || strings.Contains(string(data), "<?") {
			return // comments over several lines, which may hold anything
		}
		whole(t, r, "cluster.conf", data, xmlComment)
	})
}

func FuzzHeartbeat(f *testing.F) {
	for _, name := range []string{"seed004-heartbeat", "linuxha"} {
		f.Add(read(f, name+".ha.cf"), read(f, name+".haresources"))
	}
	f.Fuzz(func(t *testing.T, hacf, haresources []byte) {
		r, err := Heartbeat(hacf, haresources)
		if err != nil {
			t.Fatal(err)
		}
		whole(t, r, "ha.cf", hacf, hashComment)
		whole(t, r, "haresources", haresources, hashComment)
	})
}

func FuzzMon(f *testing.F) {
	for _, name := range []string{"seed004", "example"} {
		f.Add(read(f, name+".mon.cf"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Mon(data)
		if err != nil {
			t.Fatal(err)
		}
		whole(t, r, "mon.cf", data, hashComment)
	})
}

// What becomes of a node's name is one that a head may have.
func TestShort(t *testing.T) {
	for node, want := range map[string]string{
		"SQL_Master.example.org": "sql-master", "225": "head225", "": "head", "-_-": "head", strings.Repeat("a", 62) + "-b": strings.Repeat("a", 62),
	} {
		got := short(node)
		if got != want || images.ValidHost(got) != nil {
			t.Errorf("%q: got %q, want %q", node, got, want)
		}
	}
}
