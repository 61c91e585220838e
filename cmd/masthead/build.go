package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"masthead/appliance"
	"masthead/builder"
	"masthead/builder/uki"
	"masthead/images"
	"masthead/node/tools"
)

// buildFlags are what all build commands share.
type buildFlags struct {
	dir    string // where artifacts go
	store  string
	binary string
	dryRun bool
	// key and certificate of one's own for Secure Boot; empty: the distribution's signed loader
	signKey, signCert string
	signShim          bool
}

func (a *app) buildCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build what machines boot from",
	}
	cmd.AddCommand(a.buildISOCommand(), a.buildNetbootCommand(), a.buildDiskCommand())
	return cmd
}

func (f *buildFlags) add(cmd *cobra.Command, writes bool) {
	if writes {
		cmd.Flags().StringVarP(&f.dir, "output", "o", ".", "folder to write to")
		_ = cmd.MarkFlagDirname("output")
	}
	cmd.Flags().StringVar(&f.store, "store", "", "image store (default: in the cache folder)")
	cmd.Flags().StringVar(&f.binary, "binary", "", "static masthead to put in (default: this program)")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what would be built and from what, and build nothing")
}

func (a *app) buildISOCommand() *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:   "iso DEFINITION",
		Short: "Build a hybrid ISO: boots from CD, USB stick and BMC virtual media, by BIOS and UEFI",
		Example: "  masthead build iso images/head.yaml -o out\n" +
			"  dd if=out/head.iso of=/dev/sdX bs=4M conv=fsync   # a stick",
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.checkKeys(cmd, args[0]); err != nil {
				return err
			}
			return a.buildISO(cmd.Context(), args[0], f)
		},
	}
	f.add(cmd, true)
	f.addKeys(cmd, "sign one UEFI program, no shim and GRUB")
	cmd.Flags().BoolVar(&f.signShim, "sign-shim", false, "sign the shim of the disks that it is installed on, too; nobody checks their initramfs")
	return cmd
}

// addKeys adds the flags of a key of one's own; does is what is done with it.
func (f *buildFlags) addKeys(cmd *cobra.Command, does string) {
	cmd.Flags().StringVar(&f.signKey, "sign-key", "", "private key (PEM, RSA) that the firmware knows: "+does)
	cmd.Flags().StringVar(&f.signCert, "sign-cert", "", "certificate (PEM) of --sign-key")
	_ = cmd.MarkFlagFilename("sign-key")
	_ = cmd.MarkFlagFilename("sign-cert")
}

// checkKeys looks at what addKeys has added.
func (f *buildFlags) checkKeys(cmd *cobra.Command, definition string) error {
	try := fmt.Sprintf("%s %s --sign-key %s --sign-cert %s", cmd.CommandPath(), definition, orElse(f.signKey, "KEY"), orElse(f.signCert, "CERT"))
	if (f.signKey == "") != (f.signCert == "") {
		return usageError{&hint{errors.New("a key needs its certificate, and the other way round"), try}}
	}
	if f.signShim && f.signKey == "" {
		return usageError{&hint{errors.New("--sign-shim needs a key to sign with"), try + " --sign-shim"}}
	}
	return nil
}

func (a *app) buildNetbootCommand() *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:     "netboot DEFINITION",
		Short:   "Build a network-boot set: kernel, initramfs, loaders, manifest, and the image as one pack",
		Example: "  masthead build netboot images/worker.yaml -o out/worker\n  masthead image import out/worker/worker.pack",
		Args:    exactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.buildNetboot(cmd.Context(), args[0], f) },
	}
	f.add(cmd, true)
	return cmd
}

func (a *app) buildISO(ctx context.Context, file string, f buildFlags) error {
	return a.buildMedium(ctx, file, ".iso", f, func(b *builder.Builder, m medium, out string) (int64, error) {
		return b.ISO(ctx, m.def, m.built, m.carried, out)
	})
}

