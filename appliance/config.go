package appliance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"masthead/appliance/dhcp"
	"masthead/images"
	"masthead/node/wire"
)

// DHCPMode says what the head does about DHCP on the cluster network.
type DHCPMode string

const (
	DHCPAuto   DHCPMode = "auto"   // serve, unless somebody else does: then only help with booting (proxyDHCP)
	DHCPServer DHCPMode = "server" // serve, whoever else does
	DHCPProxy  DHCPMode = "proxy"
	DHCPOff    DHCPMode = "off"
)

// Config describes a head. DefaultConfig gives everything but the interface and the address.
type Config struct {
	Name      string
	Version   string
	Software  wire.Software // what this machine runs; Program is filled in
	StateDir  string
	Pack      string // images of the medium; empty: none
	Interface string // of the cluster network; empty: a head without a network
	// MAC, if not empty, finds the interface instead: udev may rename it after the head has started.
	MAC     string
	Address netip.Prefix
	Router  netip.Addr // invalid: none
	DNS     []netip.Addr
	Domain  string
	Pool    dhcp.Range // zero: PoolOf(Address)
	// Relayed are the networks behind relay agents (RFC 2131, 4.1): the pools of their machines, and where nodes may have
	// reserved addresses besides the head's own network.
	Relayed []dhcp.Subnet
	DHCP    DHCPMode
	// LeasedFrom is the DHCP server that gave us our own address; invalid: none did. Unless it is another head, somebody
	// else serves this network.
	LeasedFrom netip.Addr
	HTTP       uint16 // port for firmware
	HTTPS      uint16 // port of the API and of the other heads
	Gossip     uint16 // port of the membership protocol between heads
	Socket     string // of the API for root on this machine; empty: none
	// OwnerSocket is where the owner daemon of this machine answers.
	OwnerSocket string
	NTP         []netip.Addr // for DHCP clients
	SSHKeys     []string     // authorized_keys lines for root on every node
	// AdminToken, if not empty, is accepted as an administrator's, besides the one in StateDir. It is not kept.
	AdminToken string
	// Join makes a head that has nothing of its own join the cluster that JoinToken is for, by JoinAddress or, where that
	// is empty, by the addresses in the token. Until then it serves nobody. Without a token it waits for one.
	Join                   bool
	JoinToken, JoinAddress string
	// Self is what init told of this machine; nil where masthead is not its init.
	Self *wire.Hello
	Log  *slog.Logger
}

// What lies where below the state folder.
const (
	ImagesDir = "images"
	keysDir   = "pki"
	stateDir  = "state"
)

// AdminTokenFile is where a head keeps the administrator's token.
const AdminTokenFile = images.StateDir + "/" + keysDir + "/admin.token"

// DefaultConfig is a head that keeps its state in the usual place and finds out about DHCP by itself.
func DefaultConfig() Config {
	return Config{
		StateDir: images.StateDir, DHCP: DHCPAuto, Domain: "cluster",
		HTTP: wire.PortHTTP, HTTPS: wire.PortHTTPS, Gossip: wire.PortGossip, Socket: images.APISocket, OwnerSocket: images.OwnerSocket,
	}
}

// complete checks the configuration, reports all that is wrong, and fills in what follows from the rest.
func (c Config) complete() (Config, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("head: "+format, args...)) }
	if err := images.ValidHost(c.Name); err != nil {
		bad("name %q: %w", c.Name, err)
	}
	if c.StateDir == "" {
		bad("no folder for the state")
	}
	switch c.DHCP {
	case DHCPAuto, DHCPServer, DHCPProxy, DHCPOff:
	default:
		bad("dhcp %q: want auto, server, proxy or off", c.DHCP)
	}
	if c.Interface != "" && !c.Address.IsValid() {
		bad("interface %s: no address", c.Interface)
	}
	if c.Interface == "" {
		c.DHCP = DHCPOff
	}
	if c.Address.IsValid() && c.Pool == (dhcp.Range{}) {
		c.Pool = PoolOf(c.Address)
	}
	if err := c.checkRelayed(); err != nil {
		bad("%w", err)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, errors.Join(errs...)
}

// maxPool is as many addresses as the largest cluster needs for machines that nobody has named yet.
const maxPool = 16384

// PoolOf is the part of a head's subnet that machines without a reserved address get: the upper half, without the
// broadcast address and, where the head itself sits there, without what is below it. The lower half stays free for
// heads, switches, management boards and reservations. A subnet of fewer than 8 addresses, or of IPv6, has no pool.
func PoolOf(head netip.Prefix) dhcp.Range {
	if !head.Addr().Is4() || head.Bits() > 29 {
		return dhcp.Range{}
	}
	size := uint32(1) << (32 - head.Bits())
	base := binary.BigEndian.Uint32(head.Masked().Addr().AsSlice())
	from, to := base+size/2, base+size-2
	to = min(to, from+maxPool-1)
	at := func(n uint32) netip.Addr {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], n)
		return netip.AddrFrom4(b)
	}
	return dhcp.Range{From: at(from), To: at(to)}
}
