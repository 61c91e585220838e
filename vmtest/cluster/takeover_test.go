package cluster

import (
	"net"
	"net/smtp"
	"slices"
	"strings"
	"testing"
	"time"

	"masthead/vmtest"
	"masthead/vmtest/prober"
)

func TestMailbox(t *testing.T) {
	box, err := OpenMailbox(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(box.Guest())
	if err != nil {
		t.Fatal(err)
	}
	text := "Subject: test\r\n\r\n.a line that begins with a dot\r\n"
	for range 2 {
		if err := smtp.SendMail("127.0.0.1:"+port, nil, "a@example.org", []string{"b@example.org"}, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if mails := box.Mails(); len(mails) != 2 || mails[0] != strings.ReplaceAll(text, "\r\n", "\n") {
		t.Errorf("%q", mails)
	}
	// A client that stays does not keep the server.
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := box.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLongest(t *testing.T) {
	var all []prober.Answer
	for _, at := range []int{0, 5, 10, 410, 415, 1015} {
		all = append(all, prober.Answer{At: time.Duration(at) * time.Millisecond, MAC: "a"})
	}
	for _, test := range []struct {
		name           string
		from, to, want int
	}{
		{"all", 0, 2000, 600},
		{"the first silence", 0, 412, 400},
		{"the second", 412, 2000, 600},
		{"one that has not ended", 412, 800, 5},
		{"none", 2000, 3000, 0},
	} {
		got := longest(all, time.Duration(test.from)*time.Millisecond, time.Duration(test.to)*time.Millisecond)
		if got != time.Duration(test.want)*time.Millisecond {
			t.Errorf("%s: %v, want %d ms", test.name, got, test.want)
		}
	}
}

func TestScenarios(t *testing.T) {
	var names []string
	for _, s := range Scenarios() {
		if s.Name == "" || s.What == "" || s.inject == nil || slices.Contains(names, s.Name) {
			t.Errorf("scenario %+v", s)
		}
		names = append(names, s.Name)
	}
	bare := vmtest.Config{Machines: map[string]vmtest.MachineConfig{"a": {Role: "head"}, "n": {Role: "worker"}}}
	var can []string
	for _, s := range Scenarios() {
		if s.Impossible(bare) == "" {
			can = append(can, s.Name)
		}
	}
	if got, want := strings.Join(can, " "), "switch switch-back kill loss standby-cut flap cold-boot"; got != want {
		t.Errorf("heads with nothing can show %q, want %q", got, want)
	}
}
