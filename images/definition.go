package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"masthead/images/strict"
)

// Definition is what an administrator writes to describe an image. Exactly one source stands under Root, and one under
// Kernel (a minimal root or an OCI image without a kernel takes it from a package).
type Definition struct {
	Name    string    `yaml:"name"`
	Role    Role      `yaml:"role"`
	Root    RootDef   `yaml:"root"`
	Kernel  KernelDef `yaml:"kernel"`
	Modules []string  `yaml:"modules,omitempty"` // names or globs, besides the built-in selection
	Init    string    `yaml:"init,omitempty"`    // the root's init; default: /sbin/init, none in a minimal root
	Cmdline string    `yaml:"cmdline,omitempty"` // added to the kernel command line: see KernelCmdline
	Carries []string  `yaml:"carries,omitempty"` // definitions whose images an ISO of this one takes along
	Medium  MediumDef `yaml:"medium,omitempty"`  // how an ISO of it starts
	// SSHKeys are public keys that root may log in with: lines as in authorized_keys, or files of such lines.
	SSHKeys []string     `yaml:"ssh_keys,omitempty"`
	lines   strict.Lines // where each field stands
	file    string
}

// preempt is the key of the kernel's model of preemption (kernel/sched/core.c, setup_preempt_mode).
const preempt = "preempt="

// KernelCmdline is what the image adds to the kernel command line: the definition's words, and on a head preempt=full where
// they do not say otherwise. Distributions' kernels are not preempted by default while they work for a process (voluntary),
// and the load of a module there is a second or two without heartbeats on a slow machine, which is then switched off.
func (d *Definition) KernelCmdline() string {
	told := slices.ContainsFunc(strings.Fields(d.Cmdline), func(w string) bool { return strings.HasPrefix(w, preempt) })
	if d.Role != RoleHead || told {
		return d.Cmdline
	}
	return strings.TrimSpace(d.Cmdline + " " + preempt + "full")
}

// WorkerCmdline is what a worker with the manifest's root has on its kernel command line: all but what KernelCmdline adds on a
// head.
func (m *Manifest) WorkerCmdline() string {
	if m.Role != RoleHead {
		return m.Cmdline
	}
	return strings.Join(slices.DeleteFunc(strings.Fields(m.Cmdline), func(w string) bool { return w == preempt+"full" }), " ")
}

// RootDef is the source of the root tree.
type RootDef struct {
	Debian    *DebianDef `yaml:"debian,omitempty"`
	OCI       string     `yaml:"oci,omitempty"`       // registry reference, layout folder or saved archive
	Tar       string     `yaml:"tar,omitempty"`       // path
	Directory string     `yaml:"directory,omitempty"` // path
	Minimal   bool       `yaml:"minimal,omitempty"`   // masthead and u-root's commands alone
}

// DebianDef is a bootstrap of Debian.
type DebianDef struct {
	Suite    string   `yaml:"suite"`
	Packages []string `yaml:"packages,omitempty"`
}

// KernelDef is the source of kernel and modules.
type KernelDef struct {
	Package string `yaml:"package,omitempty"` // a Debian kernel package
	Suite   string `yaml:"suite,omitempty"`   // of the package; default: that of the root, or trixie
	Root    bool   `yaml:"root,omitempty"`    // the root's own /boot and /lib/modules
	Image   string `yaml:"image,omitempty"`   // path of a vmlinuz
	Modules string `yaml:"modules,omitempty"` // path of the lib/modules/RELEASE that goes with Image
}

// MediumDef is what a machine that starts from this image's ISO does when nothing else is said.
type MediumDef struct {
	IP string `yaml:"ip,omitempty"` // as masthead.ip
}

// Default suite of roots and kernels whose definition names none: the current stable.
const DefaultSuite = "trixie"

// FieldError is one thing wrong with a definition.
type FieldError = strict.FieldError

