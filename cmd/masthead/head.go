package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"masthead/appliance"
	"masthead/images"
	"masthead/node/agent"
)

func (a *app) headCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "head", Short: "Run and look after head nodes"}
	cmd.AddCommand(actsHere(a.headRunCommand()), a.headSettingsCommand(), a.headListCommand(), a.headTokenCommand(), a.headJoinCommand(),
		a.headLeaveCommand(), a.headEjectCommand(), a.headRecoverCommand(), a.headSwitchCommand())
	return cmd
}

// headFlags override what init found out.
type headFlags struct {
	name, state, iface, address, dhcp, pack, keyFile string
	join                                             string
	relayed                                          []string
	http, https, gossip                              uint16
}

func (a *app) headRunCommand() *cobra.Command {
	var f headFlags
	cmd := &cobra.Command{
		Use: "run", Short: "Run this machine as a head: DHCP, TFTP, HTTP and the API", Args: exactArgs(0),
		Long: "Runs this machine as a head. On a machine that masthead booted everything is known already; elsewhere\n" +
			"the interface and its address have to be given.",
		Example: "  masthead head run --interface eth1 --address 10.77.0.1/24 --name head1",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.headConfig(f)
			if err != nil {
				return err
			}
			return appliance.Serve(cmd.Context(), cfg)
		},
	}
	cmd.Flags().StringVar(&f.name, "name", "", "name of this head (default: the host name)")
	cmd.Flags().StringVar(&f.state, "state", "", "folder of the state (default "+images.StateDir+")")
	cmd.Flags().StringVar(&f.iface, "interface", "", "NIC of the cluster network")
	cmd.Flags().StringVar(&f.address, "address", "", "address of this head there, ADDRESS/PREFIX")
	cmd.Flags().StringVar(&f.join, "join", "", "a head of the cluster to join: this one serves nobody before 'masthead head join'")
	cmd.Flags().StringVar(&f.dhcp, "dhcp", string(appliance.DHCPAuto), "auto, server, proxy (beside another server) or off")
	cmd.Flags().StringArrayVar(&f.relayed, "relayed", nil, "network behind a DHCP relay, PREFIX[,FROM-TO][,ROUTER] (may be given several times)")
	cmd.Flags().StringVar(&f.pack, "pack", "", "pack with images to serve (default: that of the boot medium)")
	cmd.Flags().StringVar(&f.keyFile, "ssh-keys", "", "authorized_keys that root gets on every node (default: this machine's)")
	cmd.Flags().Uint16Var(&f.http, "http", 0, "port for firmware (default 80)")
	cmd.Flags().Uint16Var(&f.https, "https", 0, "port of the API (default 443)")
	cmd.Flags().Uint16Var(&f.gossip, "gossip", 0, "port of the heads' membership protocol (default 7946)")
	return cmd
}

// headConfig is what init found out, with the flags over it.
func (a *app) headConfig(f headFlags) (appliance.Config, error) {
	cfg := appliance.DefaultConfig()
	cfg.Version, cfg.Log = versionText(), a.log
	cfg.Software = software("/", "/proc", "/sys")
	cfg.DHCP = appliance.DHCPMode(f.dhcp)
	if err := fromInit(&cfg); err != nil {
		return cfg, err
	}
	host, err := os.Hostname()
	if err != nil {
		return cfg, fmt.Errorf("host name: %w", err)
	}
	cfg.Name, _, _ = strings.Cut(strings.ToLower(host), ".")
	set := func(dst *string, value string) {
		if value != "" {
			*dst = value
		}
	}
	set(&cfg.Name, f.name)
	set(&cfg.StateDir, f.state)
	if f.iface != "" {
		cfg.Interface, cfg.MAC = f.iface, ""
	}
	set(&cfg.Pack, f.pack)
	if f.state != "" && f.state != images.StateDir {
		// Another state is another head, with an owner daemon of its own (owner run --socket).
		cfg.Socket, cfg.OwnerSocket = filepath.Join(f.state, "api.sock"), filepath.Join(f.state, "owner.sock")
	}
	if f.http != 0 {
		cfg.HTTP = f.http
	}
	if f.https != 0 {
		cfg.HTTPS = f.https
	}
	if f.gossip != 0 {
		cfg.Gossip = f.gossip
	}
	if f.address != "" {
		if cfg.Address, err = netip.ParsePrefix(f.address); err != nil {
			return cfg, usageError{fmt.Errorf("--address %s: want ADDRESS/PREFIX", f.address)}
		}
	}
	if f.join != "" {
		cfg.Join, cfg.JoinAddress = true, f.join
	}
	for _, s := range f.relayed {
		n, err := appliance.ParseRelayed(s)
		if err != nil {
			return cfg, usageError{fmt.Errorf("--relayed: %w", err)}
		}
		cfg.Relayed = append(cfg.Relayed, n)
	}
	keys := f.keyFile
	if keys == "" {
		keys = "/root/.ssh/authorized_keys"
	}
	data, err := os.ReadFile(keys)
	if err != nil && (f.keyFile != "" || !errors.Is(err, fs.ErrNotExist)) {
		return cfg, fmt.Errorf("SSH keys for the nodes: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			cfg.SSHKeys = append(cfg.SSHKeys, line)
		}
	}
	return cfg, nil
}

// fromInit takes over what init left on a machine that masthead booted.
func fromInit(cfg *appliance.Config) error {
	left, err := agent.LoadConfig(images.RunNode)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if left.MAC != "" {
		hello := left.Hello()
		cfg.Self = &hello
	}
	if n := left.Net; n != nil && n.Prefix.IsValid() {
		cfg.Interface, cfg.Address, cfg.Router, cfg.DNS = n.Link.Name, n.Prefix, n.Gateway, n.DNS
		if n.Lease != nil {
			cfg.LeasedFrom = n.Lease.Server
		}
		cfg.MAC = n.Link.MAC
	}
	pack := filepath.Join(images.MediumMount, images.MediumPack)
	if _, err := os.Stat(pack); err == nil {
		cfg.Pack = pack
	}
	cfg.AdminToken = credential(images.CredentialAdminToken)
	joinWish(cfg)
	return nil
}
