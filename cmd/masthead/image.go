package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"masthead/builder"
	"masthead/images"
	"masthead/node/wire"
)

func (a *app) imageCommand() *cobra.Command {
	var store string
	cmd := &cobra.Command{Use: "image", Short: "Look after the images of the cluster, or of a store",
		Long: "Looks after images. On a head, and with --head or --lab, they are those of the cluster: every head hears of a\n" +
			"change and fetches what it does not have. Elsewhere, and with --store, they are those of a store."}
	cmd.PersistentFlags().StringVar(&store, "store", "", "folder of a store, not the cluster's images (default without a head: in the cache folder)")
	open := func() (*images.Store, error) { return a.openStore(store) }
	cmd.AddCommand(a.imageBuildCommand(), a.imageListCommand(open), a.imageShowCommand(open), a.imageTagCommand(open),
		a.imageRollbackCommand(open), a.imageExportCommand(open), a.imageImportCommand(open), a.imageRemoveCommand(open), a.imageOldCommand(),
		actsHere(a.imageCaptureCommand()), a.imageDiffCommand(open))
	return cmd
}

type openStore func() (*images.Store, error)

// with runs f with the store and the image that ref, a tag or a digest, names.
func (open openStore) with(ref string, f func(*images.Store, images.Digest) error) error {
	s, err := open()
	if err != nil {
		return err
	}
	d, err := s.Resolve(ref)
	if err != nil {
		return &hint{err, "masthead image list"}
	}
	return f(s, d)
}

func (a *app) imageBuildCommand() *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:   "build DEFINITION",
		Short: "Build an image into the store and tag it with its name",
		Args:  exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			def, err := loadDefinition(args[0])
			if err != nil {
				return err
			}
			if f.dryRun {
				return a.describePlan([]*images.Definition{def}, "the image store")
			}
			b, show, err := a.builder(f)
			if err != nil {
				return err
			}
			defer show.close()
			built, err := b.Image(cmd.Context(), def)
			if err != nil {
				return err
			}
			show.close()
			a.sayBuilt(built)
			return a.publishBuilt(cmd, f, def.Name)
		},
	}
	f.add(cmd, false)
	return cmd
}

// publishBuilt tells the head on this machine of an image that was built into its store.
func (a *app) publishBuilt(cmd *cobra.Command, f buildFlags, name string) error {
	if _, err := os.Stat(images.APISocket); err != nil || f.store != "" {
		return nil
	}
	s, err := a.openStore("")
	if err != nil {
		return err
	}
	d, err := s.Resolve(name)
	if err != nil {
		return err
	}
	changed, err := wire.NewUnixClient(images.APISocket).TagImage(cmd.Context(), name, wire.ImageChange{Image: string(d), Source: "built"})
	if err != nil {
		return &hint{err, "masthead image tag " + string(d) + " " + name}
	}
	a.sayTag(changed)
	return nil
}

func (a *app) imageListCommand(open openStore) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List images with their digests and sizes", Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.listImages(cmd, open)
			if err != nil {
				return err
			}
			return a.printImages(list)
		},
	}
	a.outputFlag(cmd)
	return cmd
}

// listImages asks the head, which also knows the images of its medium and of the other heads, or else reads the store.
func (a *app) listImages(cmd *cobra.Command, open openStore) ([]wire.Image, error) {
	c, err := a.imagesHead(cmd)
	if err != nil {
		return nil, err
	}
	if c != nil {
		return c.Images(cmd.Context())
	}
	s, err := open()
	if err != nil {
		return nil, err
	}
	return wire.ImagesOf(s)
}

func (a *app) printImages(list []wire.Image) error {
	if a.output == "json" {
		return a.printJSON(list)
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tDIGEST\tROLE\tKERNEL\tROOT\tSTORED\tVERSIONS")
	for _, i := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\n", i.Tag, i.Digest.Short(), orDash(string(i.Role)), orDash(i.Kernel), bytesText(i.Size), bytesText(i.Stored), i.History)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, i := range list {
		if i.Missing > 0 {
			fmt.Fprintf(a.out, "%s: %s are not on this head yet\n", i.Tag, bytesText(i.Missing))
		}
		if i.Note != "" {
			fmt.Fprintf(a.out, "%s: %s\n", i.Tag, i.Note)
		}
	}
	return nil
}

