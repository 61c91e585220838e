package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"masthead/appliance/nodeset"
	"masthead/node/wire"
)

// nodeDoCommands have nodes do something.
func (a *app) nodeDoCommands() []*cobra.Command {
	return []*cobra.Command{a.nodeExecCommand(), a.nodeCopyCommand(), a.nodeScriptCommand()}
}

// commandFlags are what all commands on nodes have in common.
type commandFlags struct {
	timeout time.Duration
	fanout  int
	label   bool
	dryRun  bool
}

func (f *commandFlags) add(a *app, cmd *cobra.Command, timeout time.Duration) {
	cmd.Flags().DurationVar(&f.timeout, "timeout", timeout, "time for each node; what is not done then is killed")
	cmd.Flags().IntVar(&f.fanout, "fanout", wire.DefaultFanout, "nodes at once")
	cmd.Flags().BoolVarP(&f.label, "label", "l", false, "print each line as it comes, with its node in front, instead of folding what is the same")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "say which nodes it would reach, and do nothing")
	a.outputFlag(cmd)
}

// request completes what was asked for.
func (f *commandFlags) request(set string, c wire.Command) wire.CommandRequest {
	c.Timeout, c.Output = f.timeout.Seconds(), wire.DefaultCommandOutput
	if names, err := nodeset.Names(set); f.label || (err == nil && len(names) == 1) {
		c.Output = 1 << 40 // it is shown as it comes, and held nowhere
	}
	return wire.CommandRequest{Nodes: set, Command: c, Fanout: f.fanout, DryRun: f.dryRun}
}

const nodeExecHelp = `Runs a command as root on nodes, in their running root, over the connection that each keeps to its head.

One argument is a line for the node's shell; several are a program and its arguments, which no shell touches.
Standard input, where it is a file or a pipe, goes to every node. Nodes that print the same are folded, with their names
above; --label prints lines as they come. Ctrl-C kills what still runs. The exit code is 0 if it was on all nodes,
else 1.

`

func (a *app) nodeExecCommand() *cobra.Command {
	var f commandFlags
	var script string
	var noInput bool
	var env []string
	cmd := &cobra.Command{
		Use: "exec NODESET -- COMMAND [ARGUMENT]...", Short: "Run a command on nodes", Long: nodeExecHelp + nodeSetHelp,
		Example: "  masthead node exec n[01-20] -- uname -r\n  masthead node exec @rack1 -- 'df -h / | tail -1'\n" +
			"  masthead node exec @all --script fix.sh --fanout 1 -- argument",
		Args: someArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			set, words := args[0], args[1:]
			if dash := cmd.ArgsLenAtDash(); dash > 1 || (dash < 0 && len(words) > 0) || dash == 0 {
				return usageError{&hint{errors.New("exec: want one node set, -- and the command"), "masthead node exec " + set + " -- " + strings.Join(words, " ")}}
			}
			c := wire.Command{Kind: wire.CommandExec, Env: env}
			input, err := a.input(noInput || f.dryRun || script == "-")
			if err != nil {
				return err
			}
			switch {
			case script != "":
				if c.Script, err = a.readScript(script); err != nil {
					return err
				}
				c.Argv = words
			case len(words) == 0:
				return usageError{&hint{errors.New("exec: no command"), "masthead node exec " + set + " -- uptime"}}
			case len(words) == 1:
				c.Shell = words[0]
			default:
				c.Argv = words
			}
			return a.runOnNodes(cmd.Context(), f, f.request(set, c), input)
		},
	}
	f.add(a, cmd, wire.DefaultCommandTimeout)
	cmd.Flags().StringVar(&script, "script", "", "run this local file there instead (- is standard input); what follows -- are its arguments")
	cmd.Flags().BoolVarP(&noInput, "no-input", "n", false, "leave standard input alone")
	cmd.Flags().StringArrayVar(&env, "env", nil, "NAME=VALUE for the command's environment; may be repeated")
	return cmd
}

// input is standard input where somebody has put something there: a file or a pipe, not a terminal.
func (a *app) input(none bool) (io.Reader, error) {
	if none || a.in == nil {
		return nil, nil
	}
	f, ok := a.in.(*os.File)
	if !ok {
		return a.in, nil
	}
	st, err := f.Stat()
	if err != nil || st.Mode()&os.ModeCharDevice != 0 {
		return nil, nil // closed, a terminal or /dev/null
	}
	return f, nil
}

