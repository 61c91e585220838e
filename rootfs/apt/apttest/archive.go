// Package apttest makes a signed Debian archive for tests and serves it over HTTP.
package apttest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"masthead/rootfs/apt"

	"github.com/ulikunitz/xz"
	"golang.org/x/crypto/openpgp" // what rootfs/apt verifies with
	"golang.org/x/crypto/openpgp/armor"
	"golang.org/x/crypto/openpgp/clearsign"
)

// Package is one package of an Archive.
type Package struct {
	Name, Version, Depends string
	Deb                    []byte
}

// Archive is an archive with one key, suites and packages. Its maps may be changed between requests by Edit.
type Archive struct {
	URL string

	t      testing.TB
	key    *openpgp.Entity
	server *httptest.Server

	mu    sync.Mutex
	files map[string][]byte // by path
	asked []string
}

// New starts an empty archive, which stops with the test.
func New(t testing.TB) *Archive {
	t.Helper()
	key, err := openpgp.NewEntity("Archive", "test", "archive@example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	a := &Archive{t: t, key: key, files: map[string][]byte{}}
	a.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		data, ok := a.files[r.URL.Path]
		a.asked = append(a.asked, r.URL.Path)
		a.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Write(data)
	}))
	t.Cleanup(a.Stop)
	a.URL = a.server.URL + "/debian"
	return a
}

// Stop makes the archive unreachable.
func (a *Archive) Stop() { a.server.Close() }

// Suite publishes packages as a suite, with the extra fields in its Release.
func (a *Archive) Suite(name, fields string, packages ...Package) {
	a.t.Helper()
	var index bytes.Buffer
	for _, p := range packages {
		file := "pool/main/" + p.Name + "_" + p.Version + "_amd64.deb"
		a.Edit("/debian/"+file, func([]byte) []byte { return p.Deb })
		fmt.Fprintf(&index, "Package: %s\nVersion: %s\nArchitecture: amd64\nFilename: %s\nSize: %d\nSHA256: %s\n", p.Name, p.Version, file, len(p.Deb), sum(p.Deb))
		if p.Depends != "" {
			fmt.Fprintf(&index, "Depends: %s\n", p.Depends)
		}
		fmt.Fprintf(&index, "Description: made for a test\n\n")
	}
	var packed bytes.Buffer
	xw, err := xz.NewWriter(&packed)
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := xw.Write(index.Bytes()); err != nil {
		a.t.Fatal(err)
	}
	if err := xw.Close(); err != nil {
		a.t.Fatal(err)
	}
	base := "/debian/dists/" + name + "/"
	digest := sum(packed.Bytes())
	a.Edit(base+"main/binary-amd64/by-hash/SHA256/"+digest, func([]byte) []byte { return packed.Bytes() })
	release := fmt.Sprintf("Suite: %s\nCodename: %s\nAcquire-By-Hash: yes\n%sSHA256:\n %s %d main/binary-amd64/Packages.xz\n", name, name, fields, digest, packed.Len())
	a.Edit(base+"InRelease", func([]byte) []byte { return a.Sign(release) })
}

// Sign signs a text as InRelease is signed.
func (a *Archive) Sign(text string) []byte {
	a.t.Helper()
	var out bytes.Buffer
	w, err := clearsign.Encode(&out, a.key.PrivateKey, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		a.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		a.t.Fatal(err)
	}
	return out.Bytes()
}

// Edit changes what the archive answers for a path; nil removes it.
func (a *Archive) Edit(path string, change func(old []byte) []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if data := change(a.files[path]); data != nil {
		a.files[path] = data
	} else {
		delete(a.files, path)
	}
}

// Asked lists the paths that were asked for since the last call and end in one of the suffixes, or all.
func (a *Archive) Asked(suffixes ...string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := slices.DeleteFunc(a.asked, func(p string) bool {
		return len(suffixes) > 0 && !slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(p, s) })
	})
	a.asked = nil
	return all
}

// Host makes the root of a machine that runs bookworm and uses the archive, with its key.
func (a *Archive) Host() string {
	a.t.Helper()
	root := a.t.TempDir()
	var public bytes.Buffer
	w, err := armor.Encode(&public, openpgp.PublicKeyType, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := a.key.Serialize(w); err != nil {
		a.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		a.t.Fatal(err)
	}
	for name, text := range map[string]string{
		"usr/share/keyrings/archive.asc":           public.String(),
		"etc/os-release":                           "ID=debian\nVERSION_CODENAME=bookworm\n",
		"etc/apt/sources.list.d/debian.sources":    "Types: deb\nURIs: " + a.URL + "\nSuites: bookworm bookworm-updates\nComponents: main contrib\nSigned-By: /usr/share/keyrings/archive.asc\n",
		"etc/apt/sources.list.d/other.list.ignore": "not read\n",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			a.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			a.t.Fatal(err)
		}
	}
	return root
}

// Source is the archive as a source of one suite, for the machine that Host made.
func (a *Archive) Source(suite string) apt.Source {
	return apt.Source{URI: a.URL, Suites: []string{suite}, Components: []string{"main", "contrib"}, SignedBy: []string{"/usr/share/keyrings/archive.asc"}}
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}
