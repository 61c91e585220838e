package qmp

import "fmt"

// statusInfo is StatusInfo of QEMU's qapi/run-state.json.
type statusInfo struct {
	Running *bool  `json:"running"`
	Status  string `json:"status"`
}

// standing are the states in which no virtual processor runs and which only a command ends. Not among them, though running
// is false there too: inmigrate, postmigrate, finish-migrate and colo, where the guest runs in another QEMU; suspended,
// where a timer or a packet wakes it; save-vm and restore-vm, which end by themselves.
var standing = map[string]bool{
	"paused": true, "shutdown": true, "prelaunch": true, "io-error": true, "internal-error": true, "guest-panicked": true,
	"watchdog": true, "debug": true,
}

// on reads a status; what is neither running nor standing is an error.
func (s statusInfo) on() (bool, error) {
	switch {
	case s.Running == nil || s.Status == "":
		return false, fmt.Errorf("QMP query-status: the answer has no status")
	case *s.Running:
		return true, nil
	case standing[s.Status]:
		return false, nil
	}
	return false, fmt.Errorf("QMP query-status: %s: the guest may go on by itself or elsewhere", s.Status)
}
