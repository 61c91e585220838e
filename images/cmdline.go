package images

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Keys of the kernel command line. They are shared by the builder and the head, which write them, and init, which
// reads them. Keys of the kernel itself (console=, panic=, BOOTIF= of pxelinux and iPXE) keep their meaning.
const (
	KeyRole    = "masthead.role"    // head or worker; default: the image's
	KeyHead    = "masthead.head"    // https URLs of heads, comma separated
	KeyCA      = "masthead.ca"      // digest of the DER of the cluster CA's certificate
	KeyImage   = "masthead.image"   // digest of the manifest to run
	KeyRoot    = "root"             // lazy or ram
	KeyOverlay = "masthead.overlay" // tmpfs or zram
	KeyIP      = "masthead.ip"      // dhcp, none, auto, or ADDRESS/PREFIX[,GATEWAY[,DNS]]
	KeyNIC     = "masthead.nic"     // MAC or name of the cluster NIC
	KeyUplink  = "masthead.uplink"  // MAC or name of a second NIC, configured by DHCP: a head's way out of the cluster
	KeyName    = "masthead.name"    // host name
	KeyRescue  = "masthead.rescue"  // present: a shell before the root is mounted, and when a stage fails
	KeyPanic   = "masthead.panic"   // seconds from a failed boot to the reboot; 0: never
	KeyState   = "masthead.state"   // label of the state file system; "none": keep the state in memory
	KeySlot    = "masthead.slot"    // a or b: the slot of an installed disk that the machine boots from
	KeyMedium  = "masthead.medium"  // GUID of the partition that holds that slot; its disk holds the state too
	KeyInstall = "masthead.install" // install this machine: stick, ask, or the answers themselves as {key: value, …}
	KeyBootIF  = "BOOTIF"           // 01-aa-bb-cc-dd-ee-ff, or the bare MAC
)

// RootMode says how the root's chunks come to the machine.
type RootMode string

const (
	RootLazy RootMode = "lazy" // when they are read, with prefetch in the background
	RootRAM  RootMode = "ram"  // all of them before the root is mounted
)

// IPMode says how the cluster NIC gets its address.
type IPMode string

const (
	IPDHCP   IPMode = "dhcp"
	IPStatic IPMode = "static"
	IPNone   IPMode = "none"
	IPAuto   IPMode = "auto" // a head: DHCP if somebody answers, else Static
)

// DefaultOverlay is what is always there: memory, without a compressor's cost.
const DefaultOverlay = "tmpfs"

// DefaultPanicDelay is long enough to read the last lines on a console and short enough that a machine whose head was
// away for a moment is not lost for the night.
const DefaultPanicDelay = 30 * time.Second

// Boot is the part of the kernel command line that masthead reads.
type Boot struct {
	Role       Role
	Heads      []string // https URLs
	CA         Digest
	Image      Digest
	Root       RootMode
	Overlay    string // tmpfs or zram
	IP         IPMode
	Address    netip.Prefix // when static (or the fall-back of auto)
	Gateway    netip.Addr
	DNS        netip.Addr
	NIC        string // a name, or a MAC in colon form; empty: the first with a link
	Uplink     string // as NIC; empty: none
	Name       string
	Rescue     bool
	PanicDelay time.Duration
	State      string
	Slot       string // a or b; empty: not an installed disk
	Medium     string // GUID of a partition, in lower case; empty: whatever has the label of our ISOs
	Install    string // empty: not asked for
}

// InstallFromStick is the value of KeyInstall that has the answers looked for on FAT file systems, and waited for.
const InstallFromStick = "stick"

// InstallByAsking is the value of KeyInstall that has a person asked, on each console, and nobody log in.
const InstallByAsking = "ask"

// ParseBoot reads a kernel command line (/proc/cmdline). Keys that are not masthead's are left alone; every masthead
// key that makes no sense is reported, all at once, and keeps its default, so that init can still bring up enough to
// say so.
func ParseBoot(cmdline string) (Boot, error) {
	b := Boot{Root: RootLazy, Overlay: DefaultOverlay, IP: IPDHCP, PanicDelay: DefaultPanicDelay, State: StateLabel}
	var errs []error
	for _, f := range fields(cmdline) {
		key, value, _ := strings.Cut(f, "=")
		if err := b.set(key, value); err != nil {
			errs = append(errs, fmt.Errorf("kernel command line: %s=%s: %w", key, value, err))
		}
	}
	return b, errors.Join(errs...)
}

