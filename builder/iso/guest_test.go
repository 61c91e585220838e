package iso

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
)

// guest is what boots in the virtual machines: a Debian kernel and an initramfs
// with testdata/init and the modules that read the medium.
type guest struct{ kernel, initramfs []byte }

// guestModules are in the order to load them.
var guestModules = []string{
	"virtio/virtio_ring", "virtio/virtio", "virtio/virtio_pci_modern_dev", "virtio/virtio_pci_legacy_dev",
	"virtio/virtio_pci", "block/virtio_blk",
	"scsi/scsi_common", "scsi/scsi_mod", "ata/libata", "ata/ata_piix", "cdrom/cdrom", "scsi/sr_mod",
	"isofs/isofs",
}

func newGuest(t testing.TB) guest {
	t.Helper()
	files := kernelPackage(t)
	g := guest{}
	modules := make(map[string][]byte)
	for name, b := range files {
		if strings.HasPrefix(name, "boot/vmlinuz-") {
			g.kernel = b
			continue
		}
		modules[strings.TrimSuffix(filepath.Base(name), ".ko")] = b
	}
	if g.kernel == nil {
		t.Fatal("no kernel in the package")
	}
	init := filepath.Join(t.TempDir(), "init")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", init, "./testdata/init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build init: %v\n%s", err, out)
	}
	b, err := os.ReadFile(init)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := cpio.NewWriter(&out)
	add := func(name string, mode cpio.FileMode, b []byte) {
		if err := w.WriteHeader(&cpio.Header{Name: name, Mode: mode, Size: int64(len(b)), Links: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	add("init", cpio.TypeReg|0o755, b)
	add("modules", cpio.TypeDir|0o755, nil)
	for i, m := range guestModules {
		b, ok := modules[filepath.Base(m)]
		if !ok {
			t.Fatalf("no module %s in the kernel package", m)
		}
		add(fmt.Sprintf("modules/%02d-%s.ko", i, filepath.Base(m)), cpio.TypeReg|0o644, b)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// The kernel skips zeros. They make the EFI system partition larger than the
	// 32 MiB that an El Torito entry can express, as the real one is.
	g.initramfs = append(out.Bytes(), make([]byte, 32<<20)...)
	return g
}

// kernelPackage returns kernel and modules of Debian's cloud kernel.
func kernelPackage(t testing.TB) map[string][]byte {
	t.Helper()
	wanted := regexp.MustCompile(`^(boot/vmlinuz-.*|(?:usr/)?lib/modules/.*/(` + strings.Join(baseNames(guestModules), "|") + `)\.ko)$`)
	cmd := exec.Command("dpkg-deb", "--fsys-tarfile", downloadKernel(t))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	files := make(map[string][]byte)
	r := tar.NewReader(out)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if name := strings.TrimPrefix(h.Name, "./"); wanted.MatchString(name) {
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = b
		}
	}
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return files
}

func baseNames(paths []string) []string {
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = filepath.Base(p)
	}
	return names
}

// downloadKernel returns the path of the package, kept between runs.
func downloadKernel(t testing.TB) string {
	t.Helper()
	cache := os.Getenv("MASTHEAD_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(home, ".cache", "masthead")
	}
	const pattern = "linux-image-*-cloud-amd64_*.deb"
	if found, err := filepath.Glob(filepath.Join(cache, pattern)); err == nil && len(found) > 0 {
		return found[len(found)-1]
	}
	depends := output(t, "apt-cache", "depends", "linux-image-cloud-amd64")
	m := regexp.MustCompile(`Depends: (linux-image-\S+)`).FindStringSubmatch(depends)
	if m == nil {
		t.Fatalf("no kernel package in:\n%s", depends)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(cache, "download-") // a broken download is never taken for a package
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("apt-get", "download", m[1])
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("downloaded %v, %v", found, err)
	}
	path := filepath.Join(cache, filepath.Base(found[0]))
	if err := os.Rename(found[0], path); err != nil {
		t.Fatal(err)
	}
	return path
}
