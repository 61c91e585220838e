package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"masthead/appliance/configuration"
	"masthead/builder"
	"masthead/images"
	"masthead/node/agent"
	"masthead/node/wire"
	"masthead/rootfs/capture"
	"masthead/rootfs/compare"
)

// captureTries is how often the root is read in all, if files change while that goes on. What has changed once is held
// in memory the next time, so that it ends.
const captureTries = 4

// captureFlags are what image capture takes.
type captureFlags struct {
	tag           string
	publish       bool
	dryRun        bool
	exclude, keep []string
}

const captureHelp = `Makes an image for workers out of the root of this head: what was installed on it since it booted comes along.

What makes it this machine, and what it keeps secret, stays out: -v names each file and why. What is mounted below / is
not seen at all: the heads' state, data volumes, bound folders. Nothing is stopped: a file that changes while it is
read is read again. Kernel, modules and initramfs are those that this head runs.

It then says how the image differs from the last one of the tag, in packages and in files. --publish makes the tag mean
it: every node that boots from then on gets it, and those that run are listed as "needs reboot".`

func (a *app) imageCaptureCommand() *cobra.Command {
	var f captureFlags
	cmd := &cobra.Command{
		Use: "capture", Short: "Make an image for workers out of this head's root, with what was installed on it", Long: captureHelp,
		Example: "  apt-get install hwloc\n  masthead image capture --dry-run -v\n  masthead image capture --publish\n  masthead node roll needs-reboot=true",
		Args:    exactArgs(0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.capture(cmd.Context(), f) },
	}
	cmd.Flags().StringVar(&f.tag, "tag", "", "tag that the image comes after (default: the image that nodes run by default)")
	cmd.Flags().BoolVar(&f.publish, "publish", false, "make the tag mean the new image")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what would stay out and which packages differ, and make nothing")
	cmd.Flags().StringArrayVar(&f.exclude, "exclude", nil, "path or pattern of paths that stay out besides; may be repeated")
	cmd.Flags().StringArrayVar(&f.keep, "keep", nil, "path that comes along though it would stay out; may be repeated")
	a.outputFlag(cmd)
	_ = cmd.RegisterFlagCompletionFunc("tag", a.completeTags(math.MaxInt, forWorkers))
	return cmd
}

// capturing is one capture under way.
type capturing struct {
	captureFlags
	head    *wire.Client
	blobs   headBlobs
	running *images.Manifest // nil: this machine was booted by something else
	last    *images.Manifest // of the tag; nil: it means nothing yet
	lastAt  images.Digest
	runsAt  images.Digest
	volumes []capture.Rule // of the folders that are on replicated volumes
}

// captured is what image capture did, for -o json.
type captured struct {
	Image      images.Digest       `json:"image,omitempty"`
	Tag        string              `json:"tag"`
	Published  bool                `json:"published"`
	Left       []capture.Left      `json:"left"`
	Difference *compare.Difference `json:"difference,omitempty"`
	Packages   *compare.Packages   `json:"packages,omitempty"` // of a dry run, which has no image to compare
}

func (a *app) capture(ctx context.Context, f captureFlags) error {
	c, err := a.beginCapture(ctx, f)
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.captureDry(ctx, c)
	}
	store, err := a.openStore("")
	if err != nil {
		return err
	}
	release, err := store.Hold() // until the tag protects what is stored
	if err != nil {
		return err
	}
	defer release()
	built, left, err := a.captureRoot(ctx, c)
	if err != nil {
		return err
	}
	out := captured{Image: built.Digest, Tag: c.tag, Left: left}
	if out.Difference, err = c.difference(ctx, built.Digest, storeFirst{store, c.blobs}); err != nil {
		return err
	}
	if err := a.sayCaptured(c, built, out); err != nil {
		return err
	}
	if !f.publish {
		if a.output != "json" {
			fmt.Fprintf(a.out, "not published: masthead image tag %s %s\n", built.Digest, c.tag)
			return nil
		}
		return a.printJSON(out)
	}
	host, _ := os.Hostname()
	changed, err := c.head.TagImage(ctx, c.tag, wire.ImageChange{Image: string(built.Digest), Source: "captured on " + host})
	if err != nil {
		return &hint{err, "masthead image tag " + string(built.Digest) + " " + c.tag}
	}
	out.Published = changed.Applied || changed.Old == changed.New
	if a.output == "json" {
		a.sayDegraded(changed.Degraded)
		return a.printJSON(out)
	}
	a.sayTag(changed)
	return a.sayOutdated(ctx, c.head)
}

