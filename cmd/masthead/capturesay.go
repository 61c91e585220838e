package main

import (
	"context"
	"fmt"
	"io"

	"masthead/builder"
	"masthead/images"
	"masthead/node/wire"
	"masthead/rootfs/capture"
)

// storeFirst reads blobs from a store, and what it does not have from elsewhere: a head's medium has images too.
type storeFirst struct {
	store *images.Store
	rest  images.BlobReader
}

func (s storeFirst) Open(d images.Digest) (io.ReadCloser, int64, error) {
	if r, size, err := s.store.Open(d); err == nil {
		return r, size, nil
	}
	return s.rest.Open(d)
}

// sayCaptured shows what was captured, and how it differs from what was before.
func (a *app) sayCaptured(c *capturing, built builder.Built, out captured) error {
	if a.output == "json" {
		return nil
	}
	m := built.Manifest
	fmt.Fprintf(a.out, "%s: captured %s, kernel %s, root %s in %s\n", m.Name, built.Digest.Short(), m.KernelRelease,
		bytesText(m.Root.Size), bytesText(m.Root.Stored()))
	a.sayLeft(out.Left)
	if out.Difference == nil {
		return nil
	}
	from := c.tag
	if c.last == nil {
		from = "this head's own image"
	}
	fmt.Fprintf(a.out, "against %s, %s:\n", from, out.Difference.From.Short())
	whole := "masthead image diff " + out.Difference.From.Hex() + " " + out.Difference.To.Hex()
	if c.publish && c.last != nil {
		whole = "masthead image diff " + c.tag + "@1 " + c.tag
	}
	return a.sayDifference(*out.Difference, shortDiff, whole)
}

// sayLeft shows what stays out: with -v each file and why.
func (a *app) sayLeft(left []capture.Left) {
	if !a.verbose {
		fmt.Fprintf(a.out, "left out: %d files and folders that make it this machine or are secret; -v names them\n", len(left))
		return
	}
	for _, l := range left {
		how := "left out"
		if l.Changed {
			how = "changed"
		}
		fmt.Fprintf(a.out, "%s: %s: %s\n", how, l.Path, l.Why)
	}
}

// sayOutdated says which nodes run something else than they are to run, and what to type.
func (a *app) sayOutdated(ctx context.Context, c *wire.Client) error {
	nodes, err := c.BriefNodes(ctx, "needs-reboot=true")
	if err != nil || len(nodes) == 0 {
		return err
	}
	what := "1 node needs a reboot"
	if len(nodes) > 1 {
		what = fmt.Sprintf("%d nodes need a reboot", len(nodes))
	}
	fmt.Fprintf(a.out, "%s to run it: masthead node roll needs-reboot=true\n", what)
	return nil
}
