package registry

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"masthead/images"
	"masthead/node/wire"
)

func ptr[T any](v T) *T { return &v }

var imageA = images.DigestOf([]byte("a"))

func resolveTest(ref string) (images.Digest, error) {
	if ref == "" {
		return "", errors.New("there is no default")
	}
	if ref == "worker" || ref == string(imageA) {
		return imageA, nil
	}
	return "", fmt.Errorf("tag %s: not found", ref)
}

func TestValidate(t *testing.T) {
	others := Others{
		ByName:    func(s string) (string, bool) { return s, s == "n01" },
		ByMAC:     func(s string) (string, bool) { return "n01", s == "52:54:00:00:00:01" },
		ByAddress: func(a netip.Addr) (string, bool) { return "n01", a == netip.MustParseAddr("10.0.0.11") },
		Subnets:   []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fd00::/64")},
		Image:     resolveTest,
		Cmdline: func(s string) error {
			if strings.Contains(s, "${") {
				return errors.New("no ${")
			}
			return nil
		},
	}
	good := wire.NodeChange{Name: ptr("n02"), MAC: ptr("52-54-00-00-00-02")}
	for _, tc := range []struct {
		name, self string
		change     wire.NodeChange
		want       []string // parts of the errors, in order; none: valid
		kind       error
	}{
		{"new", "", good, nil, nil},
		{"empty", "", wire.NodeChange{}, []string{"a node needs a name", "a node needs the MAC"}, ErrInvalid},
		{"nothing", "n01", wire.NodeChange{}, nil, nil},
		{"own values", "n01", wire.NodeChange{Name: ptr("n01"), MAC: ptr("52:54:00:00:00:01"), Address: ptr("10.0.0.11")}, nil, nil},
		{"others' values", "n02", wire.NodeChange{Name: ptr("n01"), MAC: ptr("52:54:00:00:00:01"), Address: ptr("10.0.0.11")},
			[]string{"a node of this name", "the MAC address of n01", "the address of n01"}, ErrConflict},
		{"bad name", "n01", wire.NodeChange{Name: ptr("N 1")}, []string{"host name"}, ErrInvalid},
		{"number", "n01", wire.NodeChange{Name: ptr("17")}, []string{"not a number"}, ErrInvalid},
		{"dot", "n01", wire.NodeChange{Name: ptr("a.b")}, []string{"host name"}, ErrInvalid},
		{"bad MAC", "n01", wire.NodeChange{MAC: ptr("52:54")}, []string{"want a MAC"}, ErrInvalid},
		{"multicast MAC", "n01", wire.NodeChange{MAC: ptr("01:00:5e:00:00:01")}, []string{"not the address of one NIC"}, ErrInvalid},
		{"zero MAC", "n01", wire.NodeChange{MAC: ptr("00:00:00:00:00:00")}, []string{"not the address of one NIC"}, ErrInvalid},
		{"no address", "n01", wire.NodeChange{Address: ptr("")}, nil, nil},
		{"other network", "n01", wire.NodeChange{Address: ptr("10.0.1.5")}, []string{"not in the cluster's network 10.0.0.0/24, fd00::/64"}, ErrInvalid},
		{"broadcast", "n01", wire.NodeChange{Address: ptr("10.0.0.255")}, []string{"broadcast"}, ErrInvalid},
		{"network", "n01", wire.NodeChange{Address: ptr("10.0.0.0")}, []string{"broadcast"}, ErrInvalid},
		{"IPv6", "n01", wire.NodeChange{Address: ptr("fd00::5")}, nil, nil},
		{"zone", "n01", wire.NodeChange{Address: ptr("fe80::1%eth0")}, []string{"want an IP address"}, ErrInvalid},
		{"image", "n01", wire.NodeChange{Image: ptr("worker"), Root: ptr("ram")}, nil, nil},
		{"no image", "n01", wire.NodeChange{Image: ptr("nosuch"), Root: ptr("disk")}, []string{"no such image: tag nosuch", "lazy or ram"}, ErrInvalid},
		{"cmdline", "n01", wire.NodeChange{Cmdline: ptr("a=${b}")}, []string{"no ${"}, ErrInvalid},
		{"groups", "n01", wire.NodeChange{Groups: &[]string{"rack1", "a b", "all"}}, []string{"want 1 to 63", "every node"}, ErrInvalid},
		{"attrs", "n01", wire.NodeChange{Attrs: map[string]string{"rack": "7", "old": ""}}, nil, nil},
		{"builtin attr", "n01", wire.NodeChange{Attrs: map[string]string{"phase": "up"}}, []string{"a field of every node"}, ErrInvalid},
		{"attr lines", "n01", wire.NodeChange{Attrs: map[string]string{"a": "x\ny"}}, []string{"one line"}, ErrInvalid},
	} {
		err := Validate(tc.self, tc.change, others)
		var got []string
		if err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		ok := len(got) == len(tc.want) && (tc.kind == nil || errors.Is(err, tc.kind))
		for i := range tc.want {
			ok = ok && strings.Contains(got[i], tc.want[i])
		}
		if !ok {
			t.Errorf("%s: %q, want %q (%v)", tc.name, got, tc.want, tc.kind)
		}
	}
}