// beginCapture finds out what this machine runs and what the tag means.
func (a *app) beginCapture(ctx context.Context, f captureFlags) (*capturing, error) {
	head, err := a.remote.client()
	if err != nil {
		return nil, fmt.Errorf("capture makes an image of the machine that it runs on: %w", err)
	}
	c := &capturing{captureFlags: f, head: head}
	c.blobs = headBlobs{ctx, c.head}
	data, err := os.ReadFile(images.RunManifest)
	switch {
	case errors.Is(err, fs.ErrNotExist): // a distribution that was installed as it always is, and made a head
	case err != nil:
		return nil, fmt.Errorf("read what this machine runs: %w", err)
	default:
		m, err := images.DecodeManifest(data)
		if err != nil {
			return nil, fmt.Errorf("read what this machine runs: %w", err)
		}
		c.running, c.runsAt = &m, images.DigestOf(data)
	}
	if c.volumes, err = volumeRules(ctx, c.head); err != nil {
		return nil, err
	}
	list, err := c.head.Images(ctx)
	if err != nil {
		return nil, err
	}
	if c.tag == "" {
		if c.tag, err = c.defaultTag(ctx, list); err != nil {
			return nil, err
		}
	}
	if err := images.ValidName(c.tag); err != nil {
		return nil, usageError{fmt.Errorf("--tag: %w", err)}
	}
	for _, i := range list {
		if i.Tag != c.tag {
			continue
		}
		if i.Role == images.RoleHead {
			return nil, &hint{fmt.Errorf("%s is an image of heads, and what is captured is one for workers", c.tag), "masthead image capture --tag worker"}
		}
		m, _, err := c.head.Manifest(ctx, i.Digest)
		if err != nil {
			return nil, err
		}
		c.last, c.lastAt = &m, i.Digest
	}
	return c, nil
}

// defaultTag is the image that nodes run for which nobody has named another.
func (c *capturing) defaultTag(ctx context.Context, list []wire.Image) (string, error) {
	settings, err := c.head.Settings(ctx)
	if err != nil {
		return "", err
	}
	if images.ValidName(settings.DefaultImage) == nil {
		return settings.DefaultImage, nil
	}
	var workers []string
	for _, i := range list {
		if i.Role == images.RoleWorker {
			workers = append(workers, i.Tag)
		}
	}
	switch len(workers) {
	case 0:
		return string(images.RoleWorker), nil
	case 1:
		return workers[0], nil
	}
	return "", &hint{fmt.Errorf("there are several images for workers and none is the default: %s", strings.Join(workers, ", ")), "masthead image capture --tag " + workers[0]}
}

// config is how the root is read.
func (c *capturing) config(before *capture.Root) capture.Config {
	host, _ := os.Hostname()
	return capture.Config{Exclude: c.exclude, Keep: c.keep, Further: c.volumes, Before: before, Edits: map[string]func(string) string{
		"etc/hosts": func(text string) string { return withoutSelf(agent.WithoutBlock(text), host) },
	}}
}

// volumeRules leave out what lies beneath the folders that are on replicated volumes: it was copied onto the volume and
// stays where it was, as old as that. On a standby nothing is mounted over it.
func volumeRules(ctx context.Context, c *wire.Client) ([]capture.Rule, error) {
	cfg, err := c.Cluster(ctx)
	if err != nil || cfg.Text == "" {
		return nil, err
	}
	doc, err := configuration.Parse("cluster", []byte(cfg.Text))
	if err != nil {
		return nil, err
	}
	var all []capture.Rule
	for _, v := range doc.Data {
		for _, folder := range v.Folders {
			if folder = strings.Trim(folder, "/"); folder != "" {
				all = append(all, capture.Rule{Pattern: quotePattern(folder) + "/*", Why: "the replicated volume " + v.Name + " is the heads'"})
			}
		}
	}
	return all, nil
}

