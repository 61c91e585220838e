package data

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
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
	Secret  string // of the heads, for all volumes
	// Freeze: an owner that has lost the other copy completes no write before the arbiter's word. Without it the owner goes on,
	// which is safe only where nobody else becomes the owner without its leave.
	Freeze bool
	Major  int // of the kernel's DRBD: 8 or 9
}

// device is a block device of DRBD.
func device(minor int) string { return fmt.Sprintf("/dev/drbd%d", minor) }

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
		c-fill-target 1M;
		%s
%s%s	}
`

// rates bound a resync, and what it takes of a pool. Beside writes of the services DRBD throttles it to c-min-rate, whose own default of 250 KiB/s would
// take a day for 20 GiB while the cluster has one copy: a third of what it may have at most is always its own. It begins there
// too (resync-rate); how much of it is under way is c-fill-target (drbd.conf(5)).
func (v Volume) rates() []string {
	most := v.ResyncRate
	if most == "" {
		most = defaultRate
	}
	least := fmt.Sprintf("%dK", max(kibi(most)/3, 1))
	all := []string{"resync-rate " + least, "c-min-rate " + least, "c-max-rate " + most}
	if v.snapshotsBy() == LVM {
		all = append(all, thinResync)
	}
	return all
}

// thinResync has a resync leave blank what is blank, 64 KiB or a chunk of the pool at a time: a copy would else fill its pool.
const thinResync = "rs-discard-granularity 65536"

const defaultRate = "100M"

// kibi is a size in KiB, or a rate in KiB/s, 0 for what is none. A number alone is KiB too (drbd.conf(5)).
func kibi(rate string) int64 {
	number := strings.TrimRight(rate, "KMGT")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || len(rate) > len(number)+1 {
		return 0
	}
	switch rate[len(number):] {
	case "T":
		return n << 30
	case "G":
		return n << 20
	case "M":
		return n << 10
	}
	return n
}

// mostRate is DRBD's own limit, in KiB/s (DRBD_C_MAX_RATE_MAX of linux/drbd_limits.h).
const mostRate = 4 << 20

// diskOptions are what may change while a copy is in use. drbdadm-84 does not take them out of its file for that.
func (r Resources) diskOptions(v Volume) []string {
	var options []string
	if r.Major < 9 { // later an option of the connection
		fencing := "resource-only"
		if r.Freeze {
			fencing = "resource-and-stonith"
		}
		options = append(options, "--fencing="+fencing)
	}
	for _, rate := range v.rates() {
		options = append(options, "--"+strings.Replace(rate, " ", "=", 1))
	}
	return options
}

// Render gives DRBD's configuration file.
func (r Resources) Render() string { return r.render(Volume.lower) }

// secret is with what the two copies of a volume prove to one another that they are that: 48 of the 63 characters that there
// may be (drbd.conf(5)). DRBD says no name when it connects. A head that has not heard yet of a change of volumes may still
// have another one at the port of a new one, which without this would be made a copy of that.
func (r Resources) secret(volume string) string {
	mac := hmac.New(sha256.New, []byte(r.Secret))
	mac.Write([]byte(volume))
	return hex.EncodeToString(mac.Sum(nil)[:24])
}

// render has the copies lie where lower says.
func (r Resources) render(lower func(v Volume, head string) string) string {
	var b strings.Builder
	b.WriteString("# Written by masthead from the cluster's configuration, at each change of that.\nglobal {\n\tusage-count no;\n}\ncommon {\n}\n")
	fencing := "fencing resource-only;\n"
	if r.Freeze {
		fencing = "fencing resource-and-stonith;\n"
	}
	for i, v := range r.Volumes {
		size := ""
		if v.Size != "" {
			size = "\t\tsize " + v.Size + ";\n"
		}
		net, disk := "", "\t\t"+fencing
		if r.Major >= 9 { // where it is an option of the connection
			net, disk = disk, ""
		}
		fmt.Fprintf(&b, "resource %s {\n", v.Name)
		fmt.Fprintf(&b, tuning, r.secret(v.Name), net, strings.Join(v.rates(), ";\n\t\t")+";", size, disk)
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
				device(v.minor(i)), v.minor(i), lower(v, h.Name), family, address, v.port(i))
		}
		b.WriteString("}\n")
	}
	return b.String()
}
