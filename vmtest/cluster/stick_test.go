package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"masthead/vmtest"
	"masthead/vmtest/qemu"
)

// stickFile is the image of a stick in a test's folder.
const stickFile = "stick.img"

// headOnStick is a head that boots from a stick, and is told by its kernel command line to join. For the kernel it is a
// virtio disk: that of the minimal images knows no USB.
func headOnStick(t *testing.T) vmtest.MachineConfig {
	t.Helper()
	m := minimalHead(t)
	stick := filepath.Join(t.TempDir(), stickFile)
	copyFile(t, stick, m.ISO)
	m.ISO = ""
	m.Boot = vmtest.Boot{qemu.FromDisk}
	m.Disks = append([]vmtest.DiskConfig{{Path: stick}}, m.Disks...)
	m.OEM = append(m.OEM, "masthead.join=10.77.0.1")
	return m
}

// bootStick is the stick that a machine boots from; empty: none.
func bootStick(m vmtest.MachineConfig) string {
	if len(m.Disks) > 0 && filepath.Base(m.Disks[0].Path) == stickFile {
		return m.Disks[0].Path
	}
	return ""
}

// joinByStick puts a join token on the EFI partition of a head's stick, as an administrator with a laptop would, and
// boots it.
func (s *several) joinByStick(t *testing.T, name, stick string) {
	t.Helper()
	through := s.head
	if c := s.clients["head2"]; c != nil {
		through = c
	}
	token, err := through.HeadToken(t.Context())
	must(t, err)
	file := filepath.Join(t.TempDir(), "join-token")
	must(t, os.WriteFile(file, []byte(token.Token+"\n"), 0o600))
	at := fmt.Sprintf("%s@@%d", stick, espOffset(t, stick))
	if out, err := exec.CommandContext(t.Context(), "mcopy", "-o", "-i", at, file, "::join-token").CombinedOutput(); err != nil {
		t.Fatalf("mcopy to %s: %v\n%s", at, err, out)
	}
	must(t, s.PowerOn(t.Context(), name))
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	if err := s.AwaitMember(ctx, through, name); err != nil {
		t.Fatalf("%v\n%s", err, s.Report(t.Context()))
	}
}

var espLine = regexp.MustCompile(`(?m)^ *\d+ +(\d+) +\d+ .* EF00 `)

// espOffset is where the EFI partition of a disk image begins, in bytes.
func espOffset(t *testing.T, image string) int64 {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sgdisk", "-p", image).CombinedOutput()
	m := espLine.FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("sgdisk -p %s: %v\n%s", image, err, out)
	}
	var sector int64
	if _, err := fmt.Sscan(string(m[1]), &sector); err != nil {
		t.Fatal(err)
	}
	return sector * 512
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	in, err := os.Open(from)
	must(t, err)
	defer in.Close()
	out, err := os.Create(to)
	must(t, err)
	_, err = io.Copy(out, in)
	must(t, err)
	must(t, out.Close())
}

// A token is nothing that a console should show.
func (s *several) keepsSecrets(t *testing.T, machine string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.Machine(machine).Folder(), "console.log"))
	must(t, err)
	if len(text) == 0 {
		t.Errorf("nothing is kept of the console of %s", machine)
	}
	for _, word := range []string{"mhj_", s.Token} {
		if strings.Contains(string(text), word) {
			t.Errorf("the console of %s shows a secret that begins with %.4s", machine, word)
		}
	}
}
