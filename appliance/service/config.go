package service

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"masthead/appliance/failover"
)

// Defaults of what the configuration leaves open.
const (
	DefaultStart = 60 * time.Second
	// DefaultFill is for the start of a replicated volume whose folders are filled, which is once.
	DefaultFill  = 24 * time.Hour
	DefaultStop  = 60 * time.Second
	DefaultCheck = 20 * time.Second // as most OCF agents advise
	// DefaultInterval is that of Red Hat's resource manager for scripts, roughly: often enough to notice, and a hundred
	// scripts are ten processes a second.
	DefaultInterval = 10 * time.Second
	// DefaultLinkInterval is for addresses: a question to the kernel, no process.
	DefaultLinkInterval  = time.Second
	DefaultMaxRestarts   = 3
	DefaultRestartWithin = 10 * time.Minute
	// DefaultRecord is where a daemon notes what it has started; it must be gone after a boot.
	DefaultRecord = "/run/masthead/owner/services.json"
)

// What becomes of a service that fails.
const (
	Restart  = "restart"  // here, at most MaxRestarts times within RestartWithin; then as Relocate
	Relocate = "relocate" // another head is to own the cluster
	Disable  = "disable"  // it stays stopped until a person enables it
)

// What is wished for a service (Config.Wish), as clusvcadm(8) has it.
const (
	Enabled  = "enabled"
	Disabled = "disabled"
	Stopped  = "stopped" // until the next owner, or until it is enabled
)

// Service is an ordered list of resources.
type Service struct {
	Name      string     `yaml:"name" json:"name"`
	Resources []Resource `yaml:"resources" json:"resources"`
	Domain    string     `yaml:"domain,omitempty" json:"domain,omitempty"`       // name of a Domain; empty: any head
	Autostart *bool      `yaml:"autostart,omitempty" json:"autostart,omitempty"` // nil: yes
	After     []string   `yaml:"after,omitempty" json:"after,omitempty"`         // services that must run first
	Recovery  string     `yaml:"recovery,omitempty" json:"recovery,omitempty"`   // empty: Restart
	// MaxRestarts is for Restart; 0: DefaultMaxRestarts, negative: without end.
	MaxRestarts   int           `yaml:"max_restarts,omitempty" json:"max_restarts,omitempty"`
	RestartWithin time.Duration `yaml:"restart_within,omitempty" json:"restart_within,omitempty"` // 0: DefaultRestartWithin
}

// Domain is a failover domain: the heads on which services may or should run.
type Domain struct {
	Name       string   `yaml:"name" json:"name"`
	Heads      []string `yaml:"heads" json:"heads"`
	Restricted bool     `yaml:"restricted,omitempty" json:"restricted,omitempty"` // on these heads only
	Ordered    bool     `yaml:"ordered,omitempty" json:"ordered,omitempty"`       // the earlier in Heads, the better
	// NoFailback is accepted and always so: nothing here moves back by itself (R4).
	NoFailback bool `yaml:"nofailback,omitempty" json:"nofailback,omitempty"`
}

// Resource is one thing that a service consists of: exactly one of its kinds is set. A duration of 0 is the default: what
// an OCF agent advises, or else that of this package.
type Resource struct {
	Name         string        `yaml:"name" json:"name"` // unique in its service; empty: named for what it is
	IP           *IP           `yaml:"ip,omitempty" json:"ip,omitempty"`
	Unit         *Unit         `yaml:"unit,omitempty" json:"unit,omitempty"`
	Script       *Script       `yaml:"script,omitempty" json:"script,omitempty"`
	OCF          *OCF          `yaml:"ocf,omitempty" json:"ocf,omitempty"`
	Filesystem   *Filesystem   `yaml:"filesystem,omitempty" json:"filesystem,omitempty"`
	Data         *Data         `yaml:"data,omitempty" json:"data,omitempty"`
	StartTimeout time.Duration `yaml:"start_timeout,omitempty" json:"start_timeout,omitempty"`
	StopTimeout  time.Duration `yaml:"stop_timeout,omitempty" json:"stop_timeout,omitempty"`
	CheckTimeout time.Duration `yaml:"check_timeout,omitempty" json:"check_timeout,omitempty"`
	Interval     time.Duration `yaml:"interval,omitempty" json:"interval,omitempty"` // between two checks; negative: none
}

// IP is an additional address that belongs to the service.
type IP struct {
	Address     netip.Prefix `yaml:"address" json:"address"`
	NIC         string       `yaml:"nic,omitempty" json:"nic,omitempty"` // empty: the one that has an address of the same network
	MonitorLink bool         `yaml:"monitor_link,omitempty" json:"monitor_link,omitempty"`
}