// LoadDefinition reads the definition in file. Paths in it that are relative count from the file's folder.
func LoadDefinition(file string) (*Definition, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read definition: %w", err)
	}
	dir := filepath.Dir(file)
	d, err := parseDefinition(file, data, func(d *Definition) (errs []error) {
		d.SSHKeys, errs = d.readKeys(dir)
		return errs
	})
	if err != nil {
		return nil, err
	}
	for _, p := range []*string{&d.Root.Tar, &d.Root.Directory, &d.Kernel.Image, &d.Kernel.Modules} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	for i, p := range d.Carries {
		if !filepath.IsAbs(p) {
			d.Carries[i] = filepath.Join(dir, p)
		}
	}
	// An OCI reference is a path only where there is such a file, with or without a tag behind it.
	if ref := d.Root.OCI; ref != "" && !filepath.IsAbs(ref) {
		path, _, _ := strings.Cut(ref, ":")
		if exists(filepath.Join(dir, ref)) || exists(filepath.Join(dir, path)) {
			d.Root.OCI = filepath.Join(dir, ref)
		}
	}
	return d, nil
}

// publicKey is a line of authorized_keys without options (sshd(8)).
var publicKey = regexp.MustCompile(`^(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]+=*( .*)?$`)

// readKeys gives the keys, those of files in the place of the files' names.
func (d *Definition) readKeys(dir string) (all []string, errs []error) {
	for i, k := range d.SSHKeys {
		field := fmt.Sprintf("ssh_keys[%d]", i)
		bad := func(reason string) {
			errs = append(errs, &FieldError{File: d.file, Line: d.lines.Of(field), Field: field, Value: k, Reason: reason})
		}
		if publicKey.MatchString(k) {
			all = append(all, k)
			continue
		}
		if !filepath.IsAbs(k) {
			k = filepath.Join(dir, k)
		}
		data, err := os.ReadFile(k)
		if err != nil {
			bad("neither a public key nor a file that can be read")
			continue
		}
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if !publicKey.MatchString(line) {
				bad("holds something other than public keys")
				break
			}
			all = append(all, line)
		}
	}
	return all, errs
}

func exists(p string) bool { _, err := os.Stat(p); return err == nil }

// ParseDefinition reads a definition; file is for the messages. Every error is a *FieldError, all of them joined.
func ParseDefinition(file string, data []byte) (*Definition, error) {
	return parseDefinition(file, data, func(*Definition) []error { return nil })
}

