package main

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/install"
	"masthead/images"
	"masthead/node/blockdev"
)

// What makes no sense is asked again, with the reason, where it was answered.
func TestInstallQuestions(t *testing.T) {
	disk := func(name string, size int64) install.Disk {
		return install.Disk{Device: blockdev.Device{Name: name, Path: "/dev/" + name, Serial: "S-" + name, Size: size, Sector: 512}}
	}
	stick := disk("sdb", 8<<30)
	stick.Medium = true
	m := machine{Machine: install.Machine{
		Disks:  []install.Disk{disk("sda", 20<<30), stick, disk("sdc", 64<<20), disk("sdd", 20<<30)},
		Source: install.Source{Name: "head", Image: images.DigestOf(nil), Kernel: "6.12", Size: 100 << 20},
		NICs:   []install.NIC{{Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.1/24")}}}, Mkfs: true,
	}}
	said := strings.Join([]string{
		"", "9", "2", "3", "1", // disk: needs an answer, is none, the medium, too small
		"10.77.0.1", "", // address: no prefix; as it is now
		"10.78.0.1", "-", // router in another network
		"10.77.0.1/24", "hello", "10.77.0.100/24", // virtual address: its own; none
		"nobody", "a@example.org, b@example.org", //
		"",                            // the mail server
		"one ", "two", "one ", "one ", // the password
		"left for the next",
	}, "\n")
	var screen bytes.Buffer
	a := &app{in: strings.NewReader(said), err: &screen}
	got, err := a.askAnswers(m, install.Answers{}, false)
	if err != nil {
		t.Fatal(err)
	}
	want := install.Answers{Disk: "/dev/sda", Address: "10.77.0.1/24", VIP: netip.MustParsePrefix("10.77.0.100/24"),
		Mail: []string{"a@example.org", "b@example.org"}, Server: "mail.example.org:25", Password: "one "}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Errorf("answers (-want +got):\n%s", d)
	}
	at := 0
	for _, line := range []string{
		"this one needs an answer", "there is no disk 9", "/dev/sdb is what this machine was started from", "/dev/sdc: plan the disk: the disk has 64 MiB",
		`"10.77.0.1" want ADDRESS/PREFIX`, "is not in the network 10.77.0.0/24", "is this head's own address", `"hello": want ADDRESS/PREFIX`,
		`"nobody" is no mail address`, "they differ",
	} {
		i := strings.Index(screen.String()[at:], line)
		if i < 0 {
			t.Fatalf("%q is not said, or not in its place:\n%s", line, screen.String())
		}
		at += i
	}
}

// The answers of a file are checked before the machine is looked at, which may be a workstation.
func TestInstallChecksFile(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"bad.yaml": "disk: auto\nadress: x\naddress: 10.77.0.1\n", "good.yaml": "disk: auto\naddress: dhcp\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		file string
		exit int
		want []string
		more string // beside it
	}{
		{"good.yaml", exitUsage, []string{"takes --disk and --erase, not --address", "try: put it into "}, "--address=dhcp"},
		{"good.yaml", exitFailed, []string{"good.yaml: the answers are in order\n"}, "--disk=/dev/sda"},
		{"absent.yaml", exitUsage, []string{"absent.yaml: no such file", "try: "}, "--yes"},
		{"bad.yaml", exitUsage, []string{"bad.yaml:2: adress: no such field", "bad.yaml:3: address: ", "try: correct the file"}, "--yes"},
		{"good.yaml", exitFailed, []string{"good.yaml: the answers are in order\n", "error: this machine was not started from an ISO"}, "--yes"},
	} {
		var out, said bytes.Buffer
		got := report(&said, run(t.Context(), []string{"install", "--from", filepath.Join(dir, tt.file), "--dry-run", tt.more}, strings.NewReader(""), &out, &said))
		if got != tt.exit {
			t.Errorf("%s: exit code %d, want %d", tt.file, got, tt.exit)
		}
		for _, want := range tt.want {
			if !strings.Contains(said.String(), want) {
				t.Errorf("%s: want %q, got:\n%s", tt.file, want, said.String())
			}
		}
	}
}

// The default is the only blank disk that can be used.
func TestDefaultDisk(t *testing.T) {
	disk := func(name string, size int64) install.Disk {
		return install.Disk{Device: blockdev.Device{Name: name, Path: "/dev/" + name, Size: size, Sector: 512}}
	}
	m := install.Machine{Disks: []install.Disk{disk("vda", 64<<20), disk("vdb", 20<<30)}, Source: install.Source{Size: 100 << 20}}
	if got := defaultDisk(m); got != "2" {
		t.Errorf("beside one that is too small: got %q, want 2", got)
	}
	m.Disks = append(m.Disks, disk("vdc", 20<<30))
	if got := defaultDisk(m); got != "" {
		t.Errorf("of two: got %q, want none", got)
	}
}

// What is to be typed is the command that was typed, with something more.
func TestWithTyped(t *testing.T) {
	for _, tt := range []struct {
		typed     []string
		try, want string
	}{
		{[]string{"--from", "a.yaml", "--dry-run"}, "masthead install --disk /dev/vda", "masthead install --dry-run --from a.yaml --disk /dev/vda"},
		{[]string{"--disk", "auto", "--mail", "a@b", "--mail", "c@d"}, "masthead install --disk /dev/vda", "masthead install --mail a@b,c@d --disk /dev/vda"},
		{[]string{"--disk", "My Disk"}, "masthead install", "masthead install --disk 'My Disk'"},
		{[]string{"--disk", "x"}, "masthead install --help", "masthead install --help"},
		{[]string{"--disk", "x"}, "correct the file", "correct the file"},
	} {
		flags := new(app).installCommand().Flags()
		if err := flags.Parse(tt.typed); err != nil {
			t.Fatal(err)
		}
		err := withTyped(usageError{&hint{errors.New("x"), tt.try}}, "masthead install", flags)
		if got := tryText(err); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.typed, got, tt.want)
		}
		if !errors.As(err, new(usageError)) {
			t.Errorf("%q: %v is no longer one of usage", tt.typed, err)
		}
	}
}

// Ctrl-C at a question ends the command: its signal is caught, so the read that waits does not hear of it.
func TestQuestionEnds(t *testing.T) {
	in, keyboard, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer keyboard.Close()
	ended := make(chan struct{})
	a := &app{in: in, err: new(bytes.Buffer), ended: ended}
	done := make(chan error)
	go func() {
		_, err := a.askLine("name? ")
		done <- err
	}()
	close(ended)
	select {
	case err := <-done:
		if !errors.Is(err, errEnded) {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the question waits for ever")
	}
}