func TestDiffAndWith(t *testing.T) {
	before := Record{Name: "n01", MAC: "52:54:00:00:00:01", Groups: []string{"a"}, Attrs: map[string]string{"rack": "1", "gone": "x"}}
	change := wire.NodeChange{
		Address: ptr("10.0.0.5"), Groups: &[]string{"b", "a", "b"}, Attrs: map[string]string{"rack": "2", "gone": "", "new": "y"}, Approved: ptr(true),
	}
	after := before.with(change)
	want := []wire.Difference{
		{Field: "address", Old: "", New: "10.0.0.5"}, {Field: "groups", Old: "a", New: "a,b"}, {Field: "approved", Old: "false", New: "true"},
		{Field: "attrs.gone", Old: "x", New: ""}, {Field: "attrs.new", Old: "", New: "y"}, {Field: "attrs.rack", Old: "1", New: "2"},
	}
	if diff := cmp.Diff(want, Diff(before, after)); diff != "" {
		t.Error(diff)
	}
	if before.Attrs["rack"] != "1" {
		t.Error("with changed the record that it was given")
	}
	if diff := Diff(after, after.with(wire.NodeChange{Address: ptr("10.0.0.5")})); len(diff) != 0 {
		t.Errorf("a change to the same: %v", diff)
	}
}

func results(specs ...string) (all []wire.StageResult) {
	for _, s := range specs {
		stage, outcome, _ := strings.Cut(s, "=")
		if outcome == "" {
			outcome = string(wire.OutcomeDone)
		}
		all = append(all, wire.StageResult{Stage: wire.Stage(stage), Outcome: wire.Outcome(outcome)})
	}
	return all
}

func TestPhase(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		stages   string
		silent   time.Duration
		approved bool
		want     wire.Phase
	}{
		{"", 0, false, wire.PhaseDiscovered},
		{"dhcp", 0, false, wire.PhaseDiscovered},
		{"", -1, true, wire.PhaseKnown},
		{"dhcp", 0, true, wire.PhaseBooting},
		{"dhcp kernel initramfs", StalledAfter, true, wire.PhaseBooting},
		{"dhcp kernel initramfs", StalledAfter + 1, true, wire.PhaseFailed},
		{"dhcp network=failed", 0, true, wire.PhaseFailed},
		{"network=failed hello", 0, true, wire.PhaseBooting},
		{"hello root handover up", DownAfter, true, wire.PhaseUp},
		{"hello root handover up", DownAfter + 1, true, wire.PhaseDown},
		{"up=running", 0, true, wire.PhaseBooting},
	} {
		seen := now.Add(-tc.silent)
		if tc.silent < 0 {
			seen = time.Time{}
		}
		got := Phase(Record{Approved: tc.approved}, Boot{Stages: results(strings.Fields(tc.stages)...)}, seen, now)
		if got != tc.want {
			t.Errorf("after %q and %v of silence: %s, want %s", tc.stages, tc.silent, got, tc.want)
		}
	}
}