// parseDefinition reads a definition; more looks for what only its file's surroundings tell.
func parseDefinition(file string, data []byte, more func(*Definition) []error) (*Definition, error) {
	d := &Definition{file: file}
	var err error
	d.lines, err = strict.Decode(file, data, d)
	if errors.Is(err, strict.ErrEmpty) {
		return nil, &FieldError{File: file, Reason: "empty: want at least name, role, root and kernel"}
	}
	if d.lines == nil {
		return nil, err
	}
	var errs []error
	if err != nil {
		errs = append(errs, err)
	}
	for _, e := range append(d.validate(), more(d)...) {
		var f *FieldError
		if !errors.As(e, &f) || !strict.Names(err, f.Field) {
			errs = append(errs, e)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	d.defaults()
	return d, nil
}

func (d *Definition) defaults() {
	if d.Root.Debian != nil && d.Kernel.Package != "" && d.Kernel.Suite == "" {
		d.Kernel.Suite = d.Root.Debian.Suite
	}
	if d.Kernel.Package != "" && d.Kernel.Suite == "" {
		d.Kernel.Suite = DefaultSuite
	}
	if d.Init == "" && !d.Root.Minimal {
		d.Init = "/sbin/init"
	}
}

var (
	suitePattern   = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	packagePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
)

func (d *Definition) validate() []error {
	var errs []error
	bad := func(field, value, reason string) {
		errs = append(errs, &FieldError{File: d.file, Line: d.lines.Of(field), Field: field, Value: value, Reason: reason})
	}
	if err := ValidName(d.Name); err != nil {
		bad("name", d.Name, "want 1 to 64 of a-z, 0-9, dot, dash, underscore")
	}
	if d.Role != RoleHead && d.Role != RoleWorker {
		bad("role", string(d.Role), "want head or worker")
	}
	var sources []string
	if r := d.Root.Debian; r != nil {
		sources = append(sources, "debian")
		if !suitePattern.MatchString(r.Suite) {
			bad("root.debian.suite", r.Suite, "want the name of a Debian release, such as trixie")
		}
		for i, p := range r.Packages {
			if !packagePattern.MatchString(p) {
				bad(fmt.Sprintf("root.debian.packages[%d]", i), p, "not the name of a Debian package")
			}
		}
	}
	for name, value := range map[string]string{"oci": d.Root.OCI, "tar": d.Root.Tar, "directory": d.Root.Directory} {
		if value != "" {
			sources = append(sources, name)
		}
	}
	if d.Root.Minimal {
		sources = append(sources, "minimal")
	}
	if len(sources) != 1 {
		bad("root", "", "want exactly one of debian, oci, tar, directory, minimal")
	}
	errs = append(errs, d.validateKernel()...)
	if d.Init != "" && (!filepath.IsAbs(d.Init) || filepath.Clean(d.Init) != d.Init) {
		bad("init", d.Init, "want a clean absolute path")
	}
	if d.Init != "" && d.Root.Minimal {
		bad("init", d.Init, "a minimal root has none: masthead stays PID 1")
	}
	if strings.ContainsAny(d.Cmdline, "\n\r\x00") {
		bad("cmdline", "", "want one line")
	}
	for _, w := range strings.Fields(d.Cmdline) {
		// The head writes the words into an iPXE script, which knows no quotes (iPXE, src/core/exec.c).
		if w == ";" || w == "||" || w == "&&" || strings.HasPrefix(w, "#") || strings.Contains(w, "${") {
			bad("cmdline", w, "cannot pass through an iPXE script")
		}
	}
	if _, err := ParseBoot(d.Cmdline); err != nil {
		for _, e := range splitJoined(err) {
			bad("cmdline", "", strings.TrimPrefix(e.Error(), "kernel command line: "))
		}
	}
	if d.Medium.IP != "" {
		if _, err := ParseBoot(KeyIP + "=" + d.Medium.IP); err != nil {
			bad("medium.ip", d.Medium.IP, "want dhcp, none, ADDRESS/PREFIX[,GATEWAY[,DNS]], or auto,ADDRESS/PREFIX")
		}
	}
	return errs
}

func (d *Definition) validateKernel() []error {
	k := d.Kernel
	at := d.lines.Of("kernel")
	one := func(field, value, reason string) []error {
		return []error{&FieldError{File: d.file, Line: max(at, d.lines.Of(field)), Field: field, Value: value, Reason: reason}}
	}
	n := 0
	for _, given := range []bool{k.Package != "", k.Root, k.Image != ""} {
		if given {
			n++
		}
	}
	switch {
	case n != 1:
		return one("kernel", "", "want exactly one of package, root, image")
	case k.Package != "" && !packagePattern.MatchString(k.Package):
		return one("kernel.package", k.Package, "not the name of a Debian package")
	case k.Suite != "" && !suitePattern.MatchString(k.Suite):
		return one("kernel.suite", k.Suite, "want the name of a Debian release, such as trixie")
	case k.Image != "" && k.Modules == "":
		return one("kernel.modules", "", "want the lib/modules/RELEASE that goes with the image")
	case k.Image == "" && k.Modules != "":
		return one("kernel.modules", k.Modules, "goes with image only")
	case k.Root && d.Root.Minimal:
		return one("kernel.root", "", "a minimal root has no kernel: name a package, such as linux-image-cloud-amd64")
	}
	return nil
}

func splitJoined(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}
