package capture

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Rule is one thing that does not come along.
type Rule struct {
	// Pattern is one of path.Match, of a path without the leading slash. A directory that matches stays out with all that
	// is in it; "dir/*" empties it.
	Pattern string
	// Files leaves out the regular files below the directory Pattern, and keeps its folders: programs that log do not make
	// theirs.
	Files bool
	Why   string
}

// Reasons that several rules share.
const (
	hostKeys  = "SSH host keys are one machine's"
	logins    = "who may log in where: keys and tokens of this machine's administrators"
	machine   = "this machine's identity"
	network   = "this machine's network: a worker keeps the one that it booted with"
	disks     = "this machine's disks, which a worker has not"
	history   = "what was typed here"
	passwords = "passwords of before"
	seeds     = "randomness must not be shared"
	leases    = "leases of this machine"
	logs      = "logs"
	caches    = "can be fetched again"
	mounts    = "made anew at each boot"
	state     = "a head's state and images"
	units     = "a head's services"
	data      = "data of a service, which is not software"
	tls       = "private keys"
	secrets   = "secrets of a service"
	leftovers = "of one run of this machine"
	volume    = "the replicated volume is the heads'"
	answers   = "answers for an installation, with a password"
)

// Rules is the table of what a captured root does not have. Passwords in /etc/shadow and /etc/gshadow are locked, and
// files that hold one of secretTexts stay out as well.
func Rules() []Rule { return append([]Rule(nil), rules...) }

