package images

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestShippedDefinitions(t *testing.T) {
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) != 4 {
		t.Fatalf("shipped definitions: %v, %v; want 4", files, err)
	}
	for _, f := range files {
		d, err := LoadDefinition(f)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		if want := strings.TrimSuffix(f, ".yaml"); d.Name != want {
			t.Errorf("%s: name %s, want %s", f, d.Name, want)
		}
		for _, c := range d.Carries {
			if _, err := LoadDefinition(c); err != nil {
				t.Errorf("%s carries %s: %v", f, c, err)
			}
		}
	}
}

func TestParseDefinitionErrors(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
	}{
		{"empty", "", []string{"x.yaml: empty: want at least name, role, root and kernel"}},
		{"everything at once", "name: Bad Name\nrole: king\nroot:\n  debian:\n    suite: ../etc\n    packages: [ok-package, 'no good']\n  tar: x.tar\nkernel:\n  package: linux-image-amd64\n  root: true\n",
			[]string{
				`x.yaml:1: name: "Bad Name": want 1 to 64 of a-z, 0-9, dot, dash, underscore`,
				`x.yaml:2: role: "king": want head or worker`,
				`x.yaml:5: root.debian.suite: "../etc": want the name of a Debian release, such as trixie`,
				`x.yaml:6: root.debian.packages[1]: "no good": not the name of a Debian package`,
				`x.yaml:3: root: want exactly one of debian, oci, tar, directory, minimal`,
				`x.yaml:8: kernel: want exactly one of package, root, image`,
			}},
		{"unknown and mistyped fields", "name: a\nrole: worker\nroots: 3\nroot: {minimal: true}\nkernel: {package: linux-image-amd64}\nmodules: 5\n",
			[]string{"x.yaml:3: roots: no such field", "x.yaml:6: modules: 5 is not a list (- ONE, a line each; or [ONE, TWO])"}},
		{"syntax", "name: [a\n", []string{"x.yaml:1: did not find expected ',' or ']'"}},
		{"kernel of a minimal root", "name: a\nrole: worker\nroot: {minimal: true}\nkernel: {root: true}\ninit: /sbin/init\n",
			[]string{
				"x.yaml:4: kernel.root: a minimal root has no kernel: name a package, such as linux-image-cloud-amd64",
				`x.yaml:5: init: "/sbin/init": a minimal root has none: masthead stays PID 1`,
			}},
		{"command line", "name: a\nrole: worker\nroot: {minimal: true}\nkernel: {package: linux-image-amd64}\ncmdline: quiet masthead.panic=soon root=/dev/sda\n",
			[]string{
				"x.yaml:5: cmdline: masthead.panic=soon: want seconds, 0 to 65535",
				"x.yaml:5: cmdline: root=/dev/sda: want lazy or ram",
			}},
		{"words that iPXE would act on", "name: a\nrole: worker\nroot: {minimal: true}\nkernel: {package: linux-image-amd64}\ncmdline: 'a ${net0/mac} || #d'\n",
			[]string{
				`x.yaml:5: cmdline: "${net0/mac}": cannot pass through an iPXE script`,
				`x.yaml:5: cmdline: "||": cannot pass through an iPXE script`,
				`x.yaml:5: cmdline: "#d": cannot pass through an iPXE script`,
			}},
		{"two documents", "name: a\nrole: worker\nroot: {minimal: true}\nkernel: {package: linux-image-amd64}\n---\nname: b\n",
			[]string{"x.yaml: more than one document"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseDefinition("x.yaml", []byte(tt.in))
			if err == nil {
				t.Fatal("no error")
			}
			if d := cmp.Diff(tt.want, strings.Split(err.Error(), "\n")); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestDefinitionPathsCountFromItsFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	text := "name: a\nrole: head\nroot: {tar: roots/a.tar.zst}\nkernel: {image: vmlinuz, modules: /lib/modules/6.1}\ncarries: [w.yaml]\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := LoadDefinition(file)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{d.Root.Tar, d.Kernel.Image, d.Kernel.Modules, d.Carries[0], d.Init}
	want := []string{dir + "/roots/a.tar.zst", dir + "/vmlinuz", "/lib/modules/6.1", dir + "/w.yaml", "/sbin/init"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}

	if err := os.WriteFile(filepath.Join(dir, "saved.tar"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		"saved.tar": dir + "/saved.tar", "saved.tar:tiny:1": dir + "/saved.tar:tiny:1", "registry:5000/tiny:1": "registry:5000/tiny:1",
	} {
		text := "name: a\nrole: head\nroot: {oci: '" + ref + "'}\nkernel: {package: linux-image-amd64}\n"
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if d, err := LoadDefinition(file); err != nil || d.Root.OCI != want {
			t.Errorf("oci %s: %+v, %v; want %s", ref, d, err, want)
		}
	}
}

// TestHeadIsPreempted: a head's kernel can be preempted everywhere, unless its definition chooses otherwise.
func TestHeadIsPreempted(t *testing.T) {
	for _, test := range []struct {
		role       Role
		said, want string
	}{
		{RoleHead, "", "preempt=full"},
		{RoleHead, "console=ttyS0", "console=ttyS0 preempt=full"},
		{RoleHead, "preempt=voluntary console=ttyS0", "preempt=voluntary console=ttyS0"},
		{RoleWorker, "console=ttyS0", "console=ttyS0"},
	} {
		d := Definition{Role: test.role, Cmdline: test.said}
		if got := d.KernelCmdline(); got != test.want {
			t.Errorf("%s with %q: %q, want %q", test.role, test.said, got, test.want)
		}
	}
}

func TestDefinitionKeys(t *testing.T) {
	dir := t.TempDir()
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA me@here"
	for name, text := range map[string]string{"keys": "# mine\n\n" + key + "\n", "secret": "-----BEGIN OPENSSH PRIVATE KEY-----\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func(keys string) ([]string, error) {
		file := filepath.Join(dir, "a.yaml")
		text := "name: a\nrole: head\nroot: {minimal: true}\nkernel: {package: linux-image-amd64}\nssh_keys: " + keys + "\n"
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		d, err := LoadDefinition(file)
		if err != nil {
			return nil, err
		}
		return d.SSHKeys, nil
	}
	got, err := load("[keys, " + key + "]")
	if d := cmp.Diff([]string{key, key}, got); d != "" || err != nil {
		t.Errorf("keys: %v (-want +got):\n%s", err, d)
	}
	for _, bad := range []string{"[absent]", "[secret]"} {
		if _, err := load(bad); err == nil || !strings.Contains(err.Error(), "a.yaml:5: ssh_keys[0]: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	_, err = load("[absent, secret]\nmedium: {ip: x}")
	for _, want := range []string{"a.yaml:5: ssh_keys[0]: ", "a.yaml:5: ssh_keys[1]: ", "a.yaml:6: medium.ip: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("all at once: got %v, want also %q", err, want)
		}
	}
}

func FuzzParseDefinition(f *testing.F) {
	for _, name := range []string{"head.yaml", "worker-minimal.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("name: a\nrole: [x, {y: &a *a}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ParseDefinition("f.yaml", data)
		if err == nil && (d.Name == "" || d.Role == "") {
			t.Fatalf("accepted without a name or role: %q", data)
		}
	})
}