// What the head sees from outside, with hello= for the first word of a kernel, falls into boots.
func TestBoots(t *testing.T) {
	for _, tc := range []struct{ seen, want string }{
		{"dhcp tftp dhcp script kernel initramfs hello=1", "1:dhcp,tftp,script,kernel,initramfs"},
		{"dhcp tftp dhcp dhcp tftp", ":dhcp,tftp"},
		{"dhcp tftp script kernel script kernel initramfs hello=1", "1:dhcp,tftp,script,kernel,initramfs"},
		{"dhcp tftp script dhcp tftp", ":dhcp,tftp,script :dhcp,tftp"},
		{"dhcp script kernel hello=1 dhcp script", "1:dhcp,script,kernel :dhcp,script"},
		{"script kernel hello=1 script hello=2", "1:script,kernel 2:script"},
		{"hello=1 hello=1 hello=2", "1: 2:"},
		{"hello=1 hello=2 hello=1", "1: 2:"},
		{"hello=1 hello=2 hello=3 hello=4", "2: 3: 4:"},
	} {
		l := &live{}
		for _, s := range strings.Fields(tc.seen) {
			if id, ok := strings.CutPrefix(s, "hello="); ok {
				l.boot(id, time.Time{})
			} else {
				l.observe(results(s)[0], time.Time{})
			}
		}
		var got []string
		for _, b := range l.boots {
			var stages []string
			for _, s := range b.Stages {
				stages = append(stages, string(s.Stage))
			}
			got = append(got, b.ID+":"+strings.Join(stages, ","))
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%s\n got %s\nwant %s", tc.seen, s, tc.want)
		}
	}
}

func TestBootPutProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Boot
		last := map[wire.Stage]wire.Outcome{}
		for range rapid.IntRange(0, 30).Draw(t, "n") {
			r := wire.StageResult{
				Stage:   rapid.SampledFrom(append(wire.Stages(), "nonsense")).Draw(t, "stage"),
				Outcome: rapid.SampledFrom([]wire.Outcome{wire.OutcomeDone, wire.OutcomeFailed}).Draw(t, "outcome"),
			}
			b.put(r)
			if r.Stage != "nonsense" {
				last[r.Stage] = r.Outcome
			}
		}
		if len(b.Stages) != len(last) {
			t.Fatalf("%d stages, want %d", len(b.Stages), len(last))
		}
		for i, r := range b.Stages {
			if i > 0 && order(b.Stages[i-1].Stage) >= order(r.Stage) {
				t.Fatalf("%v: out of order", b.Stages)
			}
			if last[r.Stage] != r.Outcome {
				t.Fatalf("%s: %s, want the last, %s", r.Stage, r.Outcome, last[r.Stage])
			}
		}
	})
}

func TestJudge(t *testing.T) {
	n := Record{Name: "n01", Root: "ram", Approved: true}
	waiting := n
	waiting.Approved = false
	for _, tc := range []struct {
		name string
		f    facts
		want wire.Spec
	}{
		{"boot", facts{record: n, image: imageA}, wire.Spec{Verdict: wire.VerdictBoot, Name: "n01", Image: imageA, Root: "ram"}},
		{"approval", facts{record: waiting, image: imageA}, wire.Spec{Verdict: wire.VerdictWait, Name: "n01", Try: "masthead node approve n01", RetryAfter: retryApproval}},
		{"image", facts{record: n, imageErr: errors.New("no")}, wire.Spec{Verdict: wire.VerdictWait, Name: "n01", Try: "masthead image list, then masthead node set n01 --image TAG", RetryAfter: retryImage}},
		{"rival", facts{record: n, image: imageA, rival: "two"}, wire.Spec{Verdict: wire.VerdictRefused, Name: "n01", Try: "give one of the two another MAC address, then masthead node show n01"}},
	} {
		got := judge(tc.f)
		if (got.Reason == "") != (got.Verdict == wire.VerdictBoot) {
			t.Errorf("%s: verdict %s, reason %q", tc.name, got.Verdict, got.Reason)
		}
		if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(wire.Spec{}, "Reason")); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
	}
}