var rules = []Rule{
	{Pattern: "proc/*", Why: mounts}, {Pattern: "sys/*", Why: mounts}, {Pattern: "dev/*", Why: mounts},
	{Pattern: "run/*", Why: mounts}, {Pattern: "tmp/*", Why: mounts}, {Pattern: "var/tmp/*", Why: mounts},
	{Pattern: "var/run/*", Why: mounts}, {Pattern: "var/lock/*", Why: mounts}, {Pattern: "lost+found", Why: mounts},

	{Pattern: "etc/ssh/ssh_host_*", Why: hostKeys},
	{Pattern: "etc/hostname", Why: machine}, {Pattern: "etc/machine-info", Why: machine}, {Pattern: "var/lib/dbus/machine-id", Why: machine},
	{Pattern: "etc/hostid", Why: machine}, {Pattern: "etc/iscsi/initiatorname.iscsi", Why: machine},
	{Pattern: "etc/nvme/hostid", Why: machine}, {Pattern: "etc/nvme/hostnqn", Why: machine}, {Pattern: "var/lib/cloud/*", Why: machine},

	{Pattern: "etc/resolv.conf", Why: network}, {Pattern: "etc/network/interfaces", Why: network},
	{Pattern: "etc/network/interfaces.d/*", Why: network}, {Pattern: "etc/systemd/network/*", Why: network},
	{Pattern: "etc/netplan/*", Why: network}, {Pattern: "etc/NetworkManager/system-connections/*", Why: network + ", with its secrets"},
	{Pattern: "etc/wpa_supplicant/*.conf", Why: network + ", with its secrets"}, {Pattern: "var/lib/iwd/*", Why: network + ", with its secrets"},
	{Pattern: "etc/udev/rules.d/70-persistent-*", Why: network},
	{Pattern: "var/lib/dhcp/*", Why: leases}, {Pattern: "var/lib/dhclient/*", Why: leases}, {Pattern: "var/lib/dhcpcd/*", Why: leases},
	{Pattern: "var/lib/NetworkManager/*", Why: leases}, {Pattern: "var/lib/systemd/network/*", Why: leases},

	{Pattern: "etc/fstab", Why: disks}, {Pattern: "etc/crypttab", Why: disks}, {Pattern: "etc/mdadm/mdadm.conf", Why: disks},
	{Pattern: "etc/lvm/archive/*", Why: disks}, {Pattern: "etc/lvm/backup/*", Why: disks}, {Pattern: "etc/lvm/devices/*", Why: disks},
	{Pattern: "etc/multipath/*", Why: disks}, {Pattern: "swapfile", Why: disks}, {Pattern: "swap.img", Why: disks},

	{Pattern: "root/.ssh", Why: logins}, {Pattern: "home/*/.ssh", Why: logins},
	{Pattern: "root/.gnupg", Why: logins}, {Pattern: "home/*/.gnupg", Why: logins},
	{Pattern: "root/.aws", Why: logins}, {Pattern: "home/*/.aws", Why: logins},
	{Pattern: "root/.kube", Why: logins}, {Pattern: "home/*/.kube", Why: logins},
	{Pattern: "root/.docker/config.json", Why: logins}, {Pattern: "home/*/.docker/config.json", Why: logins},
	{Pattern: "root/.netrc", Why: logins}, {Pattern: "home/*/.netrc", Why: logins},
	{Pattern: "root/.my.cnf", Why: logins}, {Pattern: "home/*/.my.cnf", Why: logins},
	{Pattern: "root/.pgpass", Why: logins}, {Pattern: "home/*/.pgpass", Why: logins},
	{Pattern: "root/.git-credentials", Why: logins}, {Pattern: "home/*/.git-credentials", Why: logins},
	{Pattern: "root/*-token", Why: logins}, {Pattern: "root/*.token", Why: logins},
	{Pattern: "root/.*_history", Why: history}, {Pattern: "home/*/.*_history", Why: history},
	{Pattern: "root/.*hst", Why: history}, {Pattern: "home/*/.*hst", Why: history},
	{Pattern: "root/.viminfo", Why: history}, {Pattern: "home/*/.viminfo", Why: history},
	{Pattern: "root/.cache", Why: caches}, {Pattern: "home/*/.cache", Why: caches},

	{Pattern: "etc/passwd-", Why: passwords}, {Pattern: "etc/shadow-", Why: passwords}, {Pattern: "etc/group-", Why: passwords},
	{Pattern: "etc/gshadow-", Why: passwords}, {Pattern: "etc/shadow[._+~]*", Why: passwords}, {Pattern: "etc/gshadow[._+~]*", Why: passwords}, {Pattern: "etc/subuid-", Why: passwords}, {Pattern: "etc/subgid-", Why: passwords},
	{Pattern: "etc/security/opasswd", Why: passwords}, {Pattern: "etc/.pwd.lock", Why: leftovers},
	{Pattern: "var/cache/debconf/passwords.dat", Why: passwords},

	{Pattern: "var/lib/systemd/random-seed", Why: seeds}, {Pattern: "var/lib/urandom/*", Why: seeds},
	{Pattern: "var/lib/systemd/credential.secret", Why: seeds},

	{Pattern: "var/lib/masthead/*", Why: state}, {Pattern: "etc/masthead/*", Why: state},
	{Pattern: "etc/systemd/system/masthead-*", Why: units}, {Pattern: "etc/systemd/system/*/masthead-*", Why: units},
	{Pattern: "usr/local/bin/masthead", Why: units}, {Pattern: "usr/local/sbin/masthead", Why: units},
	{Pattern: "root/masthead-install*.yaml", Why: answers}, {Pattern: "home/*/masthead-install*.yaml", Why: answers},
	{Pattern: "root/join-token*", Why: logins}, {Pattern: "home/*/join-token*", Why: logins},
	{Pattern: "etc/drbd.conf", Why: volume}, {Pattern: "etc/drbd.d/*", Why: volume}, {Pattern: "var/lib/drbd/*", Why: volume},
	{Pattern: "var/lib/drbd-utils/*", Why: volume}, {Pattern: "cluster/*", Why: volume},

	{Pattern: "var/lib/mysql/*", Why: data}, {Pattern: "var/lib/mysql-*/*", Why: data}, {Pattern: "var/lib/postgresql/*", Why: data},
	{Pattern: "var/lib/ldap/*", Why: data}, {Pattern: "var/lib/redis/*", Why: data}, {Pattern: "var/lib/docker/*", Why: data},
	{Pattern: "var/lib/containerd/*", Why: data}, {Pattern: "var/lib/containers/*", Why: data}, {Pattern: "var/lib/libvirt/images/*", Why: data},
	{Pattern: "var/mail/*", Why: data}, {Pattern: "var/spool/mail/*", Why: data}, {Pattern: "var/spool/postfix/*/*", Why: data},
	{Pattern: "var/spool/exim4/*/*", Why: data}, {Pattern: "var/spool/cups/*", Why: data}, {Pattern: "srv/*", Why: data},

	{Pattern: "etc/ssl/private/*", Why: tls}, {Pattern: "etc/pki/tls/private/*", Why: tls}, {Pattern: "etc/letsencrypt/*", Why: tls},
	{Pattern: "etc/wireguard/*", Why: tls}, {Pattern: "etc/swanctl/private/*", Why: tls}, {Pattern: "etc/ipsec.d/private/*", Why: tls},
	{Pattern: "etc/ipsec.secrets", Why: secrets}, {Pattern: "etc/ppp/*-secrets", Why: secrets},
	{Pattern: "etc/apt/auth.conf", Why: secrets}, {Pattern: "etc/apt/auth.conf.d/*", Why: secrets},
	{Pattern: "etc/mysql/debian.cnf", Why: secrets}, {Pattern: "etc/*.keytab", Why: secrets}, {Pattern: "var/lib/samba/private/*", Why: secrets},
	{Pattern: "etc/corosync/authkey", Why: secrets}, {Pattern: "etc/ha.d/authkeys", Why: secrets},
	{Pattern: "etc/credstore/*", Why: secrets}, {Pattern: "etc/credstore.encrypted/*", Why: secrets},

	{Pattern: "var/log", Files: true, Why: logs}, {Pattern: "var/log/journal/*", Why: logs},
	{Pattern: "var/cache/apt/*", Why: caches}, {Pattern: "var/lib/apt/lists/*", Why: caches}, {Pattern: "var/cache/debconf/*-old", Why: caches},
	{Pattern: "var/lib/dpkg/*-old", Why: caches}, {Pattern: "var/cache/ldconfig/aux-cache", Why: caches}, {Pattern: "var/backups/*", Why: caches},
	{Pattern: "var/lib/dpkg/lock*", Why: leftovers}, {Pattern: "var/lib/dpkg/triggers/Lock", Why: leftovers},
	{Pattern: "var/lib/systemd/timers/*", Why: leftovers}, {Pattern: "var/lib/systemd/coredump/*", Why: leftovers}, {Pattern: "var/crash/*", Why: leftovers},
	{Pattern: "var/lib/systemd/timesync/*", Why: leftovers}, {Pattern: "var/lib/private/systemd/timesync/*", Why: leftovers},
	{Pattern: "var/lib/systemd/rfkill/*", Why: leftovers}, {Pattern: "var/lib/systemd/backlight/*", Why: leftovers},
	{Pattern: "var/lib/systemd/ephemeral-trees/*", Why: leftovers}, {Pattern: "var/lib/logrotate/status", Why: leftovers},
	{Pattern: "etc/.updated", Why: leftovers}, {Pattern: "var/.updated", Why: leftovers},
}