// Unit is a systemd unit. It must not be enabled at boot.
type Unit struct {
	Name string `yaml:"name" json:"name"` // mariadb.service; without a suffix it is a service
}

// Script is an init script as the Linux Standard Base has it (LSB Core, 22.2), or single commands.
type Script struct {
	File string   `yaml:"file,omitempty" json:"file,omitempty"` // called with Args and start, stop or status
	Args []string `yaml:"args,omitempty" json:"args,omitempty"`
	// Start, Stop and Status are shell lines in place of File. Without Stop there is nothing to stop; without Status it is
	// taken to run from its start to its stop.
	Start  string `yaml:"start,omitempty" json:"start,omitempty"`
	Stop   string `yaml:"stop,omitempty" json:"stop,omitempty"`
	Status string `yaml:"status,omitempty" json:"status,omitempty"`
}

// OCF is a resource agent of the Open Cluster Framework, as Pacemaker uses them.
type OCF struct {
	Agent  string            `yaml:"agent" json:"agent"` // ocf:heartbeat:IPaddr2; ocf::heartbeat:IPaddr2; or its file
	Params map[string]string `yaml:"params,omitempty" json:"params,omitempty"`
	Depth  int               `yaml:"depth,omitempty" json:"depth,omitempty"` // of a check (OCF_CHECK_LEVEL)
}

// Filesystem is mounted while the service runs.
type Filesystem struct {
	Device  string   `yaml:"device" json:"device"` // also UUID=… and LABEL=…
	Path    string   `yaml:"path" json:"path"`     // made if it is not there
	Type    string   `yaml:"type" json:"type"`
	Options []string `yaml:"options,omitempty" json:"options,omitempty"`
	Fsck    bool     `yaml:"fsck,omitempty" json:"fsck,omitempty"` // fsck -p before it is mounted
	// KeepUsers: processes that still use it when it is to be unmounted are not killed; then the stop fails.
	KeepUsers bool `yaml:"keep_users,omitempty" json:"keep_users,omitempty"`
}

// Data is a replicated volume of the cluster: it is written to on this head while the service runs, with its file system and
// its folders mounted.
type Data struct {
	Volume string `yaml:"volume" json:"volume"`
}

// ErrUnclear: it cannot be told now how a resource stands. One that runs is left to run.
var ErrUnclear = errors.New("it cannot be told now")

// Volumes are the replicated volumes of a cluster. Its methods block until it is done, or ctx ends.
type Volumes interface {
	Promote(ctx context.Context, volume string) error // to be written to here
	Demote(ctx context.Context, volume string) error  // of one that is not there too; an error: it may be written to here still
	Primary(volume string) (bool, error)              // whether it is; ErrUnclear: nobody can tell now
	// Mounts are the file systems of a volume in their order; Prepare is called when the first is mounted.
	Mounts(volume string) []Filesystem
	Prepare(ctx context.Context, volume string) error
}

// Addresses adds and removes the addresses of services, behind the same gate as the cluster's own, which is to be open for
// those alone that Group.Answering gives. Add of one that is there and Remove of one that is not succeed.
type Addresses interface {
	Add(ctx context.Context, p netip.Prefix, nic string) error
	Remove(ctx context.Context, p netip.Prefix, nic string) error
}

// Config is what a Group needs. Its functions must not block, nor call the Group.
type Config struct {
	Services []Service
	Domains  []Domain
	Self     string
	Heads    []string                    // all heads; empty: not known, and a service may always ask for another
	Wish     func(service string) string // Enabled, Disabled, Stopped; empty: by Autostart. nil: the same for all
	// Disable is told that Recovery has disabled a service here, once; States says so until somebody wishes something else.
	Disable   func(service, reason string)
	Addresses Addresses     // nil: no service may have an IP
	Volumes   Volumes       // nil: none may have data
	Owner     func() string // the owner, for MASTHEAD_OWNER, while that is not this head; nil: not known
	Gen       func() uint64 // the cluster's generation, for MASTHEAD_CLUSTER_GEN; nil: 0
	Record    string        // file; empty: DefaultRecord
	Now       func() failover.Instant
	Log       *slog.Logger
	Event     func(text string, bad bool) // nil: only the log
}

// Kind is the name of the kind of resource that r is; empty: of none, or of several.
func (r Resource) Kind() string {
	kind, n := "", 0
	for name, set := range map[string]bool{
		"ip": r.IP != nil, "unit": r.Unit != nil, "script": r.Script != nil, "ocf": r.OCF != nil, "filesystem": r.Filesystem != nil,
		"data": r.Data != nil,
	} {
		if set {
			kind, n = name, n+1
		}
	}
	if n != 1 {
		return ""
	}
	return kind
}
