package fence

import (
	"log/slog"
	"time"

	"masthead/appliance/failover"
)

// Device is something that can switch heads off.
type Device struct {
	Name string `yaml:"name" json:"name"`
	// Agent is qmp, redfish, ipmi, vmware, manual, or the name or path of a fence-agents program (fence_apc).
	Agent  string            `yaml:"agent" json:"agent"`
	Params map[string]string `yaml:"params,omitempty" json:"params,omitempty"`
	// Timeout of one order with its proof. Left out: Config.StepTimeout.
	Timeout time.Duration `yaml:"timeout,omitempty" json:"timeout,omitempty"`
}

// Step is one device as it is used for one head.
type Step struct {
	Device string            `yaml:"device" json:"device"`
	Params map[string]string `yaml:"params,omitempty" json:"params,omitempty"` // override those of the device
}

// Config is what a Fencer works with.
type Config struct {
	Devices []Device
	// Heads are the levels of each head. The levels are tried in order; all steps of a level must prove that they are off,
	// as the two power supplies of one machine.
	Heads map[string][][]Step
	// StepTimeout is for devices without one of their own. 0: DefaultStepTimeout.
	StepTimeout time.Duration
	// ProbeEvery is how often each device is asked for its status. 0: DefaultProbeEvery.
	ProbeEvery time.Duration
	AgentDirs  []string // where fence-agents programs are. Empty: DefaultAgentDirs
	Now        func() failover.Instant
	Log        *slog.Logger
	// Event is told what a person should know; it may be called by any goroutine and must not block. nil: nobody is told.
	Event func(text string, bad bool)
}

const (
	// DefaultStepTimeout is above the 20 s that fence-agents wait for a device to switch (power_timeout).
	DefaultStepTimeout = 30 * time.Second
	// DefaultProbeEvery finds a dead device within a minute, and leaves a BMC that serves one connection at a time alone
	// for most of it.
	DefaultProbeEvery = time.Minute
)

// DefaultAgentDirs is where Debian, Red Hat and administrators put fence-agents programs.
func DefaultAgentDirs() []string { return []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} }
