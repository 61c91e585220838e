package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"

	"masthead/images"
)

// invoke runs a command line as main does, and gives what it printed and its exit code.
func invoke(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errw bytes.Buffer
	err := run(t.Context(), args, strings.NewReader(""), &out, &errw)
	code = report(&errw, err)
	return out.String(), errw.String(), code
}

func TestErrorsSayWhatToType(t *testing.T) {
	t.Setenv("MASTHEAD_CACHE", t.TempDir())
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("name: X\nrole: king\nroot: {}\nkernel: {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args []string
		code int
		want []string // parts of standard error
	}{
		{[]string{"build", "iso"}, exitUsage, []string{"error: masthead build iso: want 1 argument DEFINITION, got 0", "try: masthead build iso --help"}},
		{[]string{"frob"}, exitUsage, []string{`masthead has no command "frob"`, "try: masthead --help"}},
		{[]string{"build", "frob"}, exitUsage, []string{`masthead build has no command "frob"`, "try: masthead build --help"}},
		{[]string{"status", "--colour"}, exitUsage, []string{"unknown flag: --colour", "try: masthead status --help"}},
		{[]string{"node", "list", "-o", "xml"}, exitUsage, []string{"-o xml: want text or json"}},
		{[]string{"node", "list"}, exitFailed, []string{"this machine is not a head", "try: masthead --head"}},
		{[]string{"--lab", "nosuch", "node", "list"}, exitFailed, []string{"no lab named nosuch", "try: masthead lab up"}},
		{[]string{"--head", "https://10.0.0.1", "--ca", "x", "status"}, exitFailed, []string{"--ca", "try: ssh root@10.0.0.1 masthead status"}},
		{[]string{"lab", "status"}, exitFailed, []string{"no lab named demo is running", "try: masthead lab up"}},
		{[]string{"--head", "https://[fd00:77::1]:443, https://10.0.0.2", "status"}, exitFailed, []string{"--ca", "try: ssh root@fd00:77::1 masthead status"}},
		{[]string{"node", "add", "n01"}, exitUsage, []string{`required flag(s) "mac" not set`, "try: masthead node add --help"}},
		{[]string{"data", "verify", "a", "b"}, exitUsage, []string{"want 0 or 1 arguments, got 2", "try: masthead data verify --help"}},
		{[]string{"data", "resolve"}, exitUsage, []string{"want --keep HEAD", "masthead data resolve --keep HEAD"}},
		{[]string{"cluster", "set", "/nonexistent"}, exitFailed, []string{"/nonexistent: no such file", "try: ls -l /\n"}},
		{[]string{"build", "iso", bad, "--sign-shim"}, exitUsage, []string{"--sign-shim needs a key", "try: masthead build iso " + bad + " --sign-key KEY --sign-cert CERT --sign-shim"}},
		{[]string{"build", "disk", bad, "--sign-cert", "c"}, exitUsage, []string{"a key needs its certificate", "try: masthead build disk " + bad + " --sign-key KEY --sign-cert c"}},
		{[]string{"build", "iso", bad, "--sign-key", "k"}, exitUsage, []string{"a key needs its certificate", "try: masthead build iso " + bad + " --sign-key k --sign-cert CERT"}},
		{[]string{"image", "show", "nosuch"}, exitFailed, []string{"nosuch", "try: masthead image list"}},
		{[]string{"build", "netboot", bad}, exitFailed, []string{bad + ":1: name", bad + ":2: role", bad + ":3: root", bad + ":4: kernel"}},
		{[]string{"build", "netboot", "absent.yaml"}, exitFailed, []string{"absent.yaml: no such file", "try: ls *.yaml"}},
		{[]string{"build", "disk", "there/absent.yaml"}, exitFailed, []string{"there/absent.yaml: no such file", "try: ls there/*.yaml"}},
		{[]string{"build", "iso", "images/absent.yaml"}, exitFailed, []string{"try: ls images/*.yaml\n"}},
		{[]string{"build", "disk", bad, "--size", "8X"}, exitUsage, []string{`--size: size "8X": want`, "try: masthead build disk " + bad + " --size 32G"}},
		{[]string{"image", "build", "absent.yaml"}, exitFailed, []string{"absent.yaml: no such file", "try: ls *.yaml"}},
		{[]string{"build", "disk", "../../images/head.yaml", "--size", "100M", "--dry-run"}, exitFailed,
			[]string{"the disk has 100 MiB, the partitions need 2116 MiB, and twice the ISO", "try: masthead build disk ../../images/head.yaml"}},
		{[]string{"build", "disk", "../../images/head.yaml", "--size", "100M"}, exitFailed, []string{"the disk has 100 MiB, the partitions need 2116 MiB"}},
		{[]string{"reboot"}, exitFailed, []string{"try: run it on a machine that masthead booted"}},
	}
	for _, tt := range tests {
		_, stderr, code := invoke(t, tt.args...)
		if code != tt.code {
			t.Errorf("%v: exit code %d, want %d\n%s", tt.args, code, tt.code, stderr)
		}
		for _, want := range tt.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%v: does not say %q:\n%s", tt.args, want, stderr)
			}
		}
	}
}