// medium is an image built for a medium, and those that the medium takes along.
type medium struct {
	def     *images.Definition
	built   builder.Built
	carried map[string]images.Digest
}

// buildMedium builds the definition in file and what it carries, and has write make one file of them, of that suffix.
func (a *app) buildMedium(ctx context.Context, file, suffix string, f buildFlags, write func(*builder.Builder, medium, string) (int64, error)) error {
	defs, err := loadCarried(file)
	if err != nil {
		return err
	}
	m := medium{def: defs[0], carried: map[string]images.Digest{}}
	out := filepath.Join(f.dir, m.def.Name+suffix)
	if f.dryRun {
		return a.describePlan(defs, out)
	}
	b, show, err := a.builder(f)
	if err != nil {
		return err
	}
	defer show.close()
	for _, d := range append(defs[1:], m.def) {
		if m.built, err = b.Image(ctx, d); err != nil {
			return err
		}
		show.close()
		a.sayBuilt(m.built)
		if d != m.def {
			m.carried[d.Name] = m.built.Digest
		}
	}
	size, err := write(b, m, out)
	show.close()
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s: %s\n", out, bytesText(size))
	return nil
}

// loadDefinition reads a definition that somebody has named.
func loadDefinition(file string) (*images.Definition, error) {
	def, err := images.LoadDefinition(file)
	if errors.Is(err, fs.ErrNotExist) {
		shipped, try := "images/*.yaml", "ls "+filepath.Join(filepath.Dir(file), "*.yaml")
		if !strings.HasSuffix(try, shipped) {
			try += ", or in masthead's sources ls " + shipped
		}
		return nil, &hint{err, try}
	}
	if err != nil {
		return nil, &hint{err, correct(file)}
	}
	return def, nil
}

// correct is what to do with a definition that is wrong.
func correct(file string) string {
	return "correct " + file + "; images/*.yaml in masthead's sources are definitions, and docs/images.md has all fields"
}

// loadCarried reads a definition and behind it those that it carries.
func loadCarried(file string) ([]*images.Definition, error) {
	def, err := loadDefinition(file)
	if err != nil {
		return nil, err
	}
	defs := []*images.Definition{def}
	for _, c := range def.Carries {
		d, err := loadDefinition(c)
		if err != nil {
			return nil, fmt.Errorf("%s carries %s: %w", file, c, err)
		}
		for _, other := range defs {
			if other.Name == d.Name {
				return nil, &hint{fmt.Errorf("%s carries %s: the name %s is taken; images on one medium need names of their own", file, c, d.Name), correct(c)}
			}
		}
		defs = append(defs, d)
	}
	return defs, nil
}

func (a *app) buildNetboot(ctx context.Context, file string, f buildFlags) error {
	def, err := loadDefinition(file)
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.describePlan([]*images.Definition{def}, f.dir)
	}
	b, show, err := a.builder(f)
	if err != nil {
		return err
	}
	defer show.close()
	built, err := b.Image(ctx, def)
	if err != nil {
		return err
	}
	show.close()
	a.sayBuilt(built)
	files, err := b.Netboot(ctx, built, f.dir)
	show.close()
	if err != nil {
		return err
	}
	for _, name := range files {
		st, err := os.Stat(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%s: %s\n", name, bytesText(st.Size()))
	}
	return nil
}

func (a *app) sayBuilt(b builder.Built) {
	how := "built"
	if b.Reused {
		how = "unchanged"
	}
	m := b.Manifest
	fmt.Fprintf(a.out, "%s: %s %s, kernel %s, root %s in %s, initramfs %s\n", m.Name, how, b.Digest.Short(),
		m.KernelRelease, bytesText(m.Root.Size), bytesText(m.Root.Stored()), bytesText(m.Initramfs.Size))
}

// describePlan is --dry-run: what would be built, from what.
func (a *app) describePlan(defs []*images.Definition, out string) error {
	for _, d := range defs {
		fmt.Fprintf(a.out, "would build %s from\n", d.Name)
		enc := yaml.NewEncoder(a.out)
		enc.SetIndent(2)
		if err := errors.Join(enc.Encode(d), enc.Close()); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.out, "would write %s\n", out)
	return nil
}

