package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"masthead/images"
	"masthead/node/wire"
)

func (a *app) fileCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "file", Short: "Keep ordinary files the same on all heads",
		Long: `Keeps ordinary files (hosts, keys, certificates, any configuration) the same on all heads, with owner, mode and history.

A new version is on every head within a second or two. What a head has under the path before the first version, and is
not one of the versions, is kept there as PATH.old.NN. A file that somebody changes on a head later stays as it is and
is reported, by "masthead status" and "file diff": decide with "file add" (the change becomes everybody's) or "file
restore" (the cluster's version comes back). After the machine has booted anew it has the cluster's version again.`,
	}
	cmd.AddCommand(a.fileAddCommand(), a.fileListCommand(), a.fileShowCommand(), a.fileDiffCommand(), a.fileHistoryCommand(),
		a.fileRollbackCommand(), a.fileRestoreCommand(), a.fileRemoveCommand())
	return cmd
}

func (a *app) fileAddCommand() *cobra.Command {
	var from, mode, owner, group string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "add PATH", Short: "Make this machine's file that of all heads, now or as a new version", Args: exactArgs(1),
		Example: "  masthead file add /etc/hosts\n" +
			"  masthead file add /etc/ssl/private/web.key --from web.key --mode 0640 --owner root:ssl-cert --dry-run",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			path := args[0]
			if from == "" {
				from = path
			}
			change, content, err := readFileChange(path, from)
			if err != nil {
				return err
			}
			if err := keepRights(cmd.Context(), c, &change); err != nil {
				return err
			}
			if mode != "" {
				m, err := strconv.ParseUint(mode, 8, 32)
				if err != nil || m > 0o7777 {
					return usageError{&hint{fmt.Errorf("--mode %s: want octal digits, such as 0640", mode), cmd.CommandPath() + " --help"}}
				}
				change.Mode = uint32(m)
			}
			if owner != "" {
				setOwner(&change, owner)
			}
			if group != "" {
				setGroup(&change, group)
			}
			change.DryRun = dryRun
			if !dryRun {
				if err := c.PutFileBlob(cmd.Context(), images.Blob{Digest: change.Digest, Size: change.Size}, bytes.NewReader(content)); err != nil {
					return err
				}
			}
			return a.sayFile(c.AddFile(cmd.Context(), change))
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "take the content from this file (default: PATH)")
	cmd.Flags().StringVar(&mode, "mode", "", "permissions in octal (default: as it is kept already, else those of the file)")
	cmd.Flags().StringVar(&owner, "owner", "", "USER or USER:GROUP (default: as it is kept already, else those of the file)")
	cmd.Flags().StringVar(&group, "group", "", "GROUP (default: the same)")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would change, and change nothing")
	a.outputFlag(cmd)
	return cmd
}

// keepRights leaves a file that is kept already its mode and owner: a key that was renewed somewhere else, with the mode of
// any new file there, must not become readable for everybody.
func keepRights(ctx context.Context, c *wire.Client, ch *wire.FileChange) error {
	f, err := c.File(ctx, ch.Path)
	if notFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	v := f.Now()
	ch.Mode, ch.Owner, ch.Group, ch.UID, ch.GID = v.Mode, v.Owner, v.Group, v.UID, v.GID
	return nil
}

// readFileChange reads a file with what is known of it.
func readFileChange(path, from string) (wire.FileChange, []byte, error) {
	ch := wire.FileChange{Path: path}
	st, err := os.Lstat(from)
	if err != nil {
		return ch, nil, err
	}
	if st.Mode()&fs.ModeSymlink != 0 {
		return ch, nil, linkError(from)
	}
	if !st.Mode().IsRegular() {
		return ch, nil, fmt.Errorf("%s is no regular file; only files are kept the same, not folders", from)
	}
	if st.Size() > wire.MaxFile {
		return ch, nil, &hint{fmt.Errorf("%s has %s; at most %s", from, bytesText(st.Size()), bytesText(wire.MaxFile)), "put it into an image"}
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return ch, nil, err
	}
	ch.Digest, ch.Size, ch.Mode = images.DigestOf(content), int64(len(content)), uint32(st.Mode().Perm())
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		ch.Mode = sys.Mode & 0o7777
		ch.UID, ch.GID = int(sys.Uid), int(sys.Gid)
		if u, err := user.LookupId(strconv.Itoa(ch.UID)); err == nil {
			ch.Owner = u.Username
		}
		if g, err := user.LookupGroupId(strconv.Itoa(ch.GID)); err == nil {
			ch.Group = g.Name
		}
	}
	return ch, content, nil
}

