package kernel

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"masthead/rootfs/apt"

	"pault.ag/go/debian/version"
)

// DefaultSuite is the Debian release that kernels come from unless a definition says otherwise: the current stable.
const DefaultSuite = "trixie"

// Packages that always depend on the newest kernel of a kind.
const (
	Generic = "linux-image-amd64"       // for any machine
	Cloud   = "linux-image-cloud-amd64" // a third of the size, with the drivers of virtual machines only
)

// packagePrefix begins the names of all of Debian's kernel packages.
const packagePrefix = "linux-image-"

// Debian asks for a kernel from a Debian package.
type Debian struct {
	Suite   string       // default DefaultSuite
	Package string       // Generic, Cloud, or a package with a release in its name; default Generic
	Sources []apt.Source // archives to ask; default: those that the machine is configured with, turned to Suite
}

// FromDebian gets the newest kernel that the archives have in the suite and its updates and security pockets. Package
// and contents stay in the client's cache, are verified at each use, and serve when the archives cannot be reached.
func FromDebian(ctx context.Context, client *apt.Client, want Debian) (*Kernel, error) {
	if want.Suite == "" {
		want.Suite = DefaultSuite
	}
	if want.Package == "" {
		want.Package = Generic
	}
	k, err := fromDebian(ctx, client, want)
	if err != nil {
		return nil, fmt.Errorf("kernel %s of %s: %w", want.Package, want.Suite, err)
	}
	return k, nil
}

func fromDebian(ctx context.Context, client *apt.Client, want Debian) (*Kernel, error) {
	sources := want.Sources
	if sources == nil {
		have, err := apt.Sources(client.Root)
		if err != nil {
			return nil, err
		}
		host, err := apt.HostSuite(client.Root)
		if err != nil {
			return nil, err
		}
		sources = apt.ForSuite(have, host, want.Suite)
	}
	packages, err := kernelPackages(ctx, client, sources)
	if err != nil {
		return nil, err
	}
	p, err := choose(packages, want.Package)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(client.Cache, "kernels", p.SHA256)
	unlock, err := lock(ctx, dir+".lock")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := verifyTree(dir); err != nil {
		deb, err := client.Fetch(ctx, p)
		if err != nil {
			return nil, err
		}
		if err := unpack(ctx, deb, dir); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", p.Name, err)
		}
	}
	return fromTree(dir, p.Name+" "+p.Version.String())
}

// ErrNoArchive means that no configured package source has the suite that a kernel is wanted from.
var ErrNoArchive = errors.New("no package source of this machine has it")

// kernelPackages lists the kernel packages of all sources. A source may lack the suite (a mirror without security), but
// one must have it.
func kernelPackages(ctx context.Context, client *apt.Client, sources []apt.Source) ([]apt.Package, error) {
	var all []apt.Package
	var reached int
	for _, s := range sources {
		found, err := client.Packages(ctx, s, packagePrefix)
		if apt.IsNoSuite(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		reached++
		all = append(all, found...)
	}
	if reached == 0 {
		return nil, ErrNoArchive
	}
	return all, nil
}

// maxMeta bounds the chain from linux-image-amd64 to the package with the kernel; it has one link today.
const maxMeta = 4

// choose finds the newest package of that name and follows it to the one that holds the kernel.
func choose(packages []apt.Package, name string) (apt.Package, error) {
	for range maxMeta {
		best, ok := newest(packages, name)
		if !ok {
			return apt.Package{}, fmt.Errorf("no package %s", name)
		}
		next := ""
		for _, d := range best.Depends {
			if strings.HasPrefix(d, packagePrefix) {
				next = d
				break
			}
		}
		if next == "" {
			return best, nil
		}
		name = next
	}
	return apt.Package{}, fmt.Errorf("package %s depends on kernel packages without end", name)
}

func newest(packages []apt.Package, name string) (best apt.Package, ok bool) {
	for _, p := range packages {
		if p.Name == name && (!ok || version.Compare(p.Version, best.Version) > 0) {
			best, ok = p, true
		}
	}
	return best, ok
}
