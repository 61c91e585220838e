package maker

import (
	"path"
	"strings"
)

// Of what was written over the root of a head some is that one machine's own: it does not come along to another head. Who
// may log in, passwords and the keys of services do: the two heads stand in for each other.

// own are patterns of path.Match, of paths without the leading slash. What matches stays with all that is in it.
var own = []string{
	"dev/*", "proc/*", "run/*", "sys/*", "tmp/*", "var/tmp/*", "lost+found",
	// Who the machine is.
	"etc/hostname", "etc/hosts", "etc/machine-id", "etc/machine-info", "etc/hostid", "etc/ssh/ssh_host_*", "var/lib/dbus/machine-id",
	"etc/iscsi/initiatorname.iscsi", "etc/nvme/hostid", "etc/nvme/hostnqn", "var/lib/cloud",
	// Its network and its disks.
	"etc/resolv.conf", "etc/network/interfaces", "etc/network/interfaces.d/*", "etc/systemd/network/*", "etc/netplan/*",
	"etc/NetworkManager/system-connections/*", "etc/udev/rules.d/70-persistent-*", "var/lib/dhcp/*", "var/lib/dhclient/*", "var/lib/dhcpcd/*",
	"var/lib/NetworkManager/*", "etc/fstab", "etc/crypttab", "etc/mdadm/mdadm.conf", "etc/lvm/archive/*", "etc/lvm/backup/*", "etc/lvm/devices/*",
	// What it has done, and what it can make again.
	"var/lib/systemd/random-seed", "var/lib/systemd/coredump/*", "var/lib/systemd/timers/*", "var/log/*", "var/cache/*", "var/lib/apt/lists/*",
	"root/.bash_history", "root/.cache",
	// What a head has besides: its state is joined, volumes are replicated.
	"var/lib/masthead", "etc/masthead", "cluster", "var/lib/drbd", "usr/local/bin/masthead",
}

// Own reports whether a path of a head's root, without the leading slash, stays with that head. replicated are folders that
// live on replicated volumes, with the leading slash. Pure.
func Own(name string, replicated []string) bool {
	for _, folder := range replicated {
		if folder = strings.Trim(folder, "/"); name == folder || strings.HasPrefix(name, folder+"/") {
			return true
		}
	}
	for at := name; at != "." && at != "/"; at = path.Dir(at) {
		for _, pattern := range own {
			if ok, _ := path.Match(pattern, at); ok { // the patterns are right: a test tries them
				return true
			}
		}
	}
	return false
}
