package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
)

// version is set by the build (-ldflags -X main.version=…).
var version = "dev"

// app is what every command needs of its surroundings.
type app struct {
	in       io.Reader
	out, err io.Writer
	ended    <-chan struct{} // closed when somebody ends the command: a question is answered no more
	log      *slog.Logger
	output   string // text or json
	verbose  bool
	remote   remote
}

// run is the whole program as a command.
func run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) error {
	a := &app{in: in, out: out, err: errw, ended: ctx.Done()}
	root := a.command()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	withGroups(root)
	return root.ExecuteContext(ctx)
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "masthead",
		Short:         "Build, boot and run a highly available Linux cluster",
		Long:          "masthead builds the bootable images of a Linux cluster, is PID 1 inside them, and runs its head nodes.",
		Version:       versionText(),
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			level := slog.LevelInfo
			if a.verbose {
				level = slog.LevelDebug
			}
			a.log = slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
			if a.output != "text" && a.output != "json" {
				return usageError{&hint{fmt.Errorf("-o %s: want text or json", a.output), cmd.CommandPath() + " --help"}}
			}
			// cobra looks at them after this, and its errors are no usage errors.
			if err := errors.Join(cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups()); err != nil {
				return usageError{&hint{err, cmd.CommandPath() + " --help"}}
			}
			return a.remote.stayHere(cmd, args)
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{&hint{err, cmd.CommandPath() + " --help"}}
	})
	root.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false, "say more")
	a.output = "text"
	a.remote.flags(root.PersistentFlags())
	root.AddCommand(a.buildCommand(), a.imageCommand(), a.fileCommand(), a.headCommand(), actsHere(a.ownerCommand()), a.nodeCommand(), a.statusCommand(), a.serviceCommand(), a.fenceCommand(), a.dataCommand(), a.snapshotCommand(), actsHere(a.drbdHandlerCommand()), a.promoteCommand(), a.clusterCommand(), a.importCommand(),
		actsHere(a.installCommand()), actsHere(a.masterMakerCommand()), actsHere(a.makerCommand()), actsHere(a.serialCommand()), actsHere(a.slotCommand()), actsHere(a.upgradeCommand()), a.labCommand(), actsHere(a.agentCommand()), actsHere(a.powerCommand()), a.stateCommand(), a.manCommand(), a.auditCommand())
	return root
}

// withGroups adds the commands that cobra has of its own, once it is known where they print, and has every command that only
// groups others show its help, or refuse what it does not have.
func withGroups(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	all := []*cobra.Command{root}
	for i := 0; i < len(all); i++ {
		all = append(all, all[i].Commands()...)
		switch c := all[i]; {
		case c.HasSubCommands() && !c.Runnable():
			c.Args = noSuchCommand
			c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		case c.Name() == "help":
			c.Args = noSuchTopic
		}
	}
}

// noSuchTopic refuses arguments of help that are no command.
func noSuchTopic(help *cobra.Command, args []string) error {
	c, rest, err := help.Root().Find(args)
	if err != nil {
		return usageError{&hint{err, help.Root().CommandPath() + " --help"}}
	}
	return noSuchCommand(c, rest)
}

// noSuchCommand refuses arguments of a command that only groups others.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError{&hint{fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0]), cmd.CommandPath() + " --help"}}
}

// outputFlag gives a listing its -o json.
func (a *app) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&a.output, "output", "o", "text", "text or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// terminal reports whether w is one that a person looks at.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// terminalIn is terminal for what is read from.
func terminalIn(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// cacheDir is where downloads and built images are kept between runs.
func cacheDir() (string, error) {
	if dir := os.Getenv("MASTHEAD_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", &hint{fmt.Errorf("find the cache folder: %w", err), "export MASTHEAD_CACHE=/var/cache/masthead"}
	}
	return filepath.Join(dir, "masthead"), nil
}

func versionText() string {
	if version != "dev" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return "dev-" + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return version
}
