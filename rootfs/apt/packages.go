package apt

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/xi2/xz"
	"pault.ag/go/debian/control"
	"pault.ag/go/debian/version"
)

// Package is one binary package of an archive.
type Package struct {
	Name     string
	Version  version.Version
	Depends  []string // names of the first alternatives, without versions
	Filename string   // relative to the archive's URI
	SHA256   string
	Size     int64
	URI      string // of the archive
}

// Packages lists the packages of one source whose names begin with prefix. The source must have exactly one suite. Of
// the whole index only those are kept, so that the next call need not unpack it again.
func (c *Client) Packages(ctx context.Context, s Source, prefix string) ([]Package, error) {
	r, err := c.Release(ctx, s)
	if err != nil {
		return nil, err
	}
	var all []Package
	for _, component := range s.Components {
		name := component + "/binary-" + c.Arch + "/Packages.xz"
		want, ok := r.files[name]
		if !ok {
			continue // a component that this suite does not have
		}
		text, err := c.packagesText(ctx, s, r, name, want, prefix)
		if err != nil {
			return nil, err
		}
		found, err := parsePackages(bytes.NewReader(text), s.URI)
		if err != nil {
			return nil, fmt.Errorf("%s/dists/%s/%s: %w", s.URI, s.Suites[0], name, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// packagesText gives the paragraphs of an index file that are about packages beginning with prefix.
func (c *Client) packagesText(ctx context.Context, s Source, r *Release, name string, want listed, prefix string) ([]byte, error) {
	base := s.URI + "/dists/" + s.Suites[0] + "/"
	file := c.listFile(base + name)
	kept := file + "." + strings.Trim(prefix, "-")
	stamp := "# of " + want.sha256 + "\n"
	if text, err := os.ReadFile(kept); err == nil && bytes.HasPrefix(text, []byte(stamp)) {
		return text[len(stamp):], nil
	}
	uri := base + name
	if r.ByHash {
		uri = base + filepath.Dir(name) + "/by-hash/SHA256/" + want.sha256
	}
	if !verified(file, want) {
		if err := c.download(ctx, uri, file, want, 0); err != nil {
			return nil, err
		}
	}
	text, err := filterPackages(file, prefix)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", uri, err)
	}
	if err := renameio.WriteFile(kept, append([]byte(stamp), text...), 0o644); err != nil {
		return nil, fmt.Errorf("cache of %s: %w", uri, err)
	}
	return text, nil
}

// filterPackages unpacks a Packages.xz and gives the paragraphs about packages that begin with prefix. It looks at
// nothing else in the other 60,000: parsing them all would take ten times as long.
func filterPackages(file, prefix string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	xr, err := xz.NewReader(bufio.NewReaderSize(f, 1<<20), 0)
	if err != nil {
		return nil, err
	}
	sc := bufio.NewScanner(io.LimitReader(xr, maxPackages))
	sc.Buffer(make([]byte, 1<<20), 16<<20)
	var out bytes.Buffer
	inside := false
	for sc.Scan() {
		line := sc.Bytes()
		if name, ok := bytes.CutPrefix(line, []byte("Package: ")); ok {
			inside = bytes.HasPrefix(name, []byte(prefix))
		}
		if inside {
			out.Write(line)
			out.WriteByte('\n')
			inside = len(line) > 0
		}
	}
	return out.Bytes(), sc.Err()
}

// parsePackages reads the paragraphs of a Packages file.
func parsePackages(r io.Reader, uri string) ([]Package, error) {
	index, err := control.ParseBinaryIndex(bufio.NewReader(r))
	if err != nil {
		return nil, err
	}
	all := make([]Package, 0, len(index))
	for _, b := range index {
		p := Package{
			Name: b.Package, Version: b.Version, Filename: b.Filename,
			SHA256: b.SHA256, Size: int64(b.Size), URI: uri,
		}
		if !validSHA256(p.SHA256) || p.Size <= 0 || p.Filename == "" || strings.Contains(p.Filename, "..") {
			return nil, fmt.Errorf("package %s: no usable Filename, Size or SHA256", p.Name)
		}
		depends := b.GetDepends()
		for _, relation := range depends.Relations {
			if len(relation.Possibilities) > 0 {
				p.Depends = append(p.Depends, relation.Possibilities[0].Name)
			}
		}
		all = append(all, p)
	}
	return all, nil
}

// Fetch downloads a package, verified against its SHA-256, and says where it is in the cache. The caller may remove the
// file once it has what it needs.
func (c *Client) Fetch(ctx context.Context, p Package) (string, error) {
	want := listed{p.SHA256, p.Size}
	file := filepath.Join(c.Cache, "archives", p.SHA256+".deb")
	if verified(file, want) {
		return file, nil
	}
	if err := c.download(ctx, p.URI+"/"+p.Filename, file, want, 0); err != nil {
		return "", err
	}
	return file, nil
}