func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (a *app) imageShowCommand(open openStore) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show IMAGE", Short: "Show one image: what it is made of, and what its tag meant before", Args: exactArgs(1), ValidArgsFunction: a.completeTags(1, forAnyMachine),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.imagesHead(cmd)
			if err != nil {
				return err
			}
			if c != nil {
				return a.showImageOn(cmd.Context(), c, args[0])
			}
			return open.with(args[0], func(s *images.Store, d images.Digest) error { return a.showImage(s, args[0], d) })
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) showImage(s *images.Store, ref string, d images.Digest) error {
	m, err := s.Manifest(d)
	if err != nil {
		return err
	}
	history, _ := s.History(ref) // a digest has none
	var versions []wire.ImageVersion
	for _, h := range history {
		versions = append(versions, wire.ImageVersion{Digest: h})
	}
	return a.printImage(m, d, versions)
}

// printImage prints a manifest and what its tag has meant.
func (a *app) printImage(m images.Manifest, d images.Digest, versions []wire.ImageVersion) error {
	if a.output == "json" {
		return a.printJSON(m)
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "digest\t%s\nname\t%s\nrole\t%s\nkernel\t%s, %s\ninitramfs\t%s\ncommand line\t%s\ninit\t%s\nroot\t%s in %d chunks, %s stored\n",
		d, m.Name, m.Role, m.KernelRelease, bytesText(m.Kernel.Size), bytesText(m.Initramfs.Size), m.Cmdline, orDash(m.Init),
		bytesText(m.Root.Size), len(m.Root.Chunks), bytesText(m.Root.Stored()))
	for i := len(versions) - 1; i >= 0; i-- {
		v := versions[i]
		if i == len(versions)-1 {
			if v.Source != "" {
				fmt.Fprintf(w, "source\t%s, %s\n", v.Source, v.Time.Local().Format("2006-01-02 15:04"))
			}
			continue
		}
		fmt.Fprintf(w, "before\t%s", v.Digest)
		if v.Source != "" {
			fmt.Fprintf(w, " (%s, %s)", v.Source, v.Time.Local().Format("2006-01-02 15:04"))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) imageTagCommand(open openStore) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "tag IMAGE NAME", Short: "Give an image (a tag or a digest) a name; the name's old meaning stays in its history", Args: exactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.imagesHead(cmd)
			if err != nil {
				return err
			}
			if c != nil {
				changed, err := c.TagImage(cmd.Context(), args[1], wire.ImageChange{Image: args[0], DryRun: dryRun})
				if err == nil {
					a.sayTag(changed)
				}
				return err
			}
			return open.with(args[0], func(s *images.Store, d images.Digest) error {
				if dryRun {
					old, _ := s.Resolve(args[1])
					a.sayTag(wire.ImageChanged{Tag: args[1], Old: old, New: d})
					return nil
				}
				return s.Tag(args[1], d)
			})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would change, and change nothing")
	return cmd
}

func (a *app) imageRollbackCommand(open openStore) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "rollback NAME", Short: "Make a tag mean what it meant before", Args: exactArgs(1), ValidArgsFunction: a.completeTags(1, forAnyMachine),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.imagesHead(cmd)
			if err != nil {
				return err
			}
			if c != nil {
				changed, err := c.RollbackImage(cmd.Context(), args[0], wire.ImageChange{DryRun: dryRun})
				if err == nil {
					a.sayTag(changed)
				}
				return err
			}
			s, err := open()
			if err != nil {
				return err
			}
			history, err := s.History(args[0])
			if err != nil {
				return &hint{err, "masthead image list"}
			}
			if len(history) < 2 {
				return fmt.Errorf("image %s has had only one version", args[0])
			}
			now, before := history[len(history)-1], history[len(history)-2]
			fmt.Fprintf(a.out, "%s: %s -> %s\n", args[0], now.Short(), before.Short())
			if dryRun {
				return nil
			}
			return s.Tag(args[0], before)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would change, and change nothing")
	return cmd
}

