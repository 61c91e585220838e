package rootdev

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"

	"masthead/node/wire"
	"masthead/vmtest/guestkernel"
	"masthead/vmtest/prerequisite"
)

// TestVM runs a root device on a real kernel: testdata/guest is its PID 1, and this side is the head, which it kills
// and revives when the guest says so. MASTHEAD_KERNEL_DEB names another kernel package to run it on.
func TestVM(t *testing.T) {
	if os.Getenv("MASTHEAD_VM") != "1" {
		t.Skip("MASTHEAD_VM is not 1")
	}
	prerequisite.Programs(t, "qemu-system-x86_64", "mkfs.erofs", "dpkg-deb", "depmod", "apt-get", "go")
	kernel, modules := guestkernel.Debian(t, "nbd", "erofs", "virtio_pci", "virtio_net")
	image, files := erofsImage(t)
	h := newHead(t, image, "secret of this boot")
	config := Config{
		Image: image.digest, Manifest: image.manifest, Control: "/run/rootd.sock",
		Heads: Heads{CA: h.ca, Token: h.token, Heads: []wire.Head{{Name: "head1", URL: strings.Replace(h.url, "127.0.0.1", "10.0.2.2", 1)}}},
	}
	initramfs := guestInitramfs(t, modules, config, files)

	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	args := []string{"-accel", "tcg", "-m", "512", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,romfile=",
		"-kernel", kernel, "-initrd", initramfs, "-append", "console=ttyS0 panic=-1 loglevel=7"}
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	var stderr bytes.Buffer
	qemu.Stderr = &stderr
	in, err := qemu.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := qemu.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := qemu.Start(); err != nil {
		t.Fatal(err)
	}
	var console strings.Builder
	passed := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		fmt.Fprintln(&console, line)
		switch {
		case line == "KILL-HEAD":
			h.kill()
			io.WriteString(in, "go\n")
		case line == "REVIVE-HEAD":
			h.revive()
			io.WriteString(in, "go\n")
		case line == "PASSED":
			passed = true
		case guestLine.MatchString(line):
			t.Log(line)
		}
	}
	err = qemu.Wait()
	if !passed || err != nil {
		path := filepath.Join(os.TempDir(), "rootdev-vm-console.txt")
		os.WriteFile(path, []byte(console.String()), 0o644)
		tail := console.String()
		t.Fatalf("the guest did not pass (%v %s)\nqemu-system-x86_64 %s\nconsole, all of it in %s:\n%s", err, stderr.String(),
			strings.Join(args, " "), path, tail[max(0, len(tail)-5000):])
	}
	for _, want := range []string{"masthead: no source of the root answers", "masthead: the chunks of the root come again", "Possible stuck request"} {
		if !strings.Contains(console.String(), want) {
			t.Errorf("the console does not say %q", want)
		}
	}
}

var guestLine = regexp.MustCompile(`^(STARTED|MOUNTED|DONE|MEMORY|STATUS|EVENT|RESUMED|TAKEN-OVER|SPEED|FAILED)\b`)

// erofsImage seals an EROFS of some files and gives their digests by path.
func erofsImage(t *testing.T) (sealed, map[string]string) {
	t.Helper()
	tree := t.TempDir()
	files := map[string]string{}
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range 60 {
		data := make([]byte, 1+rnd.IntN(2<<20))
		for k := range data {
			data[k] = byte(rnd.Uint32()) & 0x07
		}
		name := fmt.Sprintf("dir%d/file%d", i%7, i)
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		files[name] = hex.EncodeToString(sum[:])
	}
	path := filepath.Join(t.TempDir(), "root.erofs")
	guestkernel.Command(t, "", "mkfs.erofs", path, tree)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("EROFS of %d bytes", len(data))
	return sealBytes(t, data, 128<<10), files
}

// guestInitramfs is the guest with its modules, as an initramfs.
func guestInitramfs(t *testing.T, modules []string, c Config, files map[string]string) string {
	t.Helper()
	init := filepath.Join(t.TempDir(), "guest")
	guestkernel.Command(t, "", "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", init, "./testdata/guest")
	path := filepath.Join(t.TempDir(), "initramfs")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewWriter(f)
	if err != nil {
		t.Fatal(err)
	}
	w := cpio.NewWriter(z)
	add := func(name string, mode fs.FileMode, data []byte) {
		if err := w.WriteHeader(&cpio.Header{Name: name, Mode: cpio.FileMode(mode) | cpio.TypeReg, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	read := func(path string) []byte {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	add("init", 0o755, read(init))
	var names []string
	for i, m := range modules {
		name := fmt.Sprintf("%02d-%s", i, filepath.Base(m))
		add(name, 0o644, read(m))
		names = append(names, "/"+name)
	}
	add("modules.txt", 0o644, []byte(strings.Join(names, "\n")))
	add("config.json", 0o600, encode(c))
	add("files.json", 0o644, encode(files))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}
