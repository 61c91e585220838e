package debian

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"masthead/rootfs/apt"
)

// source is an archive to bootstrap from, with the digests of its package lists.
type source struct {
	apt.Source          // of one suite
	lists      []string // one for each component
}

// sourcesOf finds the archives of the suite and verifies that they have it. Those of its updates and of its security
// fixes come along where the machine has them for its own suite and the archive has them for this one.
func sourcesOf(ctx context.Context, c Config, client *apt.Client) ([]source, error) {
	all, err := apt.Sources(c.Root)
	if err != nil {
		return nil, err
	}
	host, err := apt.HostSuite(c.Root)
	if err != nil {
		return nil, err
	}
	var found []source
	base := false
	var missing []string
	for _, s := range apt.ForSuite(all, host, c.Suite) {
		c.Progress("asking " + s.URI + " for " + s.Suites[0])
		_, err := client.Release(ctx, s)
		if apt.IsNoSuite(err) {
			missing = append(missing, s.URI)
			continue
		}
		if err != nil {
			return nil, err
		}
		lists, err := packageLists(filepath.Join(client.Cache, "lists"), s, c.Arch)
		if err != nil {
			return nil, err
		}
		base = base || s.Suites[0] == c.Suite
		found = append(found, source{s, lists})
	}
	switch {
	case base:
		return found, nil
	case len(missing) > 0:
		return nil, fmt.Errorf("none of this machine's package archives has the suite %s (asked: %s)", c.Suite, strings.Join(missing, ", "))
	default:
		return nil, errors.New("no Debian archive stands in this machine's sources.list")
	}
}

// packageLists gives the digests of the package lists of s, out of the InRelease that the client has just verified and
// keeps under apt's own name for it.
func packageLists(dir string, s apt.Source, arch string) ([]string, error) {
	_, at, _ := strings.Cut(s.URI, "://")
	name := at + "/dists/" + s.Suites[0] + "/InRelease"
	data, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(name, "/", "_")))
	if err != nil {
		return nil, err
	}
	var lists []string
	for _, component := range s.Components {
		digest, ok := listDigest(data, component+"/binary-"+arch+"/Packages")
		if !ok {
			return nil, fmt.Errorf("%s: no package list of %s for %s", name, component, arch)
		}
		lists = append(lists, digest)
	}
	return lists, nil
}

// listDigest finds the SHA-256 of the list called name in a Release file: a line "DIGEST SIZE NAME" after "SHA256:".
func listDigest(release []byte, name string) (string, bool) {
	_, rest, ok := bytes.Cut(release, []byte("\nSHA256:"))
	if !ok {
		return "", false
	}
	rest = rest[bytes.IndexByte(rest, '\n')+1:]
	for line := range bytes.Lines(rest) {
		if line[0] != ' ' {
			break
		}
		if f := strings.Fields(string(line)); len(f) == 3 && f[2] == name && len(f[0]) == 2*sha256.Size {
			return f[0], true
		}
	}
	return "", false
}

// cacheFormat changes when the way of bootstrapping does.
const cacheFormat = 1

// key names what comes out of a bootstrap.
func key(c Config, version string, sources []source) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "format %d\ntool %q\nsuite %q\nvariant %q\narch %q\nepoch %d\n", cacheFormat, version, c.Suite, c.Variant, c.Arch, c.Epoch.Unix())
	for _, p := range c.Packages {
		fmt.Fprintf(sum, "package %q\n", p)
	}
	for _, s := range sources {
		fmt.Fprintf(sum, "source %q %q %q %q\n", s.URI, s.Suites, s.Components, s.lists)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:8])
}

// deb822 writes sources in the form of sources.list(5) that can carry a key.
func deb822(sources []source) string {
	var b strings.Builder
	for i, s := range sources {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n", s.URI, s.Suites[0], strings.Join(s.Components, " "))
		switch {
		case s.SignedKey != "":
			b.WriteString("Signed-By:\n")
			for line := range strings.Lines(strings.TrimSpace(s.SignedKey) + "\n") {
				if strings.TrimSpace(line) == "" {
					line = ".\n"
				}
				b.WriteString(" " + line)
			}
		case len(s.SignedBy) > 0:
			fmt.Fprintf(&b, "Signed-By: %s\n", strings.Join(slices.Clone(s.SignedBy), " "))
		}
	}
	return b.String()
}