func (a *app) readScript(file string) (string, error) {
	in := a.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("read the script: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, wire.MaxScript+1))
	if err != nil {
		return "", fmt.Errorf("read the script: %w", err)
	}
	if len(data) > wire.MaxScript {
		return "", &hint{fmt.Errorf("%s: a script of more than %d bytes", file, wire.MaxScript), "masthead node copy NODESET " + file + " /tmp/, then exec it there"}
	}
	if len(data) == 0 {
		return "", fmt.Errorf("%s: the script is empty", file)
	}
	return string(data), nil
}

const nodeCopyHelp = `Copies a file or a folder to nodes, with modes and times; there all of it belongs to root. Each file is there whole or
as it was before. DEST is the name of the copy; with / at its end it is the folder to copy into. What is in it besides
stays.

The root of a node that runs from memory takes as much of that as the copy is large, and forgets it with the next boot.

`

func (a *app) nodeCopyCommand() *cobra.Command {
	var f commandFlags
	cmd := &cobra.Command{
		Use: "copy NODESET SRC DEST", Short: "Copy a file or a folder to nodes", Long: nodeCopyHelp + nodeSetHelp,
		Example: "  masthead node copy n[01-20] hosts /etc/hosts\n  masthead node copy @all tools /opt/",
		Args:    exactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !path.IsAbs(args[2]) {
				return usageError{&hint{fmt.Errorf("copy: %s is not an absolute path", args[2]), "masthead node copy " + args[0] + " " + args[1] + " /" + args[2]}}
			}
			tree, err := listTree(args[1], args[2])
			if err != nil {
				return err
			}
			req := f.request(args[0], wire.Command{Kind: wire.CommandCopy, Dest: tree.dest})
			if f.dryRun {
				if a.output != "json" {
					fmt.Fprintf(a.out, "would copy %s\n", tree)
				}
				return a.runOnNodes(cmd.Context(), f, req, nil)
			}
			archive := tree.archive()
			defer archive.Close()
			return a.runOnNodes(cmd.Context(), f, req, archive)
		},
	}
	f.add(a, cmd, 10*time.Minute)
	return cmd
}

const nodeScriptHelp = `Has nodes do one of the things that they know:

  fetch-hosts   ask their head for the list of heads and the names of the cluster, and write their lines of /etc/hosts
  update-keys   ask their head for the administrators' SSH keys, and write them to /root/.ssh/authorized_keys

`

// tasks are the scripts, also by the names that the users of other cluster managers have in their fingers.
var tasks = map[string]string{
	wire.TaskFetchHosts: wire.TaskFetchHosts, "fetch_hosts": wire.TaskFetchHosts,
	wire.TaskUpdateKeys: wire.TaskUpdateKeys, "update_keys": wire.TaskUpdateKeys,
}

func (a *app) nodeScriptCommand() *cobra.Command {
	var f commandFlags
	cmd := &cobra.Command{
		Use: "script NODESET fetch-hosts|update-keys", Short: "Refresh the heads, names or keys that nodes have", Long: nodeScriptHelp + nodeSetHelp,
		Example: "  masthead node script @all fetch-hosts", Args: exactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			task, ok := tasks[args[1]]
			if !ok {
				return usageError{&hint{fmt.Errorf("script: there is no %q", args[1]), "masthead node script " + args[0] + " " + wire.TaskFetchHosts + ", or " + wire.TaskUpdateKeys}}
			}
			return a.runOnNodes(cmd.Context(), f, f.request(args[0], wire.Command{Kind: wire.CommandTask, Task: task}), nil)
		},
	}
	f.add(a, cmd, wire.DefaultCommandTimeout)
	return cmd
}

// slowInput is how long standard input may keep us waiting in silence.
const slowInput = 2 * time.Second

// runOnNodes runs a request and shows what comes of it.
func (a *app) runOnNodes(ctx context.Context, f commandFlags, req wire.CommandRequest, input io.Reader) error {
	if err := req.Command.Validate(); err != nil {
		return usageError{err}
	}
	if f.fanout < 1 {
		return usageError{fmt.Errorf("--fanout %d: want at least 1", f.fanout)}
	}
	c, err := a.remote.client()
	if err != nil {
		return err
	}
	if file, ok := input.(*os.File); ok {
		waiting := time.AfterFunc(slowInput, func() {
			fmt.Fprintln(a.err, "waiting for the end of standard input, which every node gets; -n leaves it alone")
		})
		defer waiting.Stop()
		input = &atEnd{file, func() { waiting.Stop() }}
	}
	show := newReplies(a, f.label)
	return show.end(ctx, c.Command(ctx, req, input, show.event))
}

// atEnd calls end when all was read.
type atEnd struct {
	io.Reader
	end func()
}

func (r *atEnd) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil {
		r.end()
	}
	return n, err
}
