package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"pault.ag/go/debian/version"
)

// ErrNone is what FromRoot answers for a tree without a kernel.
var ErrNone = errors.New("no kernel with its modules")

// moduleDirs are where a tree may have its modules. Both are looked at because /lib is a link in a merged-usr tree, which
// a file system that does not follow links cannot pass.
var moduleDirs = []string{"usr/lib/modules", "lib/modules"}

// FromRoot finds the newest kernel in a root tree that has both its image and its modules:
// /boot/vmlinuz-RELEASE or RELEASE/vmlinuz beside the modules, as Fedora has it.
func FromRoot(root fs.FS) (*Kernel, error) {
	var best *Kernel
	for _, dir := range moduleDirs {
		entries, err := fs.ReadDir(root, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("kernel of the root: %w", err)
		}
		for _, e := range entries {
			k, err := inRoot(root, dir, e.Name())
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("kernel of the root: %w", err)
			}
			if best == nil || newer(k.Release, best.Release) {
				best = k
			}
		}
	}
	if best == nil {
		return nil, fmt.Errorf("kernel of the root: %w", ErrNone)
	}
	return best, nil
}

func inRoot(root fs.FS, dir, release string) (*Kernel, error) {
	modules := path.Join(dir, release)
	if _, err := fs.Stat(root, path.Join(modules, "kernel")); err != nil {
		return nil, err
	}
	sub, err := fs.Sub(root, modules)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"boot/vmlinuz-" + release, path.Join(modules, "vmlinuz")} {
		image, err := fileOf(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		k := &Kernel{Release: release, Image: image, Modules: sub, Source: "/" + name + " of the root"}
		k.Config, err = fs.ReadFile(root, "boot/config-"+release)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return k, nil
	}
	return nil, fs.ErrNotExist
}

// newer compares releases as Debian compares versions: 6.12.9 is older than 6.12.107. A release that is no version is
// compared as text.
func newer(a, b string) bool {
	va, errA := version.Parse(strings.ReplaceAll(a, "_", "."))
	vb, errB := version.Parse(strings.ReplaceAll(b, "_", "."))
	if errA != nil || errB != nil {
		return a > b
	}
	return version.Compare(va, vb) > 0
}

// FromFiles takes a kernel image and its lib/modules/RELEASE directory from this machine. The image says which release
// it is, and the directory must be of the same.
func FromFiles(image, modules string) (*Kernel, error) {
	f, err := os.Open(image)
	if err != nil {
		return nil, fmt.Errorf("kernel from files: %w", err)
	}
	defer f.Close()
	release, err := ImageRelease(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", image, err)
	}
	modules, err = filepath.Abs(modules)
	if err != nil {
		return nil, fmt.Errorf("kernel from files: %w", err)
	}
	if got := filepath.Base(modules); got != release {
		return nil, fmt.Errorf("kernel from files: %s is release %s, the modules are in %s: want a directory named by the release", image, release, modules)
	}
	if _, err := os.Stat(filepath.Join(modules, "kernel")); err != nil {
		return nil, fmt.Errorf("kernel from files: modules: %w", err)
	}
	dir, name := filepath.Split(image)
	k := &Kernel{Release: release, Modules: os.DirFS(modules), ModulesDir: modules, Source: image}
	if k.Image, err = fileOf(os.DirFS(filepath.Clean(dir+".")), name); err != nil {
		return nil, fmt.Errorf("kernel from files: %w", err)
	}
	// Beside vmlinuz-RELEASE there usually is config-RELEASE; without it nothing is lost but a check.
	if k.Config, err = os.ReadFile(filepath.Join(dir, "config-"+release)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("kernel from files: %w", err)
	}
	return k, nil
}

// Has reports whether the kernel is configured with an option, as y or m. It is false where the configuration is not
// known.
func (k *Kernel) Has(option string) bool {
	return slices.ContainsFunc(strings.Split(string(k.Config), "\n"), func(line string) bool {
		return line == option+"=y" || line == option+"=m"
	})
}