func (b *Boot) set(key, value string) error {
	switch key {
	case KeyRole:
		if r := Role(value); r != RoleHead && r != RoleWorker {
			return errors.New("want head or worker")
		}
		b.Role = Role(value)
	case KeyHead:
		return b.setHeads(value)
	case KeyCA, KeyImage:
		d, err := ParseDigest(value)
		if err != nil {
			return err
		}
		if key == KeyCA {
			b.CA = d
		} else {
			b.Image = d
		}
	case KeyRoot:
		// The kernel's own root= names a device; only our two words are ours.
		switch m := RootMode(value); m {
		case RootLazy, RootRAM:
			b.Root = m
		default:
			return errors.New("want lazy or ram")
		}
	case KeyOverlay:
		if value != "tmpfs" && value != "zram" {
			return errors.New("want tmpfs or zram")
		}
		b.Overlay = value
	case KeyIP:
		return b.setIP(value)
	case KeyNIC, KeyUplink:
		if !nicPattern.MatchString(value) {
			return errors.New("want a MAC address or the name of an interface")
		}
		if key == KeyUplink {
			b.Uplink = nicName(value)
		} else {
			b.NIC = nicName(value)
		}
	case KeyBootIF:
		if b.NIC != "" { // masthead.nic wins
			return nil
		}
		mac, err := ParseBootIF(value)
		if err != nil {
			return err
		}
		b.NIC = mac
	case KeyName:
		if err := ValidName(value); err != nil {
			return err
		}
		b.Name = value
	case KeyRescue:
		b.Rescue = value != "0"
	case KeyPanic:
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return errors.New("want seconds, 0 to 65535")
		}
		b.PanicDelay = time.Duration(n) * time.Second
	case KeyState:
		if !labelPattern.MatchString(value) {
			return errors.New("want a file system label, or none")
		}
		b.State = value
	case KeySlot:
		if value != "a" && value != "b" {
			return errors.New("want a or b")
		}
		b.Slot = value
	case KeyMedium:
		if !guidPattern.MatchString(value) {
			return errors.New("want the GUID of a partition")
		}
		b.Medium = strings.ToLower(value)
	case KeyInstall:
		if b.Install = value; value == "" {
			b.Install = InstallFromStick
		}
	}
	return nil
}

func (b *Boot) setHeads(value string) error {
	var heads []string
	for _, h := range strings.Split(value, ",") {
		u, err := url.Parse(h)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || !hostPattern.MatchString(u.Host) || (u.Path != "" && u.Path != "/") {
			return fmt.Errorf("%q: want https://HOST[:PORT]", h)
		}
		heads = append(heads, "https://"+u.Host)
	}
	b.Heads = heads
	return nil
}

func (b *Boot) setIP(value string) error {
	b.Address, b.Gateway, b.DNS = netip.Prefix{}, netip.Addr{}, netip.Addr{} // of an earlier word
	parts := strings.Split(value, ",")
	switch mode := IPMode(parts[0]); mode {
	case IPDHCP, IPNone:
		if len(parts) > 1 {
			return fmt.Errorf("nothing may follow %s", mode)
		}
		b.IP = mode
		return nil
	case IPAuto:
		b.IP = IPAuto
		parts = parts[1:]
		if len(parts) == 0 {
			return errors.New("want auto,ADDRESS/PREFIX: the address to take when no DHCP server answers")
		}
	default:
		b.IP = IPStatic
	}
	fail := func(format string, args ...any) error {
		b.IP, b.Address, b.Gateway, b.DNS = IPDHCP, netip.Prefix{}, netip.Addr{}, netip.Addr{}
		return fmt.Errorf(format, args...)
	}
	p, err := netip.ParsePrefix(parts[0])
	if err != nil {
		return fail("%q: want dhcp, none, or ADDRESS/PREFIX[,GATEWAY[,DNS]]", parts[0])
	}
	b.Address = p
	for i, dst := range []*netip.Addr{&b.Gateway, &b.DNS} {
		if len(parts) <= i+1 || parts[i+1] == "" {
			continue
		}
		if *dst, err = netip.ParseAddr(parts[i+1]); err != nil {
			return fail("%q is not an address", parts[i+1])
		}
	}
	if len(parts) > 3 {
		return fail("too many commas")
	}
	return nil
}