// quotePattern is a path as a pattern of path.Match that only it matches.
func quotePattern(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// withoutSelf takes the line of a hosts file out by which Debian machines know their own name (hosts(5)).
func withoutSelf(text, host string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "127.0.1.1" && (f[1] == host || strings.HasPrefix(f[1], host+".")) {
			continue
		}
		b.WriteString(line)
	}
	return b.String()
}

// captureRoot reads the root and makes the image, again if files have changed meanwhile.
func (a *app) captureRoot(ctx context.Context, c *capturing) (builder.Built, []capture.Left, error) {
	// The cache of a build would lie in /root, which a head that booted from a medium has in memory.
	bin, err := os.Executable()
	if err != nil {
		return builder.Built{}, nil, fmt.Errorf("find this program: %w", err)
	}
	store, err := a.openStore("")
	if err != nil {
		return builder.Built{}, nil, err
	}
	epoch, err := sourceDateEpoch()
	if err != nil {
		return builder.Built{}, nil, err
	}
	show := newProgress(a.err)
	defer show.close()
	b, err := builder.New(builder.Config{
		Store: store, Cache: filepath.Join(store.Dir(), "tmp", "capture"), Binary: bin, Epoch: epoch, Progress: show.update, Log: a.log,
	})
	if err != nil {
		return builder.Built{}, nil, err
	}
	var before *capture.Root
	for try := 1; ; try++ {
		show.update(builder.Progress{Image: c.tag, Stage: "read"})
		root, err := capture.Read(ctx, c.config(before))
		if before != nil {
			before.Close()
		}
		if err != nil {
			return builder.Built{}, nil, err
		}
		built, err := b.Capture(ctx, builder.Capture{Name: c.tag, Tree: root.Tree, Running: c.running, Like: c.last, Blobs: c.blobs})
		path, changed := capture.Changed(err)
		if !changed || try == captureTries {
			root.Close()
			if changed {
				err = &hint{fmt.Errorf("%w, %d times", err, try), "stop what writes it, or leave it out: masthead image capture --exclude " + path}
			}
			return built, root.Left, err
		}
		show.close()
		fmt.Fprintf(a.err, "%s changed while it was read: reading again\n", path)
		before = root
	}
}

// difference compares the new image with the last one of the tag, or with what this head runs if there is none.
func (c *capturing) difference(ctx context.Context, d images.Digest, blobs images.BlobReader) (*compare.Difference, error) {
	from := c.lastAt
	if from == "" {
		from = c.runsAt
	}
	if from == "" {
		return nil, nil
	}
	diff, err := diffImages(ctx, blobs, from, d)
	if err != nil {
		return nil, err
	}
	return &diff, nil
}

// captureDry says what a capture would leave out, and how the packages differ.
func (a *app) captureDry(ctx context.Context, c *capturing) error {
	root, err := capture.Read(ctx, c.config(nil))
	if err != nil {
		return err
	}
	defer root.Close()
	out := captured{Tag: c.tag, Left: root.Left}
	from := c.lastAt
	if from == "" {
		from = c.runsAt
	}
	if from != "" {
		old, err := compare.Open(c.blobs, from)
		if err != nil {
			return err
		}
		defer old.Close()
		was, err := old.Installed()
		if err != nil {
			return err
		}
		is, err := compare.Installed(root.Tree.FS())
		if err != nil {
			return err
		}
		p := compare.CompareInstalled(was, is)
		out.Packages = &p
	}
	if a.output == "json" {
		return a.printJSON(out)
	}
	fmt.Fprintf(a.out, "would make an image for workers of this machine's root, after %s %s\n", c.tag, orDash(from.Short()))
	a.sayLeft(root.Left)
	if out.Packages != nil {
		a.sayPackages(*out.Packages)
	}
	if c.publish {
		fmt.Fprintf(a.out, "would publish it as %s\n", c.tag)
	}
	return nil
}
