package apt_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"masthead/rootfs/apt"
	"masthead/rootfs/apt/apttest"

	"github.com/google/go-cmp/cmp"
)

func client(t *testing.T, root string, change func(*apt.Config)) *apt.Client {
	t.Helper()
	c := apt.Config{Cache: t.TempDir(), Root: root, MaxAge: -1}
	if change != nil {
		change(&c)
	}
	client, err := apt.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

var twoPackages = []apttest.Package{
	{Name: "linux-image-amd64", Version: "6.12.1-1", Depends: "linux-image-6.12.1-amd64 (= 6.12.1-1), foo | bar", Deb: []byte("meta")},
	{Name: "bash", Version: "5", Deb: []byte("shell")},
}

func TestClient(t *testing.T) {
	a := apttest.New(t)
	a.Suite("trixie", "", twoPackages...)
	cache := t.TempDir()
	c := client(t, a.Host(), func(c *apt.Config) { c.Cache = cache })
	source := a.Source("trixie")
	packages, err := c.Packages(t.Context(), source, "linux-image-")
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) != 1 || packages[0].Name != "linux-image-amd64" {
		t.Fatalf("packages: %+v", packages)
	}
	if diff := cmp.Diff([]string{"linux-image-6.12.1-amd64", "foo"}, packages[0].Depends); diff != "" {
		t.Errorf("depends (-want +got):\n%s", diff)
	}
	fetch := func() {
		t.Helper()
		file, err := c.Fetch(t.Context(), packages[0])
		if err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(file); err != nil || string(data) != "meta" {
			t.Errorf("%s: %q, %v", file, data, err)
		}
	}
	fetch()
	a.Asked()
	fetch() // from the cache
	if _, err := c.Packages(t.Context(), source, "linux-image-"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/debian/dists/trixie/InRelease"}, a.Asked()); diff != "" {
		t.Errorf("asked again for (-want +got):\n%s", diff)
	}

	// A list younger than MaxAge is not asked for.
	young := client(t, c.Root, func(c *apt.Config) { c.Cache, c.MaxAge = cache, time.Hour })
	if _, err := young.Packages(t.Context(), source, "linux-image-"); err != nil || len(a.Asked()) != 0 {
		t.Errorf("young list: %v", err)
	}

	// The package in the cache is damaged, and got anew.
	deb, err := c.Fetch(t.Context(), packages[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(deb, []byte("mета"), 0o644); err != nil {
		t.Fatal(err)
	}
	fetch()

	// Without the archive the cache serves.
	a.Stop()
	if got, err := c.Packages(t.Context(), source, "linux-image-"); err != nil || len(got) != 1 {
		t.Errorf("offline: %v, %v", got, err)
	}
	fetch()
}

func TestClientRefuses(t *testing.T) {
	const inRelease = "/debian/dists/trixie/InRelease"
	for _, tt := range []struct {
		title, want string
		edit        func(a *apttest.Archive)
	}{
		{"an unsigned list", "signature", func(a *apttest.Archive) {
			a.Edit(inRelease, func([]byte) []byte { return []byte("Suite: trixie\nCodename: trixie\n") })
		}},
		{"a changed list", "signature", func(a *apttest.Archive) {
			a.Edit(inRelease, func(old []byte) []byte { return bytes.Replace(old, []byte("Suite"), []byte("suite"), 1) })
		}},
		{"another's signature", "signature", func(a *apttest.Archive) {
			other := apttest.New(t)
			a.Edit(inRelease, func([]byte) []byte { return other.Sign("Suite: trixie\nCodename: trixie\n") })
		}},
		{"another suite's list", "it is for bookworm", func(a *apttest.Archive) {
			a.Edit(inRelease, func([]byte) []byte { return a.Sign("Suite: oldstable\nCodename: bookworm\n") })
		}},
		{"an old list", "it expired on 2020-01-02", func(a *apttest.Archive) {
			a.Suite("trixie", "Valid-Until: Thu, 02 Jan 2020 03:04:05 UTC\n", twoPackages...)
		}},
		{"a changed index", "its SHA-256 is", func(a *apttest.Archive) {
			for _, p := range byHash(t, a) {
				a.Edit(p, func(old []byte) []byte { return append(old[:len(old)-1:len(old)-1], old[len(old)-1]^1) })
			}
		}},
		{"a longer index", "more than", func(a *apttest.Archive) {
			for _, p := range byHash(t, a) {
				a.Edit(p, func(old []byte) []byte { return append(old, 0) })
			}
		}},
	} {
		t.Run(tt.title, func(t *testing.T) {
			a := apttest.New(t)
			a.Suite("trixie", "", twoPackages...)
			tt.edit(a)
			c := client(t, a.Host(), nil)
			_, err := c.Packages(t.Context(), a.Source("trixie"), "linux-image-")
			if err == nil || !strings.Contains(err.Error(), tt.want) || apt.IsNoSuite(err) {
				t.Errorf("error: %v, want %q", err, tt.want)
			}
		})
	}
}

// byHash finds the paths of the index by asking for it once.
func byHash(t *testing.T, a *apttest.Archive) []string {
	t.Helper()
	if _, err := client(t, a.Host(), nil).Packages(t.Context(), a.Source("trixie"), ""); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, p := range a.Asked() {
		if strings.Contains(p, "/by-hash/") {
			found = append(found, p)
		}
	}
	return found
}

func TestNoSuite(t *testing.T) {
	a := apttest.New(t)
	_, err := client(t, a.Host(), nil).Packages(t.Context(), a.Source("trixie"), "")
	if !apt.IsNoSuite(err) {
		t.Errorf("error: %v", err)
	}
}

// A mirror that shows a bad list today does no harm to who has a good one from yesterday.
func TestBadListKeepsGoodOne(t *testing.T) {
	a := apttest.New(t)
	a.Suite("trixie", "", twoPackages...)
	c := client(t, a.Host(), nil)
	for range 2 {
		if got, err := c.Packages(t.Context(), a.Source("trixie"), "linux-image-"); err != nil || len(got) != 1 {
			t.Errorf("%v, %v", got, err)
		}
		a.Edit("/debian/dists/trixie/InRelease", func([]byte) []byte { return []byte("<html>please log in</html>") })
	}
}

func TestFileArchive(t *testing.T) {
	a := apttest.New(t)
	root := a.Host()
	dir := t.TempDir()
	file := filepath.Join(dir, "dists/trixie/InRelease")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, a.Sign("Suite: stable\nCodename: trixie\nSHA256:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := a.Source("trixie")
	s.URI = "file:" + dir
	if r, err := client(t, root, nil).Release(t.Context(), s); err != nil || r.Codename != "trixie" {
		t.Errorf("%+v, %v", r, err)
	}
	s.Suites = []string{"sid"}
	if _, err := client(t, root, nil).Release(t.Context(), s); !apt.IsNoSuite(err) {
		t.Errorf("error: %v", err)
	}
}
