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
	cmd := &cobra.Command{Use: "image", Short: "Look after the images of a store"}
	cmd.PersistentFlags().StringVar(&store, "store", "", "image store (default: the head's own on a head, else in the cache folder)")
	open := func() (*images.Store, error) { return a.openStore(store) }
	cmd.AddCommand(a.imageBuildCommand(), a.imageListCommand(open), a.imageShowCommand(open), a.imageTagCommand(open),
		a.imageRollbackCommand(open), a.imageExportCommand(open), a.imageImportCommand(open), a.imageRemoveCommand(open))
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
			def, err := images.LoadDefinition(args[0])
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
			return nil
		},
	}
	f.add(cmd, false)
	return cmd
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

// listImages asks the head on this machine, which also knows the images of its medium, or else reads the store.
func (a *app) listImages(cmd *cobra.Command, open openStore) ([]wire.Image, error) {
	if _, err := os.Stat(images.APISocket); err == nil && !cmd.Flags().Changed("store") {
		return wire.NewUnixClient(images.APISocket).Images(cmd.Context())
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
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\n", i.Tag, i.Digest.Short(), i.Role, i.Kernel, bytesText(i.Size), bytesText(i.Stored), i.History)
	}
	return w.Flush()
}

func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (a *app) imageShowCommand(open openStore) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show IMAGE", Short: "Show one image: what it is made of, and what its tag meant before", Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
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
	if a.output == "json" {
		return a.printJSON(m)
	}
	history, _ := s.History(ref) // a digest has none
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "digest\t%s\nname\t%s\nrole\t%s\nkernel\t%s, %s\ninitramfs\t%s\ncommand line\t%s\ninit\t%s\nroot\t%s in %d chunks, %s stored\n",
		d, m.Name, m.Role, m.KernelRelease, bytesText(m.Kernel.Size), bytesText(m.Initramfs.Size), m.Cmdline, orDash(m.Init),
		bytesText(m.Root.Size), len(m.Root.Chunks), bytesText(m.Root.Stored()))
	for i := len(history) - 2; i >= 0; i-- {
		fmt.Fprintf(w, "before\t%s\n", history[i])
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
	return &cobra.Command{
		Use: "tag IMAGE NAME", Short: "Give an image (a tag or a digest) a name; the name's old meaning stays in its history", Args: exactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return open.with(args[0], func(s *images.Store, d images.Digest) error { return s.Tag(args[1], d) })
		},
	}
}

func (a *app) imageRollbackCommand(open openStore) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "rollback NAME", Short: "Make a tag mean what it meant before", Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
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
			return open.with(args[0], func(s *images.Store, d images.Digest) error {
				name := args[0]
				if _, err := images.ParseDigest(name); err == nil {
					m, err := s.Manifest(d)
					if err != nil {
						return err
					}
					name = m.Name // a digest has no name of its own
				}
				return builder.Export(cmd.Context(), s, map[string]images.Digest{name: d}, args[1])
			})
		},
	}
}

func (a *app) imageImportCommand(open openStore) *cobra.Command {
	return &cobra.Command{
		Use: "import FILE", Short: "Take the images of a pack into the store, each blob verified", Args: exactArgs(1),
		Example: "  masthead image import out/worker/worker" + builder.PackSuffix,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := open()
			if err != nil {
				return err
			}
			p, err := images.OpenPackFile(filepath.Clean(args[0]))
			if err != nil {
				return err
			}
			if err := s.Import(p); err != nil {
				return err
			}
			for tag, d := range p.Tags() {
				fmt.Fprintf(a.out, "%s: %s\n", tag, d.Short())
			}
			return nil
		},
	}
}

func (a *app) imageRemoveCommand(open openStore) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "rm NAME…", Short: "Forget tags with their history, and free what nothing refers to", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := open()
			if err != nil {
				return err
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
				fmt.Fprintf(a.out, "remove %s: %s\n", name, strings.Join(short, " "))
				if dryRun {
					continue
				}
				if err := s.Untag(name); err != nil {
					return err
				}
			}
			if dryRun {
				return nil
			}
			freed, err := s.Collect()
			fmt.Fprintf(a.out, "freed %s\n", bytesText(freed))
			return err
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be removed, and remove nothing")
	return cmd
}
