package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"masthead/images"
	"masthead/rootfs/compare"
)

// shortDiff is how many files of each kind are shown where the difference is not what was asked for.
const shortDiff = 12

func (a *app) imageDiffCommand(open openStore) *cobra.Command {
	cmd := &cobra.Command{
		Use: "diff A B", Short: "Show how image B (a tag or a digest) differs from A: packages, files, what boots it", Args: exactArgs(2), ValidArgsFunction: a.completeTags(2, forAnyMachine),
		Long:    "Shows how image B differs from A, tags or digests: packages, files, kernel and command line. NAME@1 is what the tag NAME\nmeant before, NAME@2 what before that.",
		Example: "  masthead image diff worker@1 worker\n  masthead image diff worker 398b8a3a8f80… -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			blobs, digests, err := a.resolveAll(cmd, open, args)
			if err != nil {
				return err
			}
			d, err := diffImages(cmd.Context(), blobs, digests[0], digests[1])
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(d)
			}
			fmt.Fprintf(a.out, "%s -> %s\n", d.From.Short(), d.To.Short())
			return a.sayDifference(d, 0, "")
		},
	}
	a.outputFlag(cmd)
	return cmd
}

// diffImages compares two images that blobs has.
func diffImages(ctx context.Context, blobs images.BlobReader, from, to images.Digest) (compare.Difference, error) {
	x, err := compare.Open(blobs, from)
	if err != nil {
		return compare.Difference{}, err
	}
	defer x.Close()
	y, err := compare.Open(blobs, to)
	if err != nil {
		return compare.Difference{}, err
	}
	defer y.Close()
	return compare.Images(ctx, x, y)
}

// resolveAll says what images are named, and where their blobs are.
func (a *app) resolveAll(cmd *cobra.Command, open openStore, refs []string) (images.BlobReader, []images.Digest, error) {
	c, err := a.imagesHead(cmd)
	if err != nil {
		return nil, nil, err
	}
	var blobs images.BlobReader
	var resolve func(ref string) (images.Digest, error)
	history := func(tag string) ([]images.Digest, error) {
		t, err := c.Image(cmd.Context(), tag)
		var all []images.Digest
		for _, v := range t.Versions {
			all = append(all, v.Digest)
		}
		return all, err
	}
	if c != nil {
		blobs = headBlobs{cmd.Context(), c}
		resolve = func(ref string) (images.Digest, error) {
			d, _, err := resolveOn(cmd.Context(), c, ref)
			return d, err
		}
	} else {
		s, err := open()
		if err != nil {
			return nil, nil, err
		}
		blobs, resolve, history = s, s.Resolve, s.History
	}
	var all []images.Digest
	for _, ref := range refs {
		d, err := resolveVersion(ref, resolve, history)
		if err != nil {
			return nil, nil, &hint{err, "masthead image list"}
		}
		all = append(all, d)
	}
	return blobs, all, nil
}

// resolveVersion takes NAME@N apart: what the tag meant N versions ago.
func resolveVersion(ref string, resolve func(string) (images.Digest, error), history func(string) ([]images.Digest, error)) (images.Digest, error) {
	name, text, found := strings.Cut(ref, "@")
	if !found {
		return resolve(ref)
	}
	var n int
	if _, err := fmt.Sscanf(text, "%d", &n); err != nil || n < 0 || fmt.Sprint(n) != text {
		return "", fmt.Errorf("image %s: want NAME@N, N versions ago", ref)
	}
	all, err := history(name)
	if err != nil {
		return "", err
	}
	if n >= len(all) {
		return "", fmt.Errorf("image %s has had %d versions", name, len(all))
	}
	return all[len(all)-1-n], nil
}

// sayDifference shows how two images differ; most is how many files of each kind, 0: all, and whole the command that shows
// the rest.
func (a *app) sayDifference(d compare.Difference, most int, whole string) error {
	if d.None() {
		fmt.Fprintln(a.out, "  the same image")
		return nil
	}
	for _, f := range d.Boot {
		fmt.Fprintf(a.out, "  %s: %s -> %s\n", f.Field, orDash(f.Old), orDash(f.New))
	}
	a.sayPackages(d.Packages)
	f := d.Files
	fmt.Fprintf(a.out, "  files: %d added, %d removed, %d changed\n", len(f.Added), len(f.Removed), len(f.Changed))
	var changed []string
	for _, c := range f.Changed {
		changed = append(changed, c.Path+" ("+strings.Join(c.What, ", ")+")")
	}
	for _, kind := range []struct {
		sign  string
		files []string
	}{{"+", f.Added}, {"-", f.Removed}, {"~", changed}} {
		for i, name := range kind.files {
			if most > 0 && i == most {
				fmt.Fprintf(a.out, "    %s … and %d more: %s\n", kind.sign, len(kind.files)-most, whole)
				break
			}
			fmt.Fprintf(a.out, "    %s %s\n", kind.sign, name)
		}
	}
	return nil
}

func (a *app) sayPackages(p compare.Packages) {
	fmt.Fprintf(a.out, "  packages: %d added, %d removed, %d with another version\n", len(p.Added), len(p.Removed), len(p.Upgraded))
	for _, x := range p.Added {
		fmt.Fprintf(a.out, "    + %s %s\n", x.Name, x.Version)
	}
	for _, x := range p.Removed {
		fmt.Fprintf(a.out, "    - %s %s\n", x.Name, x.Version)
	}
	for _, x := range p.Upgraded {
		fmt.Fprintf(a.out, "    ~ %s %s -> %s\n", x.Name, x.From, x.To)
	}
}