// secretDirs are where files are looked into: software that is installed elsewhere has the keys of its own tests.
var secretDirs = []string{"etc", "root", "home", "opt", "usr/local", "var/lib", "var/www"}

// judge says why the file called name, of that type, stays out; empty: it comes along. keep are the paths that come along
// whatever the rules say, with all that is in them and the folders on the way.
func judge(all []Rule, keep []string, name string, format uint32) string {
	for _, k := range keep {
		if inside(k, name) || under(name, k) {
			return ""
		}
	}
	for at := name; at != "."; at = path.Dir(at) {
		if why := reason(all, at, at == name && format == unix.S_IFREG); why != "" {
			return why
		}
		if len(keep) == 0 {
			break // a folder that stays out is never entered
		}
	}
	if format == unix.S_IFSOCK {
		return leftovers
	}
	return ""
}

// reason is that of the first rule for name.
func reason(all []Rule, name string, regular bool) string {
	for _, r := range all {
		if r.Files {
			if regular && under(r.Pattern, name) {
				return r.Why
			}
			continue
		}
		if ok, err := path.Match(r.Pattern, name); ok && err == nil {
			return r.Why
		}
	}
	return ""
}

func under(dir, name string) bool { return strings.HasPrefix(name, dir+"/") }

// inside reports whether name is in dir, or dir itself.
func inside(dir, name string) bool { return name == dir || under(dir, name) }

// looksInto reports whether a file is looked into for secrets.
func looksInto(name string, size int64) bool {
	return size > 0 && size <= maxKeyFile && below(secretDirs, name)
}

// below reports whether name is in one of the folders.
func below(dirs []string, name string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return under(dir, name) })
}
