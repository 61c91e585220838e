package maker

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"masthead/appliance/install"
	"masthead/images"
	"masthead/images/disk"
)

// Master is the head that makes another one, as a plan sees it.
type Master struct {
	Name    string
	Address netip.Prefix
	Gateway netip.Addr // zero: none
	DNS     netip.Addr
	Arch    string
	Version string
	Source  install.Source // that it was started from
	Loader  bool           // the ISO carries the boot loader
	Mkfs    bool           // its root, which installs there, can make the file system of a head's state
	Data    int64          // bytes of its partition for data; 0: it has none
	Volumes []string       // replicated volumes on that partition
	// What is taken, and by whom.
	Heads []string
	Nodes map[string]string // name → MAC
	Owner map[netip.Addr]string
	// What logs in there logs in here.
	PasswordHash string
	SSHKeys      []string
}

// Wishes are what somebody wants of the new head.
type Wishes struct {
	Host    string // as it was called on the command line, for what to type next
	Name    string
	Address string // ADDRESS/PREFIX
	Disk    string // path, name, serial number, or auto
	Erase   string // serial number
}

// Plan is a head that may be made.
type Plan struct {
	Name    string         `json:"name"`
	Address netip.Prefix   `json:"address"`
	MAC     string         `json:"mac"`
	Disk    install.Disk   `json:"disk"`
	Install []install.Step `json:"install,omitempty"`
	// Installed: an earlier run has filled the disk already.
	Installed bool            `json:"installed,omitempty"`
	Data      int64           `json:"data"` // bytes for replicated data
	Keys      []HostKey       `json:"keys,omitempty"`
	Notes     []string        `json:"notes,omitempty"`
	Answers   install.Answers `json:"-"`
}

// minMemoryMB is what a head runs in at all.
const minMemoryMB = 400

// refusal is an error with what to type next.
type refusal struct {
	error
	try string
}

func (r *refusal) Try() string   { return r.try }
func (r *refusal) Unwrap() error { return r.error }

// command is how the same is asked for with something more said.
func (w Wishes) command(more string) string {
	return strings.TrimSpace("masthead master-maker " + w.Host + " " + more)
}

func (w Wishes) refuse(more, format string, args ...any) error {
	return &refusal{fmt.Errorf(format, args...), w.command(more)}
}

// CheckNames decides whether the new head may have its name and its address. mac is that of the machine; empty: not known
// yet. Pure.
func CheckNames(m Master, w Wishes, mac string) (netip.Prefix, error) {
	if w.Name == "" {
		return netip.Prefix{}, w.refuse("--name NAME", "the new head needs a name")
	}
	if err := images.ValidHost(w.Name); err != nil {
		return netip.Prefix{}, w.refuse("--name NAME", "name %q: %w", w.Name, err)
	}
	if slices.Contains(m.Heads, w.Name) {
		return netip.Prefix{}, &refusal{fmt.Errorf("a head named %s is in the cluster already", w.Name),
			w.command("--name ANOTHER") + "; or, if it is dead for good: masthead head eject " + w.Name}
	}
	if other, ok := m.Nodes[w.Name]; ok && other != mac {
		return netip.Prefix{}, w.refuse("--name ANOTHER", "a node is named %s (%s)", w.Name, other)
	}
	network := m.Address.Masked()
	if w.Address == "" {
		return netip.Prefix{}, w.refuse("--address ADDRESS/"+fmt.Sprint(network.Bits()), "the new head needs an address in the cluster's network %s", network)
	}
	text := w.Address
	if !strings.Contains(text, "/") {
		text += fmt.Sprintf("/%d", network.Bits())
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, w.refuse("--address ADDRESS/PREFIX", "%q is no address", w.Address)
	}
	if !network.Contains(p.Addr()) || p.Bits() != network.Bits() {
		return netip.Prefix{}, w.refuse("--address ADDRESS/"+fmt.Sprint(network.Bits()), "%s is not in the cluster's network %s", p, network)
	}
	if who, taken := m.Owner[p.Addr()]; taken && m.Nodes[who] != mac {
		return netip.Prefix{}, w.refuse("--address ANOTHER", "%s has the address %s", who, p.Addr())
	}
	return p, nil
}

