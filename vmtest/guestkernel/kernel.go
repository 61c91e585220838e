// Package guestkernel gives tests that boot a tiny guest of their own Debian's cloud kernel and its modules.
package guestkernel

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"masthead/vmtest/prerequisite"
)

// Command runs a program in a folder, as Go programs for a guest are built: without C. A failure ends the test.
func Command(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Debian gives Debian's cloud kernel, downloaded once, and the files of modules with what they depend on, in the
// order to load them. What the kernel has built in, or not at all, is left out: the guest says what it misses.
func Debian(t testing.TB, wanted ...string) (kernel string, modules []string) {
	t.Helper()
	deb := os.Getenv("MASTHEAD_KERNEL_DEB")
	if deb == "" {
		deb = downloadKernel(t)
	}
	tree := t.TempDir()
	Command(t, "", "dpkg-deb", "-x", deb, tree)
	kernels, err := filepath.Glob(filepath.Join(tree, "boot/vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		t.Fatalf("%s: kernels %q, %v", deb, kernels, err)
	}
	release := strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")
	if _, err := os.Stat(filepath.Join(tree, "lib")); err != nil { // a merged /usr
		if err := os.Symlink("usr/lib", filepath.Join(tree, "lib")); err != nil {
			t.Fatal(err)
		}
	}
	Command(t, "", "depmod", "-b", tree, release)
	dir := filepath.Join(tree, "lib/modules", release)
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range wanted {
		line := regexp.MustCompile(`(?m)^\S*/` + name + `\.ko\S*:.*$`).FindString(string(dep))
		files := strings.Fields(strings.Replace(line, ":", "", 1)) // what it needs comes after it
		slices.Reverse(files)
		for _, f := range files {
			if f = filepath.Join(dir, f); !slices.Contains(modules, f) {
				modules = append(modules, f)
			}
		}
	}
	return kernels[0], modules
}

func downloadKernel(t testing.TB) string {
	t.Helper()
	depends := Command(t, "", "apt-cache", "depends", "linux-image-cloud-amd64")
	name := regexp.MustCompile(`linux-image-[0-9]\S*-cloud-amd64`).FindString(depends)
	if name == "" {
		prerequisite.Missing(t, "linux-image-cloud-amd64: %s", depends)
	}
	cache := os.Getenv("MASTHEAD_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(home, ".cache/masthead")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	if found, _ := filepath.Glob(filepath.Join(cache, name+"_*.deb")); len(found) > 0 {
		return found[0]
	}
	tmp, err := os.MkdirTemp(cache, "download-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	Command(t, tmp, "apt-get", "download", name)
	found, _ := filepath.Glob(filepath.Join(tmp, name+"_*.deb"))
	if len(found) != 1 {
		t.Fatalf("apt-get download %s: %q", name, found)
	}
	final := filepath.Join(cache, filepath.Base(found[0]))
	if err := os.Rename(found[0], final); err != nil {
		t.Fatal(err)
	}
	return final
}
