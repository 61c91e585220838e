// Package kerneltest gets real kernels for tests, from the machine's own package archives, once per machine.
package kerneltest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"masthead/rootfs/apt"
	"masthead/rootfs/kernel"
	"masthead/rootfs/module"
	"masthead/vmtest/prerequisite"
)

// timeout is enough for 110 MB from a slow mirror.
const timeout = 5 * time.Minute

// Cache is where tests keep what they download: $MASTHEAD_CACHE, or masthead in the user's cache directory.
func Cache(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("MASTHEAD_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatalf("no place for downloads: %v", err)
	}
	return filepath.Join(dir, "masthead")
}

// Debian gets a kernel package of Debian; it skips the test where no archive can be reached and none is cached.
func Debian(t testing.TB, want kernel.Debian) *kernel.Kernel {
	t.Helper()
	client, err := apt.NewClient(apt.Config{Cache: filepath.Join(Cache(t), "apt")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	k, err := kernel.FromDebian(ctx, client, want)
	if err != nil {
		prerequisite.Missing(t, "Debian's kernel: %v", err)
	}
	return k
}

// Index reads the modules of a kernel, or what an earlier test found out about them.
func Index(t testing.TB, k *kernel.Kernel) *module.Index {
	t.Helper()
	x, err := k.Index(t.Context(), filepath.Join(Cache(t), "modules"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return x
}
