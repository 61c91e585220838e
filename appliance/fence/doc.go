// Package fence switches heads off, and proves it.
//
// A head that takes over without knowing whether the old owner still acts is the death of the data. So a fencing is done
// only when a device has taken the order *off* and its status has then said *off*. Nothing else is a proof: not a time that
// has passed, not a device that cannot be reached, not an exit code alone. And it is never a reboot: a machine that comes
// back by itself could be the second owner.
//
// A driver talks to one kind of device; each has a package of its own below this one (qmp, redfish, ipmi, vmware, and
// script for the programs of fence-agents). This package has what they share: levels, timeouts, the proof, the probe each
// minute. Whom to fence, and when, is decided in package failover.
package fence
