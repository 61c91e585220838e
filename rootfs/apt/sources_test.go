package apt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// host writes the files of a made-up machine and returns its root.
func host(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestSources(t *testing.T) {
	const dir = "etc/apt/sources.list.d/"
	for _, tt := range []struct {
		title string
		files map[string]string
		want  []Source
	}{
		{"none", nil, nil},
		{
			"one line each",
			map[string]string{"etc/apt/sources.list": "# comment\ndeb-src http://a/debian bookworm main\n" +
				"deb http://a/debian/ bookworm main contrib # more\n" +
				"deb [arch=amd64 signed-by=/k.gpg,/l.gpg]\thttp://b  bookworm-updates   main\n" +
				"deb cdrom:[Debian] bookworm main\ndeb http://flat ./\n\n"},
			[]Source{
				{URI: "http://a/debian", Suites: []string{"bookworm"}, Components: []string{"main", "contrib"}},
				{URI: "http://b", Suites: []string{"bookworm-updates"}, Components: []string{"main"}, SignedBy: []string{"/k.gpg", "/l.gpg"}},
			},
		},
		{
			"deb822",
			map[string]string{dir + "debian.sources": "# comment\nTypes: deb deb-src\nURIs: http://a/debian\n http://b/debian/\nSuites: trixie trixie-updates\n" +
				"Components: main\nSigned-By: /k.gpg\n\n\nTypes: deb-src\nURIs: http://c\nSuites: trixie\n\n" +
				"types: deb\nuris: http://d\nsuites: trixie ./\ncomponents: main\nenabled: No\n"},
			[]Source{
				{URI: "http://a/debian", Suites: []string{"trixie", "trixie-updates"}, Components: []string{"main"}, SignedBy: []string{"/k.gpg"}},
				{URI: "http://b/debian", Suites: []string{"trixie", "trixie-updates"}, Components: []string{"main"}, SignedBy: []string{"/k.gpg"}},
			},
		},
		{
			"a key in the source",
			map[string]string{dir + "x.sources": "Types: deb\nURIs: http://a\nSuites: s\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----\n"},
			[]Source{{
				URI: "http://a", Suites: []string{"s"}, Components: []string{"main"},
				SignedKey: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----",
			}},
		},
		{
			"a mirror list, as in cloud images",
			map[string]string{
				dir + "debian.sources":        "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: trixie\nComponents: main\n",
				"etc/apt/mirrors/debian.list": "# first\nhttp://a/debian/\tpriority:1\nhttp://b/debian\n",
			},
			[]Source{
				{URI: "http://a/debian", Suites: []string{"trixie"}, Components: []string{"main"}},
				{URI: "http://b/debian", Suites: []string{"trixie"}, Components: []string{"main"}},
			},
		},
		{
			"files that apt leaves alone",
			map[string]string{dir + "a.list.save": "deb nonsense\n", dir + "b c.list": "deb nonsense\n", dir + "z.list": "deb http://a s main\n"},
			[]Source{{URI: "http://a", Suites: []string{"s"}, Components: []string{"main"}}},
		},
	} {
		t.Run(tt.title, func(t *testing.T) {
			got, err := Sources(host(t, tt.files))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSourcesErrors(t *testing.T) {
	_, err := Sources(host(t, map[string]string{
		"etc/apt/sources.list":               "deb http://a\n",
		"etc/apt/sources.list.d/a.list":      "\ninclude x\n",
		"etc/apt/sources.list.d/b.list":      "deb [x http://a s main\n",
		"etc/apt/sources.list.d/c.sources":   "Types: deb\nURIs: http://a\n",
		"etc/apt/sources.list.d/d.sources":   "no colon\n",
		"etc/apt/sources.list.d/e.sources":   "Types: deb\nURIs: mirror+file:/none\nSuites: s\n",
		"etc/apt/sources.list.d/good.list":   "deb http://good s main\n",
		"etc/apt/sources.list.d/good.list.d": "",
	}))
	for _, want := range []string{"sources.list: line 1", "a.list: line 2", "b.list: line 1", "c.sources", "d.sources", "/none"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error: %v, want %q", err, want)
		}
	}
}

func TestForSuite(t *testing.T) {
	have := []Source{
		{URI: "http://a", Suites: []string{"bookworm", "bookworm-updates", "bookworm-backports"}},
		{URI: "http://s", Suites: []string{"bookworm-security"}},
		{URI: "http://o", Suites: []string{"bullseye/updates"}},
		{URI: "http://b", Suites: []string{"stable"}},
		{URI: "http://vendor", Suites: []string{"nodistro", "cloud-sdk-bookworm"}},
		{URI: "http://a", Suites: []string{"bookworm"}},
	}
	for _, tt := range []struct {
		host, suite string
		want        []string
	}{
		{"bookworm", "trixie", []string{"http://a trixie", "http://a trixie-updates", "http://s trixie-security", "http://b trixie"}},
		{"bookworm", "bookworm", []string{"http://a bookworm", "http://a bookworm-updates", "http://s bookworm-security", "http://b bookworm"}},
		{"bookworm", "trixie-backports", []string{"http://a trixie", "http://a trixie-backports", "http://a trixie-updates", "http://s trixie-security", "http://b trixie", "http://b trixie-backports"}},
		{"bullseye", "trixie", []string{"http://o trixie-security", "http://b trixie"}},
		{"noble", "trixie", []string{"http://b trixie"}},
	} {
		var got []string
		for _, s := range ForSuite(have, tt.host, tt.suite) {
			got = append(got, s.URI+" "+strings.Join(s.Suites, " "))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s for %s (-want +got):\n%s", tt.host, tt.suite, diff)
		}
	}
}

func TestHostSuite(t *testing.T) {
	for want, files := range map[string]map[string]string{
		"bookworm": {"etc/os-release": "ID=debian\nVERSION_CODENAME=bookworm\n"},
		"trixie":   {"usr/lib/os-release": "VERSION_CODENAME=\"trixie\"\n"},
		"":         {},
	} {
		if got, err := HostSuite(host(t, files)); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}

func TestSettings(t *testing.T) {
	got, err := ReadSettings(host(t, map[string]string{
		"etc/apt/apt.conf.d/01a":      "// comment\nAcquire::http::Proxy \"http://one:3142\";\n# Acquire::http::Proxy \"no\";\nDPkg::Post-Invoke { \"rm -f x || true\"; };\n",
		"etc/apt/apt.conf.d/02b.conf": "Acquire { /* nested */ HTTP { Proxy \"http://two:3142\"; }; https::proxy \"DIRECT\"; };",
		"etc/apt/apt.conf.d/03c.save": "}}}",
		"etc/apt/apt.conf":            "Acquire::Check-Valid-Until \"false\";\nAPT::Architectures { \"amd64\"; \"i386\"; };\n#clear x;\n",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Settings{HTTPProxy: "http://two:3142", HTTPSProxy: "DIRECT"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, text := range []string{"}", "a {", "a \"b", "/* x"} {
		if _, err := ReadSettings(host(t, map[string]string{"etc/apt/apt.conf": text})); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
	if got, err := ReadSettings(t.TempDir()); err != nil || !got.CheckValidUntil {
		t.Errorf("no settings: %v, %v", got, err)
	}
}

func FuzzSources(f *testing.F) {
	f.Add("deb [signed-by=/k] http://a bookworm main # x\n", "Types: deb\nURIs: http://a\nSuites: s\nSigned-By:\n -----BEGIN PGP\n", "A::B { C \"d\"; };")
	f.Fuzz(func(t *testing.T, list, deb822, conf string) {
		for _, parse := range []func() ([]Source, error){
			func() ([]Source, error) { return parseList(strings.NewReader(list)) },
			func() ([]Source, error) { return parseDeb822(strings.NewReader(deb822)) },
		} {
			sources, err := parse()
			if err != nil {
				continue
			}
			for _, s := range sources {
				if len(s.Suites) == 0 || strings.HasSuffix(s.URI, "/") {
					t.Errorf("unusable source %+v", s)
				}
			}
			ForSuite(sources, "bookworm", "trixie")
		}
		if values, err := parseConf(conf); err == nil && len(values) > len(conf) {
			t.Errorf("%d values", len(values))
		}
	})
}

func FuzzPackages(f *testing.F) {
	f.Add("Package: linux-image-amd64\nVersion: 6.1\nArchitecture: amd64\nDepends: a (= 1) | b, c\nFilename: pool/x.deb\nSize: 1\nSHA256: " + strings.Repeat("0", 64) + "\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		packages, err := parsePackages(strings.NewReader(text), "http://a")
		if err != nil {
			return
		}
		for _, p := range packages {
			if p.Size <= 0 || len(p.SHA256) != 64 || strings.Contains(p.Filename, "..") {
				t.Errorf("unusable package %+v", p)
			}
		}
	})
}

func FuzzRelease(f *testing.F) {
	f.Add("trixie", "Sat, 12 Sep 2026 07:55:41 UTC", strings.Repeat("a", 64)+" 12 main/binary-amd64/Packages.xz\n")
	f.Fuzz(func(t *testing.T, name, until, sums string) {
		r, err := readRelease(map[string]string{"Codename": name, "Valid-Until": until, "SHA256": sums})
		if err != nil {
			return
		}
		for name, l := range r.files {
			if l.size < 0 || len(l.sha256) != 64 {
				t.Errorf("%s: %+v", name, l)
			}
		}
	})
}
