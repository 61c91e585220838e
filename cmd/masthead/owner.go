package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"masthead/appliance/ownership"
)

// ownerCommand is the owner daemon, which the machine's own init runs.
func (a *app) ownerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "owner", Short: "The daemon that owns the cluster, or waits to"}
	cmd.AddCommand(a.ownerRunCommand())
	return cmd
}

func (a *app) ownerRunCommand() *cobra.Command {
	opts := ownership.DefaultOptions()
	var shared bool
	cmd := &cobra.Command{
		Use: "run", Short: "Run the owner daemon of this head", Args: exactArgs(0),
		Long: "Runs the owner daemon: heartbeats to the other heads, the lease, the virtual addresses, the services. The head's own\n" +
			"service (masthead head run) writes what the daemon must know; it runs as masthead-owner.service beside it.\n" +
			"When it is ended (SIGTERM) it hands over what it owns.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return errors.New("the owner daemon has to run as root: it changes addresses and the kernel's packet filter")
			}
			if shared {
				opts.Watchdog = false
				opts.Reset = exitInstead
			}
			opts.Log = a.log
			d, err := ownership.New(opts)
			if err != nil {
				return err
			}
			return d.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.Dir, "dir", opts.Dir, "folder of the configuration and of the durable record")
	f.StringVar(&opts.RunDir, "run-dir", opts.RunDir, "folder of what a restart of the machine forgets")
	f.StringVar(&opts.Socket, "socket", opts.Socket, "socket of its API")
	f.StringVar(&opts.BootID, "boot-id", "", "name of this boot (default: the kernel's)")
	f.BoolVar(&opts.Realtime, "realtime", opts.Realtime, "ask for real-time priority and locked memory")
	f.BoolVar(&shared, "shared-machine", false, "for several daemons in network namespaces: no watchdog, and no reset but of the daemon")
	return cmd
}

// exitInstead is the reset of a daemon that shares its machine: it ends at once, and with it all that it keeps open.
func exitInstead(string) {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		_ = self.Kill()
	}
}
