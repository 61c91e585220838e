package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/vmtest"
)

// TestVMBuildTwice builds an ISO and a network-boot set twice: at different times, in different folders, by a program
// and from definitions that lie elsewhere, with another cache and another store.
func TestVMBuildTwice(t *testing.T) {
	awaitTurn(t, untimed, 1)
	cache := cacheFolder(t)
	// Beside the cache, so that downloads can be linked.
	folder, err := os.MkdirTemp(cache, "twice-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(folder) }) // what is left is in a cache folder
	first, second := filepath.Join(folder, "first"), filepath.Join(folder, "another place")
	build := func(program, definitions, out string, env ...string) map[string]string {
		t.Helper()
		for _, args := range [][]string{
			{"build", "iso", filepath.Join(definitions, "head-minimal.yaml"), "-o", out},
			{"build", "netboot", filepath.Join(definitions, "worker-minimal.yaml"), "-o", filepath.Join(out, "worker")},
		} {
			cmd := exec.CommandContext(t.Context(), "nice", append([]string{"-n", strconv.Itoa(asideNice), program}, args...)...)
			cmd.Env = append(os.Environ(), env...)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", cmd, err, out)
			}
		}
		return sums(t, out)
	}
	want := build(program(t), filepath.Dir(definition(t, "head-minimal")), first)

	must(t, os.CopyFS(filepath.Join(second, "definitions"), os.DirFS(filepath.Dir(definition(t, "head-minimal")))))
	linkDownloads(t, cache, filepath.Join(second, "cache"))
	elsewhere := filepath.Join(second, "mh")
	copyProgram(t, program(t), elsewhere)
	got := build(elsewhere, filepath.Join(second, "definitions"), filepath.Join(second, "out"), "MASTHEAD_CACHE="+filepath.Join(second, "cache"),
		"TZ=Pacific/Kiritimati", "LC_ALL=C", "HOME=/nonexistent")

	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("SHA-256 of what two builds wrote (-first +second):\n%s", diff)
	}
	for _, name := range []string{"head-minimal.iso", "worker/vmlinuz", "worker/initramfs", "worker/worker-minimal.pack"} {
		if want[name] == "" {
			t.Errorf("the build wrote no %s: %v", name, want)
		}
	}
}

// cacheFolder is where the program keeps what it downloads.
func cacheFolder(t *testing.T) string {
	t.Helper()
	lab, err := vmtest.DefaultFolder("x")
	must(t, err)
	return filepath.Dir(filepath.Dir(lab))
}

// linkDownloads takes over what came from package sources (kernels unpacked), and nothing that was made of it.
func linkDownloads(t *testing.T, from, to string) {
	t.Helper()
	for _, folder := range []string{"apt/lists", "apt/kernels"} {
		must(t, filepath.WalkDir(filepath.Join(from, folder), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			copied := filepath.Join(to, strings.TrimPrefix(path, from))
			if e.IsDir() {
				return os.MkdirAll(copied, 0o755)
			}
			return os.Link(path, copied)
		}))
	}
}

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, data, 0o755))
}

// sums are the SHA-256 sums of all files in a folder, by their path in it.
func sums(t *testing.T, folder string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			return err
		}
		all[strings.TrimPrefix(path, folder+"/")] = hex.EncodeToString(sum.Sum(nil))
		return nil
	}))
	return all
}