// linkError refuses a link and names the file that it means, if that can be kept the same.
func linkError(link string) error {
	to, err := filepath.EvalSymlinks(link)
	if err != nil {
		return fmt.Errorf("%s is a link to nothing: %w", link, err)
	}
	for _, own := range []string{"/proc/", "/sys/", "/dev/", "/run/"} {
		if strings.HasPrefix(to, own) {
			text, err := os.Readlink(link)
			if err != nil {
				return err
			}
			return fmt.Errorf("%s is a link to %s, below %s, which every machine makes anew", link, text, strings.TrimSuffix(own, "/"))
		}
	}
	if st, err := os.Stat(to); err != nil || !st.Mode().IsRegular() {
		return fmt.Errorf("%s is a link to %s, which is no regular file", link, to)
	}
	return &hint{fmt.Errorf("%s is a link", link), "masthead file add " + to}
}

// setOwner takes USER[:GROUP]. A name that this machine does not know may be known to the heads; numbers are given as
// numbers.
func setOwner(ch *wire.FileChange, owner string) {
	who, group, both := strings.Cut(owner, ":")
	ch.Owner, ch.UID = named(who, func(s string) (string, error) {
		u, err := user.Lookup(s)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
	if both {
		setGroup(ch, group)
	}
}

func setGroup(ch *wire.FileChange, group string) {
	ch.Group, ch.GID = named(group, func(s string) (string, error) {
		g, err := user.LookupGroup(s)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
}

// named is a name and its number; an unknown name has that of nobody, so that it never becomes root's by mistake.
func named(s string, lookup func(string) (string, error)) (string, int) {
	if n, err := strconv.Atoi(s); err == nil {
		return "", n
	}
	id, err := lookup(s)
	if err != nil {
		return s, nobody
	}
	n, _ := strconv.Atoi(id)
	return s, n
}

const nobody = 65534

// sayFile tells what a change does or did.
func (a *app) sayFile(c wire.FileChanged, err error) error {
	if err != nil {
		return err
	}
	if a.output == "json" {
		return a.printJSON(c)
	}
	how := "would change"
	switch {
	case len(c.Diff) == 0:
		how = "nothing to change"
	case c.Applied:
		how = "changed"
	}
	fmt.Fprintf(a.out, "%s: %s\n", c.Path, how)
	a.printDifferences(c.Diff)
	a.sayDegraded(c.Degraded)
	return nil
}

func (a *app) printDifferences(diff []wire.Difference) {
	for _, d := range diff {
		fmt.Fprintf(a.out, "  %s: %s -> %s\n", d.Field, orDash(d.Old), orDash(d.New))
	}
}

func (a *app) fileListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the files that are the same on all heads", Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			list, err := c.Files(cmd.Context())
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(list)
			}
			w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "PATH\tSIZE\tMODE\tOWNER\tCHANGED\tVERSIONS\tON THIS HEAD")
			for _, f := range list {
				v, here := f.Now(), "right"
				if len(f.Differs) > 0 {
					here = "differs: masthead file diff " + f.Path
				}
				fmt.Fprintf(w, "%s\t%s\t%04o\t%s\t%s\t%d\t%s\n", f.Path, bytesText(v.Size), v.Mode, ownerText(v), ago(v.Time), len(f.Versions), here)
			}
			return w.Flush()
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func ownerText(v wire.FileVersion) string {
	part := func(name string, id int) string {
		if name == "" {
			return strconv.Itoa(id)
		}
		return name
	}
	return part(v.Owner, v.UID) + ":" + part(v.Group, v.GID)
}

func (a *app) fileShowCommand() *cobra.Command {
	var content bool
	cmd := &cobra.Command{
		Use: "show PATH", Short: "Show a file as the cluster has it", Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			f, err := c.File(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if content {
				return a.writeContent(cmd.Context(), c, f.Now())
			}
			if a.output == "json" {
				return a.printJSON(f)
			}
			v := f.Now()
			w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
			fmt.Fprintf(w, "path\t%s\ncontent\t%d bytes, %s\nmode\t%04o\nowner\t%s\nchanged\t%s by %s on %s\nversions\t%d\n",
				f.Path, v.Size, v.Digest, v.Mode, ownerText(v), v.Time.Local().Format("2006-01-02 15:04:05"), v.Who, v.Where, len(f.Versions))
			if err := w.Flush(); err != nil {
				return err
			}
			a.printFileDifferences(f.Differs)
			return nil
		},
	}
	cmd.Flags().BoolVar(&content, "content", false, "write the content itself to standard output")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) writeContent(ctx context.Context, c *wire.Client, v wire.FileVersion) error {
	r, err := c.FileBlob(ctx, v.Digest)
	if err != nil {
		return err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, wire.MaxFile+1))
	if err != nil {
		return err
	}
	if images.DigestOf(data) != v.Digest {
		return errors.New("the head gave something else than this file's content")
	}
	_, err = a.out.Write(data)
	return err
}

func (a *app) fileDiffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "diff [PATH]", Short: "Say what differs where, asked of all heads now", Args: rangeArgs(0, 1),
		Long: "Asks every configured head for its files. The exit code is 1 unless all answer and all files are as the cluster has\nthem.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			list, err := c.FileDiff(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			switch {
			case a.output == "json":
				if err := a.printJSON(list); err != nil {
					return err
				}
			case len(list) == 0:
				fmt.Fprintln(a.out, "the same on all heads")
			default:
				a.printFileDifferences(list)
			}
			return filesVerdict(list)
		},
	}
	a.outputFlag(cmd)
	return cmd
}

