package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/node"
	"masthead/node/agent"
	"masthead/node/console"
	"masthead/node/kmod"
	"masthead/node/rootdev"
	"masthead/node/stages"
	"masthead/node/tools"
)

// bootMachine is PID 1 in the initramfs. When it returns the kernel panics, and restarts after the delay that init set.
func bootMachine() int {
	out := openConsole()
	logger := slog.New(console.NewHandler(out, slog.LevelInfo, nil))
	log.SetOutput(discard{}) // u-root's packages log there what our own lines say already
	err := node.Run(context.Background(), out, logger)
	// Run may have closed the console before it failed.
	out = openConsole()
	slog.New(console.NewHandler(out, slog.LevelInfo, nil)).Error("init ended", "err", err)
	_ = out.Close()
	return exitFailed
}

// discard drops what is written to it.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// openConsole opens the console. PID 1 starts before /dev is mounted: the node that the initramfs has serves until then.
func openConsole() *console.Writer {
	w, err := console.Open("/dev/console", 0)
	if err != nil {
		// A machine without any console still boots; what it says goes to the head.
		w, err = console.Open(os.DevNull, 0)
		if err != nil {
			panic(err) // not even /dev/null: this is no initramfs of ours
		}
	}
	return w
}

// secondInit is PID 1 of a root without an init of its own.
func secondInit() int {
	out := openConsole()
	logger := slog.New(console.NewHandler(out, slog.LevelInfo, nil))
	logger.Error("init ended", "err", node.Second(logger))
	_ = out.Close()
	return exitFailed
}

// rootServer is the process behind the root's block device.
func rootServer() int {
	if err := rootdev.Process(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "masthead-rootd:", err)
		return exitFailed
	}
	return 0
}

// toolSet is the tools of a minimal image, as this machine runs them.
func toolSet() *tools.Set {
	return tools.New(tools.Hooks{Modprobe: func(ctx context.Context, name, params string) error {
		loader, err := kmod.New("/", "")
		if err != nil {
			return err
		}
		return loader.Load(ctx, name, params)
	}})
}

// runTool is this program under the name of a tool.
func runTool(tool tools.Tool, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	args = args[1:]
	if tool.Name == "modprobe" && len(args) > 1 && args[0] == "-q" {
		// The kernel asks for a file system or a character set: modprobe -q -- NAME.
		name, err := kmod.Request(args)
		if err != nil {
			return exitUsage
		}
		args = []string{name}
	}
	return tool.Run(ctx, tools.Process(), args)
}

func (a *app) agentCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "agent",
		Short:  "Report this machine to its head and keep its lease (started at boot)",
		Args:   exactArgs(0),
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := node.Arrive(cmd.Context(), a.log); err != nil {
				return err
			}
			cfg, err := agent.LoadConfig(images.RunNode)
			if err != nil {
				return &hint{err, "the agent runs on machines that masthead booted"}
			}
			rec, err := stages.Load(images.RunStages)
			if err != nil {
				a.log.Warn("stages of this boot", "err", err)
			}
			rec.Uptime = func() time.Duration { return stages.Uptime() - cfg.Began }
			var root agent.Root
			if _, err := os.Stat(images.RootdSocket); err == nil {
				root = rootdev.Dial(images.RootdSocket)
			}
			return agent.New(cfg, rec, root, a.log).Run(cmd.Context())
		},
	}
}