func TestDryRunBuildsNothing(t *testing.T) {
	cache, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	t.Setenv("MASTHEAD_CACHE", cache)
	stdout, stderr, code := invoke(t, "build", "iso", "../../images/head.yaml", "-o", out, "--dry-run")
	if code != 0 || !strings.Contains(stdout, "would build head") || !strings.Contains(stdout, "would build worker") || !strings.Contains(stdout, "  package: linux-image-amd64\n") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	for _, dir := range []string{cache, filepath.Dir(out)} {
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%s holds %v after a dry run", dir, left)
		}
	}
}

// storeWith makes a store with two versions of one image, and gives their digests.
func storeWith(t *testing.T, dir string) (older, newer images.Digest) {
	t.Helper()
	s, err := images.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	version := func(text string) images.Digest {
		put := func(text string) images.Blob {
			b, err := s.PutBytes([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		d, err := s.PutManifest(images.Manifest{
			Format: images.ManifestFormat, Name: "worker", Role: images.RoleWorker, Arch: "amd64", KernelRelease: "6.12",
			Kernel: put("kernel"), Initramfs: put("initramfs"),
			Root: images.Root{Size: 4096, ChunkSize: 4096, Chunks: []images.Chunk{images.Chunk(put(text))}},
		})
		if err == nil {
			err = s.Tag("worker", d)
		}
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	return version("one"), version("two")
}

func TestImageCommands(t *testing.T) {
	dir := t.TempDir()
	older, newer := storeWith(t, dir)
	pack := filepath.Join(t.TempDir(), "worker.pack")
	must := func(args ...string) string {
		t.Helper()
		stdout, stderr, code := invoke(t, append([]string{"image", "--store", dir}, args...)...)
		if code != 0 {
			t.Fatalf("image %v: exit code %d: %s", args, code, stderr)
		}
		return stdout
	}
	if out := must("list"); !strings.Contains(out, newer.Short()) || strings.Contains(out, older.Short()) {
		t.Errorf("list:\n%s", out)
	}
	if out := must("list", "-o", "json"); !strings.Contains(out, `"digest": "`+string(newer)+`"`) {
		t.Errorf("list -o json:\n%s", out)
	}
	if out := must("show", "worker"); !strings.Contains(out, "before        "+string(older)) {
		t.Errorf("show does not tell the version before:\n%s", out)
	}
	if out := must("rollback", "worker", "--dry-run"); !strings.Contains(out, newer.Short()+" -> "+older.Short()) {
		t.Errorf("rollback --dry-run:\n%s", out)
	}
	if out := must("list"); !strings.Contains(out, newer.Short()) {
		t.Errorf("a dry run has rolled back:\n%s", out)
	}
	must("rollback", "worker")
	if out := must("list"); !strings.Contains(out, older.Short()) {
		t.Errorf("after the rollback:\n%s", out)
	}
	must("tag", string(newer), "next")
	must("export", "next", pack)
	must("rm", "worker")
	must("rm", "next")
	if out := must("list"); strings.Contains(out, "worker") {
		t.Errorf("after rm:\n%s", out)
	}
	must("import", pack)
	if out := must("show", "next"); !strings.Contains(out, string(newer)) {
		t.Errorf("after export, rm and import:\n%s", out)
	}
	data, err := os.ReadFile(pack)
	if err == nil {
		err = os.WriteFile(pack, data[:len(data)-3], 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := invoke(t, "image", "--store", dir, "import", pack); code != exitFailed || !strings.Contains(stderr, "truncated") {
		t.Errorf("import of a truncated pack: exit code %d: %s", code, stderr)
	}
}

// Every command has to be described, and to complete.
func TestEveryCommandIsDescribed(t *testing.T) {
	for _, c := range everyCommand() {
		if c.Short == "" {
			t.Errorf("%s has no description", c.CommandPath())
		}
	}
	if out, _, code := invoke(t, "completion", "bash"); code != 0 || !strings.Contains(out, "masthead") {
		t.Errorf("completion bash: exit code %d", code)
	}
	dir := t.TempDir()
	if _, stderr, code := invoke(t, "man", dir); code != 0 {
		t.Fatalf("man: %s", stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "masthead-node-why.1")); err != nil {
		t.Error(err)
	}
}

// TestWrongNumberOfArguments: each command that refuses some number of arguments says how it is called.
func TestWrongNumberOfArguments(t *testing.T) {
	for _, c := range everyCommand() {
		if c.Args == nil || c.HasSubCommands() || c.Name() == "help" || c.Parent().Name() == "completion" { // the last are cobra's own
			continue
		}
		for n := range 8 {
			err := c.Args(c, make([]string, n))
			if err == nil {
				continue
			}
			var usage usageError
			var try interface{ Try() string }
			if !errors.As(err, &usage) || !errors.As(err, &try) || !strings.HasPrefix(err.Error(), c.CommandPath()+": want ") {
				t.Errorf("%s with %d arguments: %v", c.CommandPath(), n, err)
			}
		}
	}
}

// TestGroupsRefuseWhatTheyDoNotHave walks all commands that group others, and cobra's own.
func TestGroupsRefuseWhatTheyDoNotHave(t *testing.T) {
	for _, c := range everyCommand() {
		if !c.HasSubCommands() || c.Flags().Lookup("file") != nil { // cluster secret does something itself
			continue
		}
		path := strings.Fields(c.CommandPath())[1:]
		for _, args := range [][]string{append(slices.Clone(path), "frob"), append(append([]string{"help"}, path...), "frob")} {
			stdout, stderr, code := invoke(t, args...)
			if want := fmt.Sprintf("error: %s has no command %q\ntry: %[1]s --help\n", c.CommandPath(), "frob"); code != exitUsage || stdout != "" || stderr != want {
				t.Errorf("%v: exit code %d, %q, %q; want %d, %q", args, code, stdout, stderr, exitUsage, want)
			}
		}
		for _, args := range [][]string{path, append([]string{"help"}, path...)} {
			if stdout, stderr, code := invoke(t, args...); code != 0 || !strings.Contains(stdout, "Usage:") {
				t.Errorf("%v: exit code %d, %q, %q", args, code, stdout, stderr)
			}
		}
	}
}

// TestHelpFitsATerminal: no line of any command's help is wider than 120 columns, and none sends its reader to the sources.
func TestHelpFitsATerminal(t *testing.T) {
	const width = 120
	for _, name := range []string{"MASTHEAD_HEAD", "MASTHEAD_CA", "MASTHEAD_TOKEN_FILE", "MASTHEAD_LAB"} {
		t.Setenv(name, "") // would be told as a default
	}
	for _, c := range everyCommand() {
		var out bytes.Buffer
		c.SetOut(&out)
		if err := c.Help(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%s --help: %d columns, want %d at the most: %s", c.CommandPath(), n, width, line)
			}
			if strings.Contains(line, "docs/") {
				t.Errorf("%s --help: no head has docs/: %s", c.CommandPath(), line)
			}
		}
	}
}

// TestExamplesAreUnderstood: what the help shows as an example is a command line of this program.
func TestExamplesAreUnderstood(t *testing.T) {
	for _, c := range everyCommand() {
		for line := range strings.Lines(c.Example) {
			call, err := syntax.NewParser().Parse(strings.NewReader(line), "example")
			if err != nil {
				t.Errorf("%s: %s: %v", c.CommandPath(), line, err)
				continue
			}
			syntax.Walk(call, func(n syntax.Node) bool {
				call, ok := n.(*syntax.CallExpr)
				if !ok {
					return true
				}
				words, err := expand.Fields(nil, call.Args...)
				if err == nil && len(words) > 0 && words[0] == "masthead" {
					err = understood(words[1:])
				}
				if err != nil {
					t.Errorf("%s: %s: %v", c.CommandPath(), line, err)
				}
				return true
			})
		}
	}
}

// understood says what is wrong with a command line, without running it.
func understood(words []string) error {
	c, rest, err := (&app{}).command().Find(words)
	if err == nil {
		err = c.ParseFlags(rest)
	}
	if err == nil {
		err = c.ValidateArgs(c.Flags().Args())
	}
	if err == nil {
		err = c.ValidateRequiredFlags()
	}
	return err
}

// everyCommand is the root and all below it, with those that cobra adds.
func everyCommand() []*cobra.Command {
	root := (&app{}).command()
	withGroups(root)
	all := []*cobra.Command{root}
	for i := 0; i < len(all); i++ {
		all = append(all, all[i].Commands()...)
	}
	return all
}

func TestReportCodes(t *testing.T) {
	tests := []struct {
		err  error
		code int
		want string
	}{
		{nil, 0, ""},
		{errors.New("no"), exitFailed, "error: no\n"},
		{&hint{errors.New("no"), "yes"}, exitFailed, "error: no\ntry: yes\n"},
		{usageError{&hint{errors.New("no"), "yes"}}, exitUsage, "error: no\ntry: yes\n"},
	}
	for _, tt := range tests {
		var out bytes.Buffer
		if code := report(&out, tt.err); code != tt.code || out.String() != tt.want {
			t.Errorf("report(%v) = %d, %q; want %d, %q", tt.err, code, out.String(), tt.code, tt.want)
		}
	}
}