// filesVerdict is nil if the files of all heads are as the cluster has them.
func filesVerdict(list []wire.FileDifference) error {
	if slices.ContainsFunc(list, func(d wire.FileDifference) bool { return d.Path != "" }) {
		return &hint{errors.New("the files differ"), "masthead file add PATH, or masthead file restore PATH"}
	}
	if len(list) > 0 {
		return &hint{errors.New("not all heads have answered"), "masthead head list"}
	}
	return nil
}

func (a *app) printFileDifferences(list []wire.FileDifference) {
	for _, d := range list {
		if d.Path == "" { // about the head itself
			fmt.Fprintf(a.out, "%s %s\n", d.Head, d.Reason)
		} else {
			fmt.Fprintf(a.out, "%s: %s: %s\n", d.Head, d.Path, d.Reason)
		}
		for _, f := range d.Diff {
			fmt.Fprintf(a.out, "  %s: %s, here %s\n", f.Field, orDash(f.Old), orDash(f.New))
		}
		if d.Try != "" {
			fmt.Fprintf(a.out, "  try: %s\n", d.Try)
		}
	}
}

func (a *app) fileHistoryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "history PATH", Short: "List the versions of a file, the newest first", Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			f, err := c.File(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(f.Versions)
			}
			w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "TIME\tBY\tON\tSIZE\tMODE\tOWNER\tCONTENT")
			for i := len(f.Versions) - 1; i >= 0; i-- {
				v := f.Versions[i]
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%04o\t%s\t%s\n", v.Time.Local().Format("2006-01-02 15:04:05"), v.Who, v.Where,
					bytesText(v.Size), v.Mode, ownerText(v), v.Digest.Short())
			}
			return w.Flush()
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) fileRollbackCommand() *cobra.Command {
	return a.fileChangeCommand("rollback PATH", "Give a file the version before on all heads", (*wire.Client).RollbackFile)
}

func (a *app) fileRestoreCommand() *cobra.Command {
	return a.fileChangeCommand("restore PATH", "Put the cluster's version in place on all heads; what was changed there is kept as PATH.old.NN",
		(*wire.Client).RestoreFile)
}

func (a *app) fileRemoveCommand() *cobra.Command {
	return a.fileChangeCommand("rm PATH", "Keep a file the same no longer; it stays where it is on every head",
		func(c *wire.Client, ctx context.Context, ch wire.FileChange) (wire.FileChanged, error) {
			return c.RemoveFile(ctx, ch.Path, ch.DryRun)
		})
}

func (a *app) fileChangeCommand(use, short string, change func(*wire.Client, context.Context, wire.FileChange) (wire.FileChanged, error)) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: use, Short: short, Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			return a.sayFile(change(c, cmd.Context(), wire.FileChange{Path: args[0], DryRun: dryRun}))
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would change, and change nothing")
	a.outputFlag(cmd)
	return cmd
}