// builder opens the store and makes a builder that shows its progress, which the caller closes.
func (a *app) builder(f buildFlags) (*builder.Builder, *progress, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, nil, err
	}
	store, err := a.openStore(f.store)
	if err != nil {
		return nil, nil, err
	}
	bin := f.binary
	if bin == "" {
		if bin, err = os.Executable(); err != nil {
			return nil, nil, fmt.Errorf("find this program: %w", err)
		}
	}
	epoch, err := sourceDateEpoch()
	if err != nil {
		return nil, nil, err
	}
	signer, err := f.signer()
	if err != nil {
		return nil, nil, err
	}
	show := newProgress(a.err)
	b, err := builder.New(builder.Config{
		Signer: signer, SignShim: f.signShim,
		Store: store, Cache: cache, Binary: bin, Tools: tools.Names(), Epoch: epoch, Progress: show.update, Log: a.log,
	})
	return b, show, err
}

// signer reads the key that an ISO is signed with; nil where none is named.
func (f buildFlags) signer() (*uki.Signer, error) {
	if f.signKey == "" {
		return nil, nil
	}
	key, err := os.ReadFile(f.signKey)
	if err != nil {
		return nil, fmt.Errorf("--sign-key: %w", err)
	}
	certificate, err := os.ReadFile(f.signCert)
	if err != nil {
		return nil, fmt.Errorf("--sign-cert: %w", err)
	}
	s, err := uki.ParseSigner(key, certificate)
	if err != nil {
		return nil, fmt.Errorf("--sign-key %s, --sign-cert %s: %w", f.signKey, f.signCert, err)
	}
	return s, nil
}

// sourceDateEpoch is the time that reproducible builds agree on (reproducible-builds.org/specs/source-date-epoch);
// zero where it is not set.
func sourceDateEpoch() (time.Time, error) {
	s := os.Getenv("SOURCE_DATE_EPOCH")
	if s == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH=%s: want seconds since 1970", s)
	}
	return time.Unix(n, 0).UTC(), nil
}

// openStore opens the image store: the one named, the head's own on a head, or the one in the cache folder.
func (a *app) openStore(dir string) (*images.Store, error) {
	if dir == "" {
		if _, err := os.Stat(images.APISocket); err == nil {
			dir = filepath.Join(images.StateDir, appliance.ImagesDir)
		}
	}
	if dir == "" {
		cache, err := cacheDir()
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(cache, "store")
	}
	return images.OpenStore(dir)
}

// exactArgs is cobra.ExactArgs whose error counts as a usage error.
func exactArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{&hint{fmt.Errorf("%s: want %s, got %d", cmd.CommandPath(), wantedText(cmd, n), len(args)), cmd.CommandPath() + " --help"}}
		}
		return nil
	}
}

// wantedText is how many arguments a command takes, and their names as its usage has them.
func wantedText(cmd *cobra.Command, n int) string {
	_, names, _ := strings.Cut(cmd.Use, " ")
	switch n {
	case 0:
		return "no arguments"
	case 1:
		return strings.TrimSpace("1 argument " + names)
	}
	return strings.TrimSpace(fmt.Sprintf("%d arguments %s", n, names))
}

// someArgs is exactArgs for a command that takes one argument or more.
func someArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		_, names, _ := strings.Cut(cmd.Use, " ")
		return usageError{&hint{fmt.Errorf("%s: want %s", cmd.CommandPath(), names), cmd.CommandPath() + " --help"}}
	}
	return nil
}

// rangeArgs is exactArgs for a command that takes from to arguments.
func rangeArgs(from, to int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < from || len(args) > to {
			return usageError{&hint{fmt.Errorf("%s: want %d or %d arguments, got %d", cmd.CommandPath(), from, to, len(args)), cmd.CommandPath() + " --help"}}
		}
		return nil
	}
}
