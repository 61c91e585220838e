package apt

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// pockets are the parts that a suite comes in beside itself: SUITE-security, …. Proposed updates are not meant for use, and
// backports are only taken where they are asked for by name.
var pockets = []string{"", "-updates", "-security"}

// aliases are the names that a sources file may use for a Debian release instead of its code name.
var aliases = []string{"stable", "oldstable", "oldoldstable", "testing"}

// HostSuite is the code name of the release that the machine at root runs (os-release(5)), or "".
func HostSuite(root string) (string, error) {
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		f, err := os.Open(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("host suite: %w", err)
		}
		defer f.Close()
		sc := bufio.NewScanner(f)
		for sc.Scan() {
			if v, ok := strings.CutPrefix(sc.Text(), "VERSION_CODENAME="); ok {
				return strings.Trim(v, `"'`), nil
			}
		}
		return "", sc.Err()
	}
	return "", nil
}

// ForSuite turns the sources of a machine that runs the release host into those of another release of the same
// distribution: the same archives, with the suite's name put in place of the host's, pocket by pocket. Sources of
// anything else (other vendors' archives, backports) are left out. Each result has exactly one suite.
//
// suite may itself name a pocket (trixie-backports); then only that one is looked for, beside its base.
func ForSuite(sources []Source, host, suite string) []Source {
	var all []Source
	seen := map[string]bool{}
	add := func(s Source, name string) {
		if key := s.URI + " " + name; !seen[key] {
			seen[key] = true
			s.Suites = []string{name}
			all = append(all, s)
		}
	}
	base, extra, _ := strings.Cut(suite, "-")
	for _, s := range sources {
		for _, have := range s.Suites {
			release, pocket := cutPocket(have)
			if release != host && release != base && !slices.Contains(aliases, release) {
				continue
			}
			if !slices.Contains(pockets, pocket) {
				continue
			}
			add(s, base+pocket)
			if pocket == "" && extra != "" {
				add(s, suite)
			}
		}
	}
	return all
}

// cutPocket splits bookworm-security into bookworm and -security. The old form bookworm/updates names security, too.
func cutPocket(suite string) (release, pocket string) {
	if release, ok := strings.CutSuffix(suite, "/updates"); ok {
		return release, "-security"
	}
	if i := strings.IndexByte(suite, '-'); i >= 0 {
		return suite[:i], suite[i:]
	}
	return suite, ""
}