func (a *app) imageExportCommand(open openStore) *cobra.Command {
	return &cobra.Command{
		Use: "export IMAGE FILE", Short: "Write an image as one pack", Args: exactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			export := func(from images.BlobReader, d images.Digest) error {
				name := args[0]
				if _, err := images.ParseDigest(name); err == nil {
					m, err := images.ReadManifest(from, d)
					if err != nil {
						return err
					}
					name = m.Name // a digest has no name of its own
				}
				return builder.Export(cmd.Context(), from, map[string]images.Digest{name: d}, args[1])
			}
			c, err := a.imagesHead(cmd)
			if err != nil {
				return err
			}
			if c != nil {
				d, _, err := resolveOn(cmd.Context(), c, args[0])
				if err != nil {
					return err
				}
				return export(headBlobs{cmd.Context(), c}, d)
			}
			return open.with(args[0], func(s *images.Store, d images.Digest) error { return export(s, d) })
		},
	}
}

func (a *app) imageImportCommand(open openStore) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Take in the images of a pack, each blob verified; what is there already is not sent again", Args: exactArgs(1),
		Example: "  masthead image import out/worker/worker" + builder.PackSuffix,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := images.OpenPackFile(filepath.Clean(args[0]))
			if err != nil {
				return err
			}
			c, err := a.imagesHead(cmd)
			if err != nil {
				return err
			}
			if c != nil {
				return a.importTo(cmd.Context(), c, p, filepath.Base(args[0]), dryRun)
			}
			s, err := open()
			if err != nil {
				return err
			}
			if !dryRun {
				if err := s.Import(p); err != nil {
					return err
				}
			}
			for tag, d := range p.Tags() {
				fmt.Fprintf(a.out, "%s: %s\n", tag, d.Short())
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would change, and change nothing")
	return cmd
}

func (a *app) imageRemoveCommand(open openStore) *cobra.Command {
	var dryRun, force bool
	cmd := &cobra.Command{
		Use: "rm NAME…", Short: "Forget tags with their history, and free what nothing refers to", Args: someArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.imagesHead(cmd)
			if err != nil {
				return err
			}
			if c != nil {
				for _, name := range args {
					changed, err := c.RemoveImage(cmd.Context(), name, dryRun, force)
					if err != nil {
						return err
					}
					fmt.Fprintf(a.out, "%s: %s %s\n", changed.Tag, removal(changed.Applied), changed.Old.Short())
					a.sayDegraded(changed.Degraded)
				}
				return nil
			}
			s, err := open()
			if err != nil {
				return err
			}
			// The tags in the store of a head are not all that is used: only the head itself knows what can go.
			if _, err := os.Stat(filepath.Join(s.Dir(), "..", "state", "state.db")); err == nil {
				return &hint{fmt.Errorf("%s is the store of a head, which must do this itself", s.Dir()), "masthead head run, then masthead image rm " + strings.Join(args, " ")}
			}
			for _, name := range args {
				history, err := s.History(name)
				if err != nil {
					return &hint{err, "masthead image list"}
				}
				var short []string
				for _, d := range history {
					short = append(short, d.Short())
				}
				if !dryRun {
					if err := s.Untag(name); err != nil {
						return err
					}
				}
				fmt.Fprintf(a.out, "%s: %s %s\n", name, removal(!dryRun), strings.Join(short, " "))
			}
			if dryRun {
				return nil
			}
			freed, err := s.Collect(images.Roots{})
			fmt.Fprintf(a.out, "freed %s\n", bytesText(freed))
			return err
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be removed, and remove nothing")
	cmd.Flags().BoolVar(&force, "force", false, "remove also a tag of the cluster that nodes, groups or the settings need")
	return cmd
}

func removal(applied bool) string {
	if applied {
		return "removed"
	}
	return "would remove"
}
