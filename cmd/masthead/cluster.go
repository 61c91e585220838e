package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"masthead/appliance/configuration"
	"masthead/node/wire"
)

func (a *app) clusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "cluster", Short: "The one document that says how the cluster is owned",
		Long: "The configuration of the cluster is one document with a version: virtual addresses, heartbeats, arbiter, fences,\n" +
			"services, monitors, mail. It is changed in one place and is the same on every head.",
	}
	cmd.AddCommand(a.clusterShowCommand(), a.clusterSetCommand(), a.clusterEditCommand(), a.clusterSecretCommand())
	return cmd
}

func (a *app) clusterShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show", Short: "Print the configuration of the cluster", Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			conf, err := c.Cluster(cmd.Context())
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(conf)
			}
			if conf.Version == 0 {
				fmt.Fprintln(a.err, "nothing is configured yet: masthead cluster edit")
				return nil
			}
			// Not among the text: who keeps it in a file and sets it again would have it in the document.
			fmt.Fprintf(a.err, "version %d, by %s, %s\n", conf.Version, orDash(conf.By), conf.At.Local().Format("2006-01-02 15:04:05"))
			fmt.Fprint(a.out, conf.Text)
			return nil
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) clusterSetCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "set FILE", Short: "Make a file the configuration of the cluster", Args: exactArgs(1),
		Long:    "Makes a YAML file the configuration of the cluster, after it was checked; - is the standard input.",
		Example: "  masthead cluster set cluster.yaml --dry-run\n  masthead cluster set cluster.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := a.readFile(args[0])
			if err != nil {
				return err
			}
			if _, err := configuration.Parse(args[0], text); err != nil { // with the file's own name
				return err
			}
			return ofFile(a.setCluster(cmd.Context(), wire.ClusterChange{Text: string(text), Version: -1, DryRun: dryRun}), args[0])
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show the difference, and change nothing")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) readFile(name string) ([]byte, error) {
	if name == "-" {
		data, err := io.ReadAll(a.in)
		if err != nil {
			return nil, fmt.Errorf("read the standard input: %w", err)
		}
		return data, nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, &hint{fmt.Errorf("read: %w", err), "ls -l " + filepath.Dir(name)}
	}
	return data, nil
}

func (a *app) setCluster(ctx context.Context, change wire.ClusterChange) error {
	c, err := a.remote.client()
	if err != nil {
		return err
	}
	changed, err := c.SetCluster(ctx, change)
	if err != nil {
		return err
	}
	if a.output == "json" {
		return a.printJSON(changed)
	}
	for _, w := range changed.Warning {
		fmt.Fprintf(a.err, "warning: %s\n", w)
	}
	switch {
	case len(changed.Diff) == 0:
		fmt.Fprintf(a.out, "nothing to change: version %d\n", changed.Version)
		return nil
	case changed.Applied:
		fmt.Fprintf(a.out, "version %d of the configuration is in force\n", changed.Version)
	default:
		fmt.Fprintf(a.out, "would change version %d\n", changed.Version)
	}
	fmt.Fprintln(a.out, strings.Join(changed.Diff, "\n"))
	a.sayDegraded(changed.Degraded)
	return nil
}

// documentLine is how each line begins that a head finds wrong: it does not know the file.
var documentLine = regexp.MustCompile(`(?m)^` + wire.DocumentName + `(:\d+)?: `)

// ofFile is what a head finds wrong with a document, with the name of the document's file.
func ofFile(err error, file string) error {
	var p *wire.ProblemError
	if !errors.As(err, &p) {
		return err
	}
	named := *p
	named.Detail = documentLine.ReplaceAllStringFunc(p.Detail, func(at string) string { return file + strings.TrimPrefix(at, wire.DocumentName) })
	return &named
}

func (a *app) clusterEditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "edit", Short: "Change the configuration of the cluster in an editor", Args: exactArgs(0),
		Long: "Opens the configuration in $VISUAL or $EDITOR, and makes what was saved the new one, after it was checked. If\n" +
			"something is wrong with it, the file is kept and named.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.remote.client()
			if err != nil {
				return err
			}
			now, err := c.Cluster(cmd.Context())
			if err != nil {
				return err
			}
			text := now.Text
			if now.Version == 0 {
				text = configuration.Example
			}
			edited, kept, err := a.editText(cmd.Context(), text)
			if err != nil {
				return err
			}
			_, err = configuration.Parse(kept, edited)
			if err == nil {
				err = ofFile(a.setCluster(cmd.Context(), wire.ClusterChange{Text: string(edited), Version: now.Version}), kept)
			}
			var p *wire.ProblemError
			if errors.As(err, &p) && p.Status == http.StatusConflict {
				return &hint{fmt.Errorf("%w; what you wrote is in %s", err, kept), "masthead cluster edit"}
			}
			if err != nil {
				return &hint{err, "masthead cluster set " + kept + ", after correcting it"}
			}
			return os.Remove(kept)
		},
	}
	return cmd
}

// editText has a person change a text, and gives what was saved and the file in which it is kept.
func (a *app) editText(ctx context.Context, text string) ([]byte, string, error) {
	if !terminalIn(a.in) {
		return nil, "", &hint{errors.New("there is no terminal to edit on"), "masthead cluster show > cluster.yaml; masthead cluster set cluster.yaml"}
	}
	file, err := os.CreateTemp("", "masthead-cluster-*.yaml")
	if err != nil {
		return nil, "", fmt.Errorf("edit: %w", err)
	}
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, "", fmt.Errorf("edit: %w", err)
	}
	editor := os.Getenv("VISUAL")
	if editor == "" {
		editor = os.Getenv("EDITOR")
	}
	if editor == "" {
		editor = "vi"
	}
	run := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", file.Name())
	run.Stdin, run.Stdout, run.Stderr = a.in, a.out, a.err
	if err := run.Run(); err != nil {
		return nil, "", &hint{fmt.Errorf("edit: %s: %w", editor, err), "EDITOR=nano masthead cluster edit"}
	}
	data, err := os.ReadFile(file.Name())
	return data, file.Name(), err
}