func TestRival(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	up := Boot{ID: "1", Stages: results("up")}
	for _, tc := range []struct {
		name        string
		known, said string
		b           Boot
		boot        string
		silent      time.Duration
		want        bool
	}{
		{"clone", "A", "B", up, "2", time.Second, true},
		{"the same machine", "A", "A", up, "2", time.Second, false},
		{"the same boot", "A", "B", up, "1", time.Second, false},
		{"exchanged board", "A", "B", up, "2", time.Minute, false},
		{"no UUID", "", "B", up, "2", time.Second, false},
		{"not up", "A", "B", Boot{ID: "1", Stages: results("hello")}, "2", time.Second, false},
		{"its own next boot", "A", "B", Boot{Stages: results("dhcp")}, "2", time.Second, false},
	} {
		got := rival("n01", wire.Inventory{UUID: tc.known}, wire.Inventory{UUID: tc.said}, tc.b, tc.boot, now.Add(-tc.silent), now)
		if (got != "") != tc.want {
			t.Errorf("%s: %q, want one: %t", tc.name, got, tc.want)
		}
	}
}

func TestWall(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)
	for _, tc := range []struct {
		at, uptime float64
		ago        time.Duration
	}{{5, 15, 10 * time.Second}, {0, 15, 0}, {15, 5, 0}, {1, 1e18, 0}, {3, 0, 0}} {
		if got := now.Sub(wall(wire.StageResult{At: tc.at}, tc.uptime, now)); got != tc.ago {
			t.Errorf("ended at %v, up for %v: %v ago, want %v", tc.at, tc.uptime, got, tc.ago)
		}
	}
}

func TestNamePattern(t *testing.T) {
	for _, tc := range []struct {
		pattern string
		ok      bool
		seventh string
	}{
		{"n%02d", true, "n07"}, {"rack-%d-x", true, "rack-7-x"}, {"n%3d", true, "n007"}, {"n%04d", true, "n0007"},
		{"n", false, ""}, {"n%d%d", false, ""}, {"N%d", false, ""}, {"n%s", false, ""}, {"n%d%s", false, ""}, {"-%d", false, ""}, {"", false, ""},
	} {
		if err := checkPattern(tc.pattern); (err == nil) != tc.ok {
			t.Errorf("checkPattern(%q) = %v, want ok %t", tc.pattern, err, tc.ok)
		}
		if got := nodeName(tc.pattern, 7); tc.ok && got != tc.seventh {
			t.Errorf("nodeName(%q, 7) = %s, want %s", tc.pattern, got, tc.seventh)
		}
	}
}

