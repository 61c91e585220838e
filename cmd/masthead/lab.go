package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"masthead/images"
	"masthead/vmtest"
	"masthead/vmtest/cluster"
)

// Files in a lab's folder by which other commands find its head.
const (
	labHeadFile  = "head-url"
	labCAFile    = "head-ca"
	labTokenFile = "admin-token"
)

func labDir(name string) (string, error) { return vmtest.DefaultFolder(name) }

func (a *app) labCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Run a whole cluster in QEMU on this machine, without root, with faults on demand",
	}
	cmd.AddCommand(a.labUpCommand(), a.labStatusCommand(), a.labConsoleCommand(), a.labFaultCommand(), a.labTestCommand(), a.labClientCommand(), a.labDownCommand())
	return cmd
}

// inLab runs f with the running lab that --lab names, or with the demo.
func (a *app) inLab(ctx context.Context, f func(*vmtest.Client) error) error {
	name := a.remote.lab
	if name == "" {
		name = "demo"
	}
	dir, err := labDir(name)
	if err != nil {
		return err
	}
	c, err := vmtest.Connect(ctx, dir)
	if errors.Is(err, vmtest.ErrNotRunning) {
		return &hint{fmt.Errorf("no lab named %s is running", name), "masthead lab up LAB.yaml, or --lab NAME for another"}
	}
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}

func (a *app) labStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "Show the machines of the lab as hardware: power, forwarded ports, consoles; faults with -o json", Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.inLab(cmd.Context(), func(c *vmtest.Client) error {
				list, err := c.Status(cmd.Context())
				if err != nil {
					return err
				}
				if a.output == "json" {
					return a.printJSON(list)
				}
				return a.printMachines(list)
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) printMachines(list []vmtest.MachineStatus) error {
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "MACHINE\tROLE\tSTATE\tFIRMWARE\tMEMORY\tFORWARDED\tCONSOLE SAYS")
	for _, m := range list {
		var ports []string
		for name, addr := range m.Forward {
			ports = append(ports, name+"="+addr)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d MiB\t%s\t%.60s\n", m.Name, orDash(m.Role), m.State, m.Firmware, m.Memory,
			orDash(strings.Join(ports, " ")), m.LastLine)
	}
	return w.Flush()
}

func (a *app) labConsoleCommand() *cobra.Command {
	return &cobra.Command{
		Use: "console MACHINE", Short: "Join a machine's serial console (Ctrl-] leaves)", Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inLab(cmd.Context(), func(c *vmtest.Client) error {
				console, err := c.Console(cmd.Context(), args[0])
				if err != nil {
					return &hint{err, "masthead --lab " + c.Name + " lab status"}
				}
				in, _ := a.in.(*os.File)
				fmt.Fprintln(a.err, "Ctrl-] leaves")
				return vmtest.Interact(cmd.Context(), console, in, a.out)
			})
		},
	}
}

func (a *app) labFaultCommand() *cobra.Command {
	return &cobra.Command{
		Use: "fault ACTION…", Short: "Make hardware fail, or mend it", Args: someArgs,
		Long:    "Makes hardware of the lab fail, or mends it:\n\n  " + strings.Join(vmtest.Actions(), "\n  "),
		Example: "  masthead lab fault cut-link n01:0 rx\n  masthead lab fault loss n01:0 30 both\n  masthead lab fault heal n01",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inLab(cmd.Context(), func(c *vmtest.Client) error {
				if err := c.Inject(cmd.Context(), args...); err != nil {
					return &hint{err, "masthead lab fault --help, and masthead --lab " + c.Name + " lab status"}
				}
				return nil
			})
		},
	}
}

func (a *app) labDownCommand() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Cut the power of all machines and end the lab", Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.inLab(cmd.Context(), func(c *vmtest.Client) error { return c.Down(cmd.Context()) })
		},
	}
}

// rememberHeads leaves word of a lab's heads for other commands, one a line.
func rememberHeads(dir string, c *cluster.Cluster, token string, ca images.Digest) error {
	var urls strings.Builder
	for _, name := range c.Named(images.RoleHead) {
		if addr := c.Machine(name).Forward(cluster.HTTPS); addr != "" {
			fmt.Fprintf(&urls, "https://%s\n", addr)
		}
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, labHeadFile), []byte(urls.String()), 0o600),
		os.WriteFile(filepath.Join(dir, labTokenFile), []byte(token), 0o600),
		os.WriteFile(filepath.Join(dir, labCAFile), []byte(ca), 0o600),
	)
}
