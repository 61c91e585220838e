package wire

import (
	"time"

	"masthead/images"
)

// Stage is one step of a machine's way from power-on to up.
type Stage string

// The stages in the order in which a machine passes them. The head sees the first five from outside, as requests; init
// reports the others.
const (
	StageDHCP      Stage = "dhcp"      // firmware got an address
	StageTFTP      Stage = "tftp"      // firmware fetched the first loader
	StageScript    Stage = "script"    // the loader fetched its script
	StageKernel    Stage = "kernel"    // and the kernel
	StageInitramfs Stage = "initramfs" // and the initramfs
	StageMounts    Stage = "mounts"
	StageModules   Stage = "modules"
	StageMedium    Stage = "medium" // the ISO or stick was found
	StageNetwork   Stage = "network"
	StageHello     Stage = "hello"
	StageRoot      Stage = "root"     // the root is mounted
	StageHandover  Stage = "handover" // the root's init is about to run
	StageUp        Stage = "up"       // the agent runs
)

// Stages lists all stages in order.
func Stages() []Stage {
	return []Stage{StageDHCP, StageTFTP, StageScript, StageKernel, StageInitramfs, StageMounts, StageModules,
		StageMedium, StageNetwork, StageHello, StageRoot, StageHandover, StageUp}
}

// Outcome is how a stage stands. A stage that nothing is known of is not in any list.
type Outcome string

const (
	OutcomeRunning Outcome = "running"
	OutcomeDone    Outcome = "done"
	OutcomeFailed  Outcome = "failed"
)

// StageResult is one stage of one boot.
type StageResult struct {
	Stage   Stage     `json:"stage"`
	Outcome Outcome   `json:"outcome"`
	At      float64   `json:"at"`               // seconds of kernel time when it ended, or began if running; 0 before the kernel
	Took    float64   `json:"took"`             // seconds
	Detail  string    `json:"detail,omitempty"` // an address, a file, a device
	Cause   string    `json:"cause,omitempty"`  // of a failure: the URL and status, the errno, the DHCP reply
	Try     string    `json:"try,omitempty"`    // what to do about it
	Time    time.Time `json:"time"`             // wall clock: the machine's in a report, the head's once it is stored
}

// Report is what a machine tells its head: the stages that changed, and how it is.
type Report struct {
	Boot    string        `json:"boot"`
	MAC     string        `json:"mac"`
	Stages  []StageResult `json:"stages,omitempty"`
	Root    *RootStatus   `json:"root,omitempty"`
	Uptime  float64       `json:"uptime,omitempty"`  // seconds
	Running images.Digest `json:"running,omitempty"` // the image of the root
	Note    string        `json:"note,omitempty"`    // one event in words
}

// RootStatus is how the root device of a machine stands.
type RootStatus struct {
	Image        string  `json:"image"`
	Source       string  `json:"source"`        // the one in use; empty: none answers
	Chunks       int     `json:"chunks"`        // of the image
	Present      int     `json:"present"`       // in the cache
	BytesFetched int64   `json:"bytes_fetched"` // from sources, stored size
	CacheBytes   int64   `json:"cache_bytes"`
	Errors       int     `json:"errors"`  // fetches that failed or did not verify
	Waiting      float64 `json:"waiting"` // seconds since a fetch, for a read or ahead of one, began to wait with no source; 0: none waits
}