func TestExplain(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	failed := func(stage, cause, try string) wire.StageResult {
		return wire.StageResult{Stage: wire.Stage(stage), Outcome: wire.OutcomeFailed, Cause: cause, Try: try}
	}
	event := func(kind, text string) []wire.Event {
		return []wire.Event{{Time: now, Kind: kind, Text: text, Failed: true}, {Time: now, Kind: "admin", Text: "changes"}}
	}
	for _, tc := range []struct {
		name         string
		stages       []wire.StageResult
		events       []wire.Event
		silent       time.Duration
		unapproved   bool
		image        error
		root         *wire.RootStatus
		verdict, try string
	}{
		{name: "never seen", silent: -1, verdict: "no DHCP request of n01 (52:54:00:00:00:01)", try: "switch it on"},
		{name: "pool", stages: nil, events: event("dhcp", "the pool 10.0.0.100-199 is full"), verdict: "DHCP: the pool", try: "check the pool"},
		{name: "no tftp", stages: results("dhcp"), silent: time.Minute, verdict: "got an address 1m0s ago, and asked for no loader", try: "UDP port 69"},
		{name: "dhcp just now", stages: results("dhcp"), silent: time.Second, verdict: "n01 boots: stage dhcp"},
		{name: "tftp missing", stages: []wire.StageResult{results("dhcp")[0], failed("tftp", "no file pxelinux.0", "")}, verdict: "failed at stage tftp: no file pxelinux.0", try: "UDP port 69"},
		{name: "tftp event", stages: results("dhcp"), events: event("tftp", "no such file x.efi"), verdict: "TFTP: no such file x.efi", try: "boot file"},
		{name: "no script", stages: results("dhcp", "tftp"), silent: time.Minute, verdict: "the loader asked for no script", try: "TCP port 80"},
		{name: "http", stages: results("dhcp", "tftp", "script"), events: event("http", "vmlinuz: 404"), verdict: "HTTP: vmlinuz: 404", try: "check the image"},
		{name: "no kernel", stages: results("script"), silent: time.Minute, verdict: "and no kernel since", try: "check the image"},
		{name: "no initramfs", stages: results("script", "kernel"), silent: time.Minute, verdict: "and no initramfs since", try: "memory for kernel"},
		{name: "no hello", stages: results("script", "kernel", "initramfs"), silent: 2 * time.Minute, verdict: "has said no hello for 2m0s", try: "console=ttyS0"},
		{name: "refused", stages: results("hello"), events: event("hello", "refused: two machines claim the name"), verdict: "two machines claim", try: "another MAC"},
		{name: "refused while up", stages: results("up"), events: event("hello", "refused: two machines claim the name"), root: &wire.RootStatus{Waiting: 12}, verdict: "two machines claim", try: "another MAC"},
		{name: "approval", stages: results("network"), unapproved: true, verdict: "waits for approval", try: "masthead node approve n01"},
		{name: "image", stages: results("network"), image: errors.New("tag x: not found"), verdict: "no image for n01: tag x", try: "masthead image list"},
		{name: "its own try", stages: []wire.StageResult{failed("root", "chunk 17: 404", "do this")}, verdict: "failed at stage root: chunk 17: 404", try: "do this"},
		{name: "stalled in init", stages: results("hello"), silent: 10 * time.Minute, verdict: "silent for 10m0s, after stage hello", try: "HTTPS port"},
		{name: "waiting root", stages: results("up"), root: &wire.RootStatus{Waiting: 12}, verdict: "have waited for 12 s", try: "goes on by itself"},
		{name: "up", stages: results("up"), root: &wire.RootStatus{Errors: 3}, verdict: "n01 is up, 0.0 s after its kernel started; 3 fetches"},
		{name: "down", stages: results("up"), silent: time.Hour, verdict: "silent for 1h0m0s", try: "console"},
	} {
		rec := Record{Name: "n01", MAC: "52:54:00:00:00:01", Approved: !tc.unapproved}
		node := rec.wireNode()
		if tc.silent >= 0 && (len(tc.stages) > 0 || len(tc.events) > 0) {
			node.Seen = now.Add(-tc.silent)
		}
		node.RootState = tc.root
		node.Phase = Phase(rec, Boot{Stages: tc.stages}, node.Seen, now)
		verdict, try := Explain(Story{Node: node, Stages: tc.stages, Events: tc.events, Image: tc.image, Now: now})
		if !strings.Contains(verdict, tc.verdict) || !strings.Contains(try, tc.try) || (tc.try == "") != (try == "") || strings.Contains(verdict+try, "%!") {
			t.Errorf("%s: %q, try %q; want %q, try %q", tc.name, verdict, try, tc.verdict, tc.try)
		}
	}
}
