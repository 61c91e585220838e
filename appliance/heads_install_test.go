package appliance

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"masthead/node/wire"
	"masthead/vmtest/prerequisite"
)

// standIn makes the test's own binary, which the script installs as the head's program, say what it was told and end.
const standIn = "MASTHEAD_TEST_STAND_IN"

func TestMain(m *testing.M) {
	if file := os.Getenv(standIn); file != "" && len(os.Args) > 2 && os.Args[2] == "list" {
		os.Exit(0) // the head answers, and is alone
	} else if file != "" {
		if err := os.WriteFile(file, []byte(strings.Join(os.Args[1:], " ")+"\n"), 0o600); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	// memberlist's Shutdown does not wait for a probe under way, which lasts up to some seconds on a busy machine.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probe"),
		goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).sendPingAndWaitForAck"))
}

// script is the installation script as a head serves it.
func script(t *testing.T, h *Head) string {
	t.Helper()
	srv := httptest.NewServer(h.withInstall(h.boot))
	defer srv.Close()
	resp, err := http.Get(srv.URL + wire.PlainInstall)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	if resp, err := http.Post(srv.URL+wire.PlainInstall, "", nil); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	return text.String()
}

func TestInstallScript(t *testing.T) {
	h, _ := testHead(t)
	text := script(t, h)
	for _, want := range []string{"#!/bin/sh\n", string(h.authority.Digest()), "https://10.77.0.1", string(h.authority.PEM())} {
		if !strings.Contains(text, want) {
			t.Errorf("the script lacks %q", want)
		}
	}
	if !strings.HasSuffix(text, "\nmain \"$@\"\n") {
		t.Error("a transfer that was cut off would run a part of it")
	}
	file := filepath.Join(t.TempDir(), "install-head")
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, check := range [][]string{
		{prerequisite.Program(t, "dash"), "-n", file},
		{prerequisite.Program(t, "shellcheck"), "--shell=sh", "--severity=style", file},
	} {
		if out, err := exec.Command(check[0], check[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", filepath.Base(check[0]), err, out)
		}
	}
}

// The whole script, with a real shell and a real curl against a real head; only what would change this machine lies
// elsewhere.
func TestInstallScriptRuns(t *testing.T) {
	prerequisite.Program(t, "curl")
	prerequisite.Program(t, "ip")
	prerequisite.Root(t)
	sh := prerequisite.Program(t, "dash")
	one := startHead(t, "head1", 1)
	get := func() string {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", one.cfg.HTTP, wire.PlainInstall))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var text bytes.Buffer
		if _, err := text.ReadFrom(resp.Body); err != nil {
			t.Fatal(err)
		}
		return text.String()
	}
	own, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(own)
	text := get()
	for _, tt := range []struct {
		name   string
		change func(string) string
		env    []string
		want   string // in what it prints; empty: it succeeds
	}{
		{"as it is", nil, nil, ""},
		{"another program", func(s string) string {
			return strings.ReplaceAll(s, hex.EncodeToString(sum[:]), strings.Repeat("0", 64))
		}, nil, "not the one that this script is for"},
		{"another CA", func(s string) string {
			other := startHead(t, "else", 9)
			h := other.cfg
			other.off()
			head, err := New(h)
			if err != nil {
				t.Fatal(err)
			}
			defer head.Close()
			begin, end := strings.Index(s, "-----BEGIN"), strings.Index(s, "-----END")
			pem := strings.TrimSpace(string(head.authority.PEM()))
			return s[:begin] + pem[:strings.Index(pem, "-----END")] + s[end:]
		}, nil, "gave no program"},
		{"an address that is none", nil, []string{"MASTHEAD_ADDRESS=127.0.0.1;reboot"}, "want ADDRESS/PREFIX"},
		{"an interface that is none", nil, []string{"MASTHEAD_INTERFACE=lo\nExecStartPre=/bin/x"}, "cannot be a name"},
		{"no systemd", func(s string) string { return strings.ReplaceAll(s, "/run/systemd/system", "/nonexistent") }, nil, "does not run systemd"},
		{"cut off", func(s string) string { return s[:len(s)*3/4] }, nil, "\x00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := text
			if tt.change != nil {
				s = tt.change(s)
			}
			for from, to := range map[string]string{
				"/usr/local/bin/masthead": dir + "/masthead", "/etc/systemd/system/": dir + "/", "/run/systemd/system": dir,
			} {
				s = strings.ReplaceAll(s, from, to)
			}
			systemctl := "#!/bin/sh\necho \"$*\" >>" + dir + "/systemctl.log\n"
			token := filepath.Join(dir, "token")
			for file, data := range map[string]string{"script": s, "systemctl": systemctl, "token": "mhj_x\n"} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(data), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			said := filepath.Join(dir, "said")
			cmd := exec.Command("setsid", sh, filepath.Join(dir, "script")) // without a terminal
			cmd.Env = append(append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), standIn+"="+said, "MASTHEAD_TOKEN_FILE="+token,
				"MASTHEAD_NAME=head2", "MASTHEAD_ADDRESS=127.77.0.2/8"), tt.env...)
			out, err := cmd.CombinedOutput()
			if tt.want != "" {
				if tt.want != "\x00" && (err == nil || !strings.Contains(string(out), tt.want)) {
					t.Errorf("%v, want it to fail with %q:\n%s", err, tt.want, out)
				}
				if _, err := os.Stat(filepath.Join(dir, "masthead")); err == nil {
					t.Error("the program is installed")
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if data, err := os.ReadFile(filepath.Join(dir, "masthead")); err != nil || sha256.Sum256(data) != sum {
				t.Errorf("the program is not that of the head: %v", err)
			}
			if data, err := os.ReadFile(said); err != nil || string(data) != fmt.Sprintf("head join https://127.77.0.1:%d --token-file %s\n", one.cfg.HTTPS, token) {
				t.Errorf("the program was told %q, %v", data, err)
			}
			unit, err := os.ReadFile(filepath.Join(dir, "masthead-head.service"))
			want := "ExecStart=" + dir + "/masthead head run --name head2 --interface lo --address 127.77.0.2/8 --dhcp auto --join https://127.77.0.1:"
			if err != nil || !strings.Contains(string(unit), want) {
				t.Errorf("the unit lacks %q: %v\n%s", want, err, unit)
			}
			if log, err := os.ReadFile(filepath.Join(dir, "systemctl.log")); err != nil || !strings.Contains(string(log), "restart masthead-head.service") {
				t.Errorf("systemctl was told %q, %v", log, err)
			}
			if !strings.Contains(string(out), "CA sha256:") {
				t.Errorf("it does not say what to compare:\n%s", out)
			}
		})
	}
}
