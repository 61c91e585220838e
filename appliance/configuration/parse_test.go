package configuration

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const whole = `name: production
vips:
  - address: 10.77.0.100/24
  - {address: "fd00::100/64", nic: eth1}
heads:
  head1:
    serial: [{device: /dev/ttyS1}]
    heartbeats: [10.78.0.1]
    fence: [[{device: hand}]]
fence_devices:
  - {name: hand, agent: manual}
boot_wait: 5s
gateway: 10.77.0.254
services:
  - name: web
    resources:
      - {name: site, ip: {address: 10.77.0.150/24}}
      - {name: httpd, unit: {name: apache2}}
monitors:
  - {name: mysql, tcp: {port: 3306}, interval: 10s, randskew: 4s}
`

func TestParse(t *testing.T) {
	d, err := Parse("cluster.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	text, err := Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("again.yaml", text)
	if err != nil {
		t.Fatalf("what was written cannot be read: %v\n%s", err, text)
	}
	second, err := Encode(again)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(text), string(second)); diff != "" {
		t.Error(diff)
	}
	if again.Gateway.String() != "10.77.0.254" || len(again.Heads["head1"].Heartbeats) != 1 || len(again.VIPs) != 2 {
		t.Errorf("lost on the way:\n%s", text)
	}
	if got := len(d.Addresses()); got != 3 {
		t.Errorf("%d addresses, want 3", got)
	}
}

// A value of the wrong type hides nothing else, and is said in plain words.
func TestParseTypes(t *testing.T) {
	_, err := Parse("c.yaml", []byte("vips:\n  - address: 10.77.0.100\nloss: maybe\ngateway: foo\nboot_wait: 10\nheads:\n  head1: {heartbeats: [x]}\n"))
	want := strings.Join([]string{
		`c.yaml:2: vips[0].address: "10.77.0.100" is not an address with a prefix, such as 10.77.0.100/24`,
		`c.yaml:4: gateway: "foo" is not an address, such as 10.77.0.1`,
		`c.yaml:5: boot_wait: 10 is not a duration, such as 10s`,
		`c.yaml:7: heads.head1.heartbeats[0]: "x" is not an address, such as 10.77.0.1`,
		`c.yaml:3: loss: "maybe": want one of [safe available]`,
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// What the example shows must be right when its comments are taken away.
func TestExample(t *testing.T) {
	if d, err := Parse("example", []byte(Example)); err != nil || len(d.VIPs) != 0 {
		t.Fatalf("%+v, %v", d, err)
	}
	text := regexp.MustCompile(`(?m)^# `).ReplaceAllString(Example, "")
	text = strings.Replace(text, "The configuration of the cluster.", "# The", 1)
	text = strings.Replace(text, "Lines that", "#", 1)
	if _, err := Parse("example", []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestProblems(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"unknown field", "vip: []\n", "c:1: vip: no such field"},
		{"no prefix", "vips:\n  - address: 10.0.0.1\n", "c:2"},
		{"twice", "vips:\n  - address: 10.0.0.1/24\n  - address: 10.0.0.1/8\n", "c:3: vips[1].address"},
		{"loopback", "vips:\n  - address: 127.0.0.1/8\n", "no machine can answer"},
		{"two witnesses", "witnesses: [a, b]\n", "want 3 or 5"},
		{"panel alone", "arbiter: panel\n", "a panel needs"},
		{"arbiter", "arbiter: judge\n", "c:1: arbiter"},
		{"head", "heads:\n  head_1: {}\n", "c:2: heads.head_1: want a host name"},
		{"witness", "witnesses: [a, b, c.d]\n", "c:1: witnesses[2]: \"c.d\": want a host name"},
		{"fence device", "heads:\n  a:\n    fence: [[{device: x}]]\n", "c:3: heads.a.fence[0][0]"},
		{"no serial device", "heads:\n  a: {serial: [{baud: 9600}]}\n", "want a device, such as /dev/ttyS1"},
		{"monitor", "monitors:\n  - {name: a, tcp: {port: 1}}\n  - {name: a, tcp: {port: 2}}\n", "c:3: monitors[1].name"},
		{"service", "services:\n  - {name: a, resources: []}\n", "c:2: services[0]"},
		{"mail", "mail: {server: a, to: [nobody]}\n", "mail"},
	} {
		_, err := Parse("c", []byte(test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q in it", test.name, err, test.want)
		}
	}
}

func TestSecrets(t *testing.T) {
	text := []byte("fence_devices:\n  - {name: a, agent: manual, params: {password: 'secret:x', other: 'secret:y', third: 'secret:x'}}\n")
	names, err := Secrets(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"x", "y"}, names); diff != "" {
		t.Error(diff)
	}
	filled, err := Fill(text, func(name string) (string, bool) { return "va\"l: ue " + name, name == "x" })
	if err == nil || !strings.Contains(err.Error(), `"y"`) {
		t.Errorf("a secret that is missing: %v", err)
	}
	d, err := Parse("c", filled)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.FenceDevices[0].Params["password"]; got != `va"l: ue x` {
		t.Errorf("password %q", got)
	}
}

func TestDiffLines(t *testing.T) {
	got := DiffLines("a\nb\nc\nd\ne\nf\ng\n", "a\nb\nc\nd\ne\nx\ng\n")
	if diff := cmp.Diff([]string{"  c", "  d", "  e", "- f", "+ x", "  g"}, got); diff != "" {
		t.Error(diff)
	}
	if got := DiffLines("a\n", "a\n"); got != nil {
		t.Errorf("no difference: %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add("heads: {a: {fence: [[{}]]}}")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse("c", []byte(text))
		if err != nil {
			return
		}
		data, err := Encode(d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse("again", data); err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, data)
		}
	})
}
