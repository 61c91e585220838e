package debian

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"masthead/rootfs"
	"masthead/rootfs/apt"
	"masthead/rootfs/tarball"
)

// Config says what is bootstrapped. Suite, Epoch and Cache are needed.
type Config struct {
	Suite    string   // trixie
	Packages []string // besides those of the variant, as apt-get install takes them
	Variant  string   // of mmdebstrap; default DefaultVariant
	Arch     string   // Debian architecture; default amd64
	// Epoch is SOURCE_DATE_EPOCH: nothing in the root is newer.
	Epoch time.Time
	// Cache is the directory of archives and package lists, made where it is missing. Any file in it may be removed
	// while no bootstrap runs.
	Cache string
	// Root is the file system with apt's settings and keyrings; default /.
	Root string
	// MaxAge is how long package lists are used without asking the archive again; default apt.DefaultMaxAge, negative:
	// always ask.
	MaxAge time.Duration
	// Progress, if not nil, is given what mmdebstrap says, line by line, from the goroutine of one writer at a time.
	Progress func(line string)
}

// DefaultVariant is the essential packages and apt.
const DefaultVariant = "minbase"

var (
	suitePattern = regexp.MustCompile(`^[a-z][a-z0-9.-]*$`)
	// packagePattern is a package with an architecture, a version or a release (apt-get(8), install), which begins with a
	// letter or digit, so that it is no option and no pattern.
	packagePattern = regexp.MustCompile(`^[a-z0-9][A-Za-z0-9.+:=~/_-]*$`)
)

func (c Config) withDefaults() (Config, error) {
	if c.Variant == "" {
		c.Variant = DefaultVariant
	}
	if c.Arch == "" {
		c.Arch = "amd64"
	}
	if c.Root == "" {
		c.Root = "/"
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	var errs []error
	for what, value := range map[string]string{"suite": c.Suite, "variant": c.Variant, "architecture": c.Arch} {
		if !suitePattern.MatchString(value) {
			errs = append(errs, fmt.Errorf("%s %q: want lower-case letters, digits, dots and dashes", what, value))
		}
	}
	for _, p := range c.Packages {
		if !packagePattern.MatchString(p) {
			errs = append(errs, fmt.Errorf("package %q: not the name of a Debian package", p))
		}
	}
	if c.Cache == "" {
		errs = append(errs, errors.New("no cache directory is given"))
	}
	if c.Epoch.Unix() < 0 || c.Epoch.IsZero() {
		errs = append(errs, errors.New("no epoch is given"))
	}
	c.Packages = slices.Compact(slices.Sorted(slices.Values(c.Packages)))
	return c, errors.Join(errs...)
}

// Bootstrap gives a Debian root. What would differ between two bootstraps of the same packages, and what is a machine's
// own, is left out: logs, caches, host name, resolv.conf, SSH host keys; the machine-id is empty, so that systemd makes
// one at each boot. The caller closes the tree.
func Bootstrap(ctx context.Context, c Config) (*rootfs.Tree, error) {
	file, err := Archive(ctx, c)
	if err != nil {
		return nil, err
	}
	tree, err := tarball.Open(ctx, file, "")
	if err != nil {
		return nil, fmt.Errorf("bootstrap %s: %w", c.Suite, err)
	}
	if err := clean(tree); err != nil {
		tree.Close()
		return nil, fmt.Errorf("bootstrap %s: %w", c.Suite, err)
	}
	return tree, nil
}

// Archive gives the path of a tar archive in the cache with what mmdebstrap made, and runs mmdebstrap if there is none.
func Archive(ctx context.Context, c Config) (string, error) {
	c, err := c.withDefaults()
	if err != nil {
		return "", fmt.Errorf("bootstrap: %w", err)
	}
	version, err := toolVersion(ctx)
	if err != nil {
		return "", fmt.Errorf("bootstrap %s: %w", c.Suite, err)
	}
	client, err := apt.NewClient(apt.Config{Cache: filepath.Join(c.Cache, "apt"), Root: c.Root, Arch: c.Arch, MaxAge: c.MaxAge})
	if err != nil {
		return "", fmt.Errorf("bootstrap %s: %w", c.Suite, err)
	}
	sources, err := sourcesOf(ctx, c, client)
	if err != nil {
		return "", fmt.Errorf("bootstrap %s: %w", c.Suite, err)
	}
	file := filepath.Join(c.Cache, "debian", c.Suite+"-"+key(c, version, sources)+".tar")
	if _, err := os.Stat(file); err == nil {
		c.Progress("using " + file)
		return file, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("bootstrap %s: %w", c.Suite, err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", fmt.Errorf("bootstrap %s: %w", c.Suite, err)
	}
	if err := run(ctx, c, sources, file); err != nil {
		return "", fmt.Errorf("bootstrap %s: %w", c.Suite, err)
	}
	return file, nil
}