// NewPlan decides what becomes of a machine, or why not. Pure.
func NewPlan(m Master, t Target, w Wishes) (Plan, error) {
	address, err := CheckNames(m, w, t.MAC)
	if err != nil {
		return Plan{}, err
	}
	if t.Arch != m.Arch {
		return Plan{}, fmt.Errorf("%s has another processor (%s) than %s (%s), whose image it would run", w.Host, t.Arch, m.Name, m.Arch)
	}
	if t.MemoryMB < minMemoryMB {
		return Plan{}, fmt.Errorf("%s has %d MiB of memory, a head needs %d", w.Host, t.MemoryMB, minMemoryMB)
	}
	if !m.Loader {
		return Plan{}, &refusal{fmt.Errorf("%s runs from an image that was given to it without a boot loader, so a disk that starts cannot be made of it", m.Name),
			"masthead upgrade HEAD.iso, with the file that masthead build iso has made"}
	}
	p := Plan{Name: w.Name, Address: address, MAC: t.MAC, Keys: t.Keys}
	p.Answers = answers(m, w, address, t)
	in, err := install.NewPlan(install.Machine{Disks: t.Disks, Source: m.Source, NICs: t.NICs, Mkfs: m.Mkfs}, p.Answers, zeros{})
	var whole *install.InstalledError
	switch {
	case errors.As(err, &whole): // by an earlier run, which got no further
		p.Installed, p.Disk, in.Table = true, whole.Disk, whole.Disk.Journal.Table
	case err != nil:
		return Plan{}, w.diskError(err)
	default:
		p.Disk, p.Install = in.Disk, install.Steps(in)
	}
	p.Answers.Disk = p.Disk.Path // which disk that is does not change until then
	if data, ok := in.Table.Find(disk.NameData); ok {
		p.Data = data.Size
	}
	if p.Data < m.Data {
		text := fmt.Sprintf("its partition for data would have %s, that of %s has %s", install.Size(p.Data), m.Name, install.Size(m.Data))
		if len(m.Volumes) > 0 {
			return Plan{}, w.refuse("--disk DISK", "%s is too small for a copy of volume %s: %s", p.Disk.Path, strings.Join(m.Volumes, ", "), text)
		}
		p.Notes = append(p.Notes, text+": give a volume a size that both have")
	}
	if t.SecureBoot == "on" {
		p.Notes = append(p.Notes, "Secure Boot is on: it starts through shim and the signed GRUB")
	}
	if t.Version != "" && t.Version != m.Version {
		p.Notes = append(p.Notes, fmt.Sprintf("it runs masthead %s now, and then that of %s, %s", t.Version, m.Name, m.Version))
	}
	return p, nil
}

// Released are the disks of a machine as they are once it runs from none of them: what its own system uses is something on
// the disk, and no longer in use. Pure.
func Released(disks []install.Disk) []install.Disk {
	out := slices.Clone(disks)
	for i, d := range out {
		out[i].Parts = append(slices.Clone(d.Parts), d.Uses...)
		out[i].Uses = nil
	}
	return out
}

// answers are those of the installation. What a new machine is asked for, this one has from its master.
func answers(m Master, w Wishes, address netip.Prefix, t Target) install.Answers {
	a := install.Answers{
		Disk: w.Disk, Erase: w.Erase, Name: w.Name, Address: address.String(), NIC: t.MAC,
		PasswordHash: m.PasswordHash, SSHKeys: m.SSHKeys, After: install.Stay,
	}
	if a.Disk == "" {
		a.Disk = install.AutoDisk
	}
	if m.Gateway.IsValid() && m.Gateway != address.Addr() {
		a.Gateway = m.Gateway.String()
	}
	if m.DNS.IsValid() {
		a.DNS = m.DNS.String()
	}
	return a
}

// diskError is a refusal of the installation, with what to type here.
func (w Wishes) diskError(err error) error {
	var occupied *install.OccupiedError
	if errors.As(err, &occupied) {
		return &OccupiedError{Disk: occupied.Disk, wishes: w}
	}
	var t interface{ Try() string }
	if errors.As(err, &t) && strings.HasPrefix(t.Try(), "masthead install") {
		return &refusal{err, strings.Replace(t.Try(), "masthead install", w.command(""), 1)}
	}
	return err
}

// OccupiedError is a disk of the target with something on it, whose serial number was not given.
type OccupiedError struct {
	Disk   install.Disk
	wishes Wishes
}

func (e *OccupiedError) Error() string {
	return fmt.Sprintf("%s of %s is not blank, and all of it would be lost: %s", e.Disk.Path, e.wishes.Host, e.Disk.Holds())
}

// Try is what to type.
func (e *OccupiedError) Try() string {
	return e.wishes.command("--disk " + e.Disk.Path + " --erase '" + e.Disk.ID() + "'")
}

// FreeName is the next name in the row of head1, head2 that nobody has. Pure.
func FreeName(m Master) string {
	taken := map[string]bool{}
	for _, h := range m.Heads {
		taken[h] = true
	}
	for n := range maps.Keys(m.Nodes) {
		taken[n] = true
	}
	for i := 2; ; i++ {
		if name := fmt.Sprintf("head%d", i); !taken[name] {
			return name
		}
	}
}

// zeros is a source of no randomness, for a plan that is made again where it is carried out.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
