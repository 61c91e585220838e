package node

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/images"
	"masthead/node/wire"
)

func TestOEMWord(t *testing.T) {
	tests := []struct {
		in, word string
		cred     [2]string
	}{
		{"masthead.name=head1", "masthead.name=head1", [2]string{}},
		{"root=ram", "root=ram", [2]string{}},
		{"masthead.credential.admin-token=s=cret", "", [2]string{"admin-token", "s=cret"}},
		{"masthead.credential.../etc=x", "", [2]string{}},
		{"masthead.credential.=x", "", [2]string{}},
		{"Dell System", "", [2]string{}},
		{"", "", [2]string{}},
	}
	for _, tt := range tests {
		word, cred := oemWord(tt.in)
		if word != tt.word || cred != tt.cred {
			t.Errorf("oemWord(%q) = %q, %q; want %q, %q", tt.in, word, cred, tt.word, tt.cred)
		}
	}
}

// helloAnswer is what a head says when it is asked.
type helloAnswer struct {
	spec wire.Spec
	err  error
}

func TestGreeter(t *testing.T) {
	down := helloAnswer{err: errors.New("connection refused")}
	wait := helloAnswer{spec: wire.Spec{Verdict: wire.VerdictWait, Reason: "not approved", RetryAfter: 3}}
	boot := helloAnswer{spec: wire.Spec{Verdict: wire.VerdictBoot, Name: "n01"}}
	refused := helloAnswer{spec: wire.Spec{Verdict: wire.VerdictRefused, Reason: "two machines claim n01", Try: "masthead node show n01"}}
	tests := []struct {
		name    string
		answers []helloAnswer
		want    string        // name of the spec
		asked   []string      // heads in order
		took    time.Duration // of fake time
		wantErr string
	}{
		{"at once", []helloAnswer{boot}, "n01", []string{"a"}, 0, ""},
		{"the second head", []helloAnswer{down, boot}, "n01", []string{"a", "b"}, 0, ""},
		{"both down, then up", []helloAnswer{down, down, boot}, "n01", []string{"a", "b", "a"}, time.Second, ""},
		{"back-off doubles", []helloAnswer{down, down, down, down, down, down, boot}, "n01", []string{"a", "b", "a", "b", "a", "b", "a"}, 7 * time.Second, ""},
		{"waits as long as it is told", []helloAnswer{wait, down, boot}, "n01", []string{"a", "b", "a"}, 3 * time.Second, ""},
		{"refused", []helloAnswer{refused}, "", []string{"a"}, 0, "refuses this machine: two machines claim n01"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked []string
				g := &greeter{heads: []string{"a", "b"}, log: slog.New(slog.DiscardHandler), ask: func(_ context.Context, head string) (wire.Spec, error) {
					a := tt.answers[len(asked)]
					asked = append(asked, head)
					return a.spec, a.err
				}}
				start := time.Now()
				spec, _, err := g.run(t.Context())
				if (err != nil) != (tt.wantErr != "") || (err != nil && !strings.Contains(err.Error(), tt.wantErr)) {
					t.Errorf("error %v, want one with %q", err, tt.wantErr)
				}
				if tt.want != spec.Name {
					t.Errorf("spec of %q, want %q", spec.Name, tt.want)
				}
				if d := cmp.Diff(tt.asked, asked); d != "" {
					t.Errorf("asked (-want +got):\n%s", d)
				}
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
			})
		})
	}
}

func TestGreeterWithoutHeads(t *testing.T) {
	if _, _, err := (&greeter{}).run(t.Context()); !errors.Is(err, errNoHead) {
		t.Errorf("error %v, want %v", err, errNoHead)
	}
}

func TestLabels(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, size int, at map[int]string) string {
		data := make([]byte, size)
		for offset, text := range at {
			copy(data[offset:], text)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	magic := string(binary.LittleEndian.AppendUint16(nil, ext4Magic))
	iso := write("iso", 20*2048, map[int]string{isoDescriptor: "\x01CD001\x01", isoDescriptor + isoVolumeID: "MASTHEAD                        "})
	ext := write("ext4", 8192, map[int]string{ext4Super + ext4MagicAt: magic, ext4Super + ext4LabelAt: "masthead-state"})
	blank := write("blank", 64<<10, nil)
	short := write("short", 100, nil)

	if got, err := isoLabel(iso); got != images.MediumLabel || err != nil {
		t.Errorf("isoLabel: %q, %v", got, err)
	}
	if got, err := ext4Label(ext); got != images.StateLabel || err != nil {
		t.Errorf("ext4Label: %q, %v", got, err)
	}
	for _, file := range []string{blank, short} {
		if got, err := isoLabel(file); err == nil {
			t.Errorf("isoLabel of %s: %q", file, got)
		}
		if got, err := ext4Label(file); err == nil {
			t.Errorf("ext4Label of %s: %q", file, got)
		}
	}
}

func TestExplain(t *testing.T) {
	s := wire.StageResult{Stage: wire.StageNetwork, At: 12.34, Cause: "eth0: no carrier\neth1: no offer", Try: "check the cable"}
	got := explain(s, images.Boot{PanicDelay: 30 * time.Second})
	want := "\n*** boot failed at stage \"network\", 12.3 s after the kernel started\n*** cause: eth0: no carrier\n" +
		"***        eth1: no offer\n*** try:   check the cable\n" +
		"*** restart in 30 s; add masthead.rescue to the kernel command line for a shell\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestStoppable(t *testing.T) {
	proc := t.TempDir()
	for pid, cmdline := range map[string]string{"1": "/init", "2": "", "50": "@masthead-rootd", "60": "sshd", "70": "self", "self": "x"} {
		if err := os.Mkdir(filepath.Join(proc, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, pid, "cmdline"), []byte(cmdline), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := stoppable(proc, 70)
	if d := cmp.Diff([]int{60}, got); d != "" || err != nil {
		t.Errorf("stoppable: %v (-want +got):\n%s", err, d)
	}
}

func TestSwapHeader(t *testing.T) {
	h := swapHeader(1<<20, 4096)
	if len(h) != 4096 || string(h[4086:]) != swapSignature || binary.LittleEndian.Uint32(h[1028:]) != 255 {
		t.Errorf("swap header of 1 MiB: %d bytes, last page %d", len(h), binary.LittleEndian.Uint32(h[1028:]))
	}
}
