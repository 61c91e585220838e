package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"masthead/builder"
	"masthead/images"
	"masthead/node/wire"
)

// What a tag means is decided by the cluster, not by the store of one head. So on a head, and where another head was
// named, the commands talk to it; with --store, and on a machine that only builds, they look at a store.

// imagesHead is a client of the head whose images a command is about, or nil if it is about a store.
func (a *app) imagesHead(cmd *cobra.Command) (*wire.Client, error) {
	if cmd.Flags().Changed("store") {
		return nil, nil
	}
	_, err := os.Stat(images.APISocket)
	if err != nil && a.remote.head == "" && a.remote.lab == "" {
		return nil, nil
	}
	return a.remote.client()
}

// headBlobs reads blobs from a head, as images.BlobReader. Its readers verify.
type headBlobs struct {
	ctx context.Context
	c   *wire.Client
}

func (h headBlobs) Open(d images.Digest) (io.ReadCloser, int64, error) { return h.c.Blob(h.ctx, d) }

// resolveOn is the digest of an image on a head.
func resolveOn(ctx context.Context, c *wire.Client, ref string) (images.Digest, wire.ImageTag, error) {
	if d, err := images.ParseDigest(ref); err == nil {
		return d, wire.ImageTag{}, nil
	}
	tag, err := c.Image(ctx, ref)
	if err != nil {
		return "", tag, err
	}
	now, _ := tag.Now()
	return now.Digest, tag, nil
}

func (a *app) showImageOn(ctx context.Context, c *wire.Client, ref string) error {
	d, tag, err := resolveOn(ctx, c, ref)
	if err != nil {
		return err
	}
	m, _, err := c.Manifest(ctx, d)
	if err != nil {
		return err
	}
	if err := a.printImage(m, d, tag.Versions); err != nil || a.output == "json" {
		return err
	}
	list, err := c.Images(ctx)
	for _, i := range list {
		if i.Tag == ref && i.Missing > 0 {
			fmt.Fprintf(a.out, "%s of it are not on this head yet\n", bytesText(i.Missing))
		}
		if i.Tag == ref && i.Note != "" {
			fmt.Fprintln(a.out, i.Note)
		}
	}
	return err
}

// sayTag tells what a change of a tag does or did.
func (a *app) sayTag(c wire.ImageChanged) {
	short := func(d images.Digest) string {
		if d == "" {
			return "none"
		}
		return d.Short()
	}
	switch {
	case c.Old == c.New:
		fmt.Fprintf(a.out, "%s: %s, nothing to change\n", c.Tag, short(c.New))
	default:
		fmt.Fprintf(a.out, "%s: %s -> %s\n", c.Tag, short(c.Old), short(c.New))
	}
	a.sayDegraded(c.Degraded)
}

// sayDegraded warns of a change that no other head has yet.
func (a *app) sayDegraded(why string) {
	if why != "" {
		fmt.Fprintf(a.err, "warning: degraded: %s\n", why)
	}
}

// uploads is how many blobs are sent at once.
const uploads = 4

// importTo sends the images of a pack to a head: what it does not have, and then the tags.
func (a *app) importTo(ctx context.Context, c *wire.Client, p *images.Pack, source string, dryRun bool) error {
	tags := p.Tags()
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		d := tags[name]
		if dryRun {
			old, _, err := resolveOn(ctx, c, name)
			if err != nil && !notFound(err) {
				return err
			}
			a.sayTag(wire.ImageChanged{Tag: name, Old: old, New: d})
			continue
		}
		if err := a.sendImage(ctx, c, p, name, d); err != nil {
			return fmt.Errorf("send image %s: %w", name, err)
		}
		changed, err := c.TagImage(ctx, name, wire.ImageChange{Image: string(d), Source: source})
		if err != nil {
			return err
		}
		a.sayTag(changed)
	}
	return nil
}

func notFound(err error) bool {
	p, ok := err.(*wire.ProblemError)
	return ok && p.Status == 404
}

// sendImage sends what of an image a head does not have.
func (a *app) sendImage(ctx context.Context, c *wire.Client, from images.BlobReader, name string, d images.Digest) error {
	manifest, err := images.ReadBlob(from, d, images.MaxManifestSize)
	if err != nil {
		return err
	}
	if err := sendBlob(ctx, c, from, images.Blob{Digest: d, Size: int64(len(manifest))}); err != nil {
		return err
	}
	missing, err := c.Lacks(ctx, d)
	if err != nil || len(missing) == 0 {
		return err
	}
	show := newProgress(a.err)
	defer show.close()
	var total int64
	for _, b := range missing {
		total += b.Size
	}
	var sent atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(uploads)
	for _, b := range missing {
		g.Go(func() error {
			err := sendBlob(ctx, c, from, b)
			show.update(builder.Progress{Image: name, Stage: "send", Done: sent.Add(b.Size), Total: total, Bytes: true})
			return err
		})
	}
	return g.Wait()
}

// sendBlob sends a blob again if the connection breaks: an answer under way when a head restarts.
func sendBlob(ctx context.Context, c *wire.Client, from images.BlobReader, b images.Blob) error {
	for try := 0; ; try++ {
		r, _, err := from.Open(b.Digest)
		if err != nil {
			return err
		}
		err = c.PutBlob(ctx, b, r)
		r.Close()
		if _, answered := err.(*wire.ProblemError); err == nil || answered || try == 2 {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
}

func (a *app) imageOldCommand() *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use: "old", Short: "List what a head has set aside (.old.NN), or delete it", Args: exactArgs(0),
		Long: "Lists the blobs that the head has set aside: those whose content was not what their name says, and those that no\n" +
			"image used any more when the head started. They are no longer used; delete them when you are sure.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			get, verb := c.Aside, "set aside"
			if remove {
				get, verb = c.RemoveAside, "deleted"
			}
			old, err := get(cmd.Context())
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(old)
			}
			for _, o := range old.Old {
				fmt.Fprintf(a.out, "%s  %s\n", o.Path, bytesText(o.Size))
			}
			fmt.Fprintf(a.out, "%d files %s, %s\n", old.Files, verb, bytesText(old.Bytes))
			return nil
		},
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "delete them")
	a.outputFlag(cmd)
	return cmd
}
