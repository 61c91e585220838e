package httpboot

import (
	"context"
	"errors"
	"flag"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"masthead/images"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if diff := cmp.Diff(string(want), string(got)); err != nil || diff != "" {
		t.Errorf("%s: %v\n%s", path, err, diff)
	}
}

func someMachine() Machine {
	return Machine{
		Name: "n01", MAC: "52:54:00:aa:bb:01", Image: images.DigestOf([]byte("manifest")), Tag: "worker",
		Boot: images.Boot{
			Role: images.RoleWorker, Heads: []string{"https://10.0.0.1"}, CA: images.DigestOf([]byte("ca")),
			Root: images.RootLazy, Overlay: "tmpfs", PanicDelay: images.DefaultPanicDelay, State: images.StateLabel,
		},
		Others:  []string{"http://10.0.0.2"},
		Cmdline: `console=tty0  console=ttyS0,115200 dyndbg="file drivers/usb/* +p"`,
	}
}

func TestScript(t *testing.T) {
	got, err := Script("http://10.0.0.1", someMachine(), "quiet")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/boot.ipxe", got)
	golden(t, "testdata/wait.ipxe", waitFor("http://10.0.0.1", "52:54:00:aa:bb:01",
		&Notice{Reason: "it waits for approval || ${net0/mac} # \x1b[0m", Fix: "masthead node approve x-525400aabb01"}))
	golden(t, "testdata/ask.ipxe", ask("http://10.0.0.1"))
}

// The kernel must read out of the script what was put into it.
func TestScriptRoundTrip(t *testing.T) {
	m := someMachine()
	script, err := Script("http://10.0.0.1", m, "quiet")
	if err != nil {
		t.Fatal(err)
	}
	got, err := images.ParseBoot(kernelArguments(t, script))
	want := m.Boot
	want.Image, want.NIC, want.IP = m.Image, m.MAC, images.IPDHCP
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

// ipxe is what iPXE makes of a line (src/core/exec.c): words, up to the first that ends a command, and which that was.
func ipxe(line string) (words []string, end string) {
	for _, w := range strings.Fields(line) {
		if w[0] == '#' || w == "||" || w == "&&" || w == ";" {
			return words, w
		}
		words = append(words, w)
	}
	return words, ""
}

// kernelArguments is the command line that the kernel command of a script gives: all words after the URI.
func kernelArguments(t testing.TB, script []byte) string {
	t.Helper()
	for _, line := range strings.Split(string(script), "\n") {
		if words, end := ipxe(line); len(words) > 5 && words[0] == "kernel" {
			if end != "||" || words[1] != "--timeout" || words[3] != "--name" || strings.Contains(line, "${") {
				t.Fatalf("iPXE would not understand %s", line)
			}
			return strings.Join(words[6:], " ")
		}
	}
	t.Fatal("no kernel command")
	return ""
}

func TestCheckCmdline(t *testing.T) {
	for s, want := range map[string]string{
		"":                               "",
		"quiet  console=ttyS0":           "",
		`a="b c" d="e f"`:                "",
		"a=b||c x#y":                     "",
		"a || reboot":                    "||",
		"a ; b":                          ";",
		"a && b":                         "&&",
		"a #b":                           "#b",
		"a=${net0/mac}":                  "${",
		"a=\nb":                          "ASCII",
		"a=\tb":                          "ASCII",
		"a=é":                            "ASCII",
		`a="b  c"`:                       "several spaces",
		`a=" b"`:                         "several spaces",
		`a="b`:                           "without its pair",
		"initrd=x":                       "initrd=",
		strings.Repeat("a", 2048):        "2048 bytes",
		"a=1 " + strings.Repeat("b", 99): "",
	} {
		err := CheckCmdline(s)
		if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("CheckCmdline(%q) = %v, want %q", s, err, want)
		}
	}
	m := someMachine()
	m.Cmdline = strings.Repeat("a", 1900)
	if _, err := Script("http://10.0.0.1", m, ""); err == nil || !strings.Contains(err.Error(), "the kernel takes 2047") {
		t.Errorf("a command line that is too long in all: %v", err)
	}
}

// Whatever CheckCmdline lets through arrives at the kernel word for word.
func FuzzCmdline(f *testing.F) {
	f.Add("quiet", `dyndbg="file x +p"`, "n01", "some reason")
	f.Add("a||b", "c#d", "${x}", "a || b # ${c}\nboot")
	f.Fuzz(func(t *testing.T, own, cmdline, name, reason string) {
		for _, line := range strings.Split(strings.TrimSpace(string(waitFor("http://h", "m", errors.New(reason)))), "\n") {
			if words, end := ipxe(line); len(words) > 0 && words[0] == "echo" && (end != "" || strings.Contains(line, "${")) {
				t.Fatalf("the reason %q breaks out of its echo: %q", reason, line)
			}
		}
		if CheckCmdline(own) != nil || CheckCmdline(cmdline) != nil {
			return
		}
		m := someMachine()
		m.Name, m.Cmdline = name, cmdline
		script, err := Script("http://10.0.0.1", m, own)
		if err != nil {
			return
		}
		if lines := strings.Count(string(script), "\n"); lines != 19 {
			t.Fatalf("%d lines:\n%s", lines, script)
		}
		got := strings.Fields(kernelArguments(t, script))
		want := slices.Concat([]string{"initrd=initramfs"}, strings.Fields(own))
		if !slices.Equal(got[:len(want)], want) || !slices.Equal(got[len(got)-len(strings.Fields(cmdline)):], strings.Fields(cmdline)) {
			t.Fatalf("the kernel gets %q of %q and %q", got, own, cmdline)
		}
	})
}

// A head whose firmware asks the network first is sent on to its disk, by either loader.
func TestLocal(t *testing.T) {
	m := Machine{Name: "head2", MAC: "52:54:00:aa:bb:02", Local: true}
	golden(t, "testdata/local.ipxe", Local(m))
	store, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(Config{Blobs: store, Target: func(context.Context, Query) (Machine, error) { return m, nil }})
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.GRUB(t.Context(), Query{MAC: m.MAC})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/local.grub", got)
}