// ParseBootIF reads the BOOTIF that pxelinux and iPXE leave (hardware type 01, then the MAC, with dashes), or a bare
// MAC, and gives the MAC in lower case with colons.
func ParseBootIF(s string) (string, error) {
	h := strings.ReplaceAll(s, "-", ":")
	if len(h) == 20 && strings.HasPrefix(h, "01:") {
		h = h[3:]
	}
	mac, err := net.ParseMAC(h)
	if err != nil || len(mac) != 6 {
		return "", fmt.Errorf("%q: want 01-aa-bb-cc-dd-ee-ff or a MAC address", s)
	}
	return mac.String(), nil
}

// nicName is a name as it is, or a MAC in lower case.
func nicName(s string) string {
	if strings.Contains(s, ":") {
		return strings.ToLower(s)
	}
	return s
}

// nicPattern is a MAC, or an interface name: at most 15 bytes (IFNAMSIZ), none of which needs quoting.
var nicPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,15}$|^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$`)

// hostPattern is a host with or without a port, IPv6 in brackets, in characters that need no quoting.
var hostPattern = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?$`)

// labelPattern is a label of ext4, at most 16 bytes.
var labelPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,16}$`)

// guidPattern is a GUID as blkid and GRUB print it.
var guidPattern = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// String is the command line that ParseBoot reads back, without what is at its default.
func (b Boot) String() string {
	var w []string
	add := func(key, value string) {
		if value != "" {
			w = append(w, key+"="+value)
		}
	}
	add(KeyRole, string(b.Role))
	add(KeyHead, strings.Join(b.Heads, ","))
	add(KeyCA, string(b.CA))
	add(KeyImage, string(b.Image))
	if b.Root != RootLazy {
		add(KeyRoot, string(b.Root))
	}
	if b.Overlay != DefaultOverlay {
		add(KeyOverlay, b.Overlay)
	}
	add(KeyIP, b.ipValue())
	add(KeyNIC, b.NIC)
	add(KeyUplink, b.Uplink)
	add(KeyName, b.Name)
	if b.Rescue {
		w = append(w, KeyRescue)
	}
	if b.PanicDelay != DefaultPanicDelay {
		add(KeyPanic, strconv.Itoa(int(b.PanicDelay/time.Second)))
	}
	if b.State != StateLabel {
		add(KeyState, b.State)
	}
	add(KeySlot, b.Slot)
	add(KeyMedium, b.Medium)
	if strings.ContainsAny(b.Install, " \t\n") {
		w = append(w, KeyInstall+`="`+b.Install+`"`)
	} else {
		add(KeyInstall, b.Install)
	}
	return strings.Join(w, " ")
}

func (b Boot) ipValue() string {
	switch b.IP {
	case IPStatic, IPAuto:
		v := b.Address.String()
		if b.IP == IPAuto {
			v = string(IPAuto) + "," + v
		}
		if b.Gateway.IsValid() || b.DNS.IsValid() {
			v += ","
			if b.Gateway.IsValid() {
				v += b.Gateway.String()
			}
		}
		if b.DNS.IsValid() {
			v += "," + b.DNS.String()
		}
		return v
	case IPNone:
		return string(IPNone)
	}
	return ""
}

// fields splits a command line as the kernel does (lib/cmdline.c next_arg): at white space outside double quotes,
// which are dropped.
func fields(s string) []string {
	var out []string
	var cur strings.Builder
	quoted, some := false, false
	flush := func() {
		if some {
			out = append(out, cur.String())
		}
		cur.Reset()
		some = false
	}
	for _, r := range s {
		switch {
		case r == '"':
			quoted, some = !quoted, true
		case !quoted && (r == ' ' || r == '\t' || r == '\n'):
			flush()
		default:
			cur.WriteRune(r)
			some = true
		}
	}
	flush()
	return out
}
