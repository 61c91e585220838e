package data

import (
	"fmt"
	"net/netip"
	"strings"
)

// Host is a head with a copy.
type Host struct {
	Name    string
	Number  int // never given to another head
	Address netip.Addr
}

// Resources are the volumes of a cluster as DRBD is to have them.
type Resources struct {
	Volumes []Volume
	Hosts   []Host // one or two
	Secret  string // with which the heads prove to one another who they are; 63 characters at most (drbd.conf(5))
	// Freeze: an owner that has lost the other copy completes no write before the arbiter's word. Without it the owner goes on,
	// which is safe only where nobody else becomes the owner without its leave.
	Freeze bool
	Major  int // of the kernel's DRBD: 8 or 9
}

// Minor is the number of a volume's device: /dev/drbd0.
func Minor(index int) int { return index }

// Device is the block device of the volume with that index.
func Device(index int) string { return fmt.Sprintf("/dev/drbd%d", Minor(index)) }

// tuning is what every volume has in common. Times are in 1/10 s but for ping-int and connect-int, in s (drbd.conf(5)): a
// dead peer is noticed after 1.2 s, or 0.9 s after the first write that it does not acknowledge. After a split brain nothing
// is thrown away by itself but what nobody has written to: the others of DRBD's strategies lose acknowledged writes.
const tuning = `	net {
		protocol C;
		allow-two-primaries no;
		ping-int 1;
		ping-timeout 2;
		timeout 9;
		connect-int 1;
		after-sb-0pri discard-zero-changes;
		after-sb-1pri consensus;
		after-sb-2pri disconnect;
		rr-conflict disconnect;
		cram-hmac-alg sha256;
		shared-secret "%s";
		verify-alg crc32c;
%s	}
	disk {
		on-io-error detach;
		c-max-rate %s;
%s%s	}
`

// diskOptions are what may change while a copy is in use. drbdadm-84 does not take them out of its file for that.
func (r Resources) diskOptions(v Volume) []string {
	rate, fencing := v.ResyncRate, "resource-only"
	if rate == "" {
		rate = defaultRate
	}
	if r.Freeze {
		fencing = "resource-and-stonith"
	}
	if r.Major >= 9 {
		return []string{"--c-max-rate=" + rate}
	}
	return []string{"--fencing=" + fencing, "--c-max-rate=" + rate}
}

const defaultRate = "100M"

// Render gives DRBD's configuration file.
func (r Resources) Render() string {
	var b strings.Builder
	b.WriteString("# Written by masthead from the cluster's configuration, at each change of that.\nglobal {\n\tusage-count no;\n}\ncommon {\n}\n")
	fencing := "fencing resource-only;\n"
	if r.Freeze {
		fencing = "fencing resource-and-stonith;\n"
	}
	for i, v := range r.Volumes {
		rate := v.ResyncRate
		if rate == "" {
			rate = defaultRate
		}
		size := ""
		if v.Size != "" {
			size = "\t\tsize " + v.Size + ";\n"
		}
		net, disk := "", "\t\t"+fencing
		if r.Major >= 9 { // where it is an option of the connection
			net, disk = disk, ""
		}
		fmt.Fprintf(&b, "resource %s {\n", v.Name)
		fmt.Fprintf(&b, tuning, r.Secret, net, rate, size, disk)
		for _, h := range r.Hosts {
			family := "ipv4 "
			address := h.Address.String()
			if h.Address.Is6() && !h.Address.Is4In6() {
				family, address = "ipv6 ", "["+address+"]"
			}
			fmt.Fprintf(&b, "\ton %s {\n", h.Name)
			if r.Major >= 9 {
				fmt.Fprintf(&b, "\t\tnode-id %d;\n", h.Number)
			}
			fmt.Fprintf(&b, "\t\tdevice %s minor %d;\n\t\tdisk %s;\n\t\tmeta-disk internal;\n\t\taddress %s%s:%d;\n\t}\n",
				Device(i), Minor(i), v.device(h.Name), family, address, v.port(i))
		}
		b.WriteString("}\n")
	}
	return b.String()
}
