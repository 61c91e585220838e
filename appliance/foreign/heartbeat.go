package foreign

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"masthead/appliance/configuration"
	"masthead/appliance/fence"
	"masthead/node/serial"
)

// Heartbeat reads the ha.cf and haresources of Heartbeat. Either may be empty.
func Heartbeat(hacf, haresources []byte) (Result, error) {
	h := haReader{report: newReport("ha.cf", hacf), baud: 19200}
	for i, text := range strings.Split(string(hacf), "\n") {
		// A comment may stand behind a directive, as in the ha.cf that comes with Heartbeat.
		text, _, _ = strings.Cut(text, "#")
		if fields := strings.Fields(text); len(fields) > 0 {
			h.directive(i+1, fields[0], fields[1:], strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), fields[0])))
		}
	}
	h.finish()
	r := resourceReader{report: newReport("haresources", haresources), document: &h.document, nodes: h.nodes, failback: h.failback}
	r.read(haresources)
	for name, value := range r.secrets {
		h.secrets[name] = value
	}
	return Result{Document: h.document, Secrets: h.secrets, Lines: append(h.done(hashComment), r.done(hashComment)...)}, nil
}

// haReader holds what of ha.cf has been read.
type haReader struct {
	*report
	document configuration.Document
	nodes    []string
	failback bool
	baud     int
	card     string // the first that heartbeats are exchanged on
	serials  []configuration.Serial
	fences   []fencing
}

// fencing is a stonith_host line.
type fencing struct {
	line   int
	node   string
	device fence.Device
}

func (h *haReader) directive(line int, word string, args []string, rest string) {
	first := ""
	if len(args) > 0 {
		first = args[0]
	}
	switch word {
	case "node":
		for _, n := range args {
			if !slices.Contains(h.nodes, short(n)) {
				h.nodes = append(h.nodes, short(n))
			}
			if short(n) != n {
				h.yes(line, "head %s: heads have short names", short(n))
			}
		}
		h.yes(line, "heads join with `masthead head join`")
	case "cluster":
		h.document.Name = first
	case "keepalive", "warntime":
		h.yes(line, "heartbeats are 50 ms apart (profile normal), and a late one is counted on its link")
	case "deadtime":
		if _, ok := seconds(first); !ok {
			h.no(line, "%q is no time", first)
			return
		}
		h.document.Profile = configuration.ProfileNormal
		h.yes(line, "profile normal: the owner is suspected after 250 ms of silence, and another takes over within a second, if it may")
	case "initdead":
		h.initdead(line, first)
	case "deadping":
		h.yes(line, "the gateway is asked by ARP; no answer to three in a row is enough")
	case "udpport":
		h.yes(line, "heartbeats have port 7947")
	case "baud":
		n, err := strconv.Atoi(first)
		if err != nil || serial.CheckBaud(n) != nil {
			h.no(line, "%q is no speed of a serial line that heartbeats fit through", first)
			return
		}
		h.baud = n
		for i := range h.serials {
			h.serials[i].Baud = n
		}
		h.yes(line, "both ends must have it; 115200 is better")
	case "serial":
		h.serial(line, args)
	case "bcast", "mcast", "ucast":
		h.network(line, word, args)
	case "auto_failback", "nice_failback":
		h.autoFailback(line, word, strings.ToLower(first))
	case "ping", "ping_group":
		h.ping(line, word, args)
	case "watchdog":
		if first != "/dev/watchdog" {
			h.document.Watchdog.Device = first
		}
		h.yes(line, "always on: the hardware's, else the kernel's own")
	case "stonith_host":
		h.stonith(line, args)
	case "stonith":
		h.no(line, "the parameters are in %s: write them as fence_devices (masthead cluster edit)", rest)
	case "respawn":
		if strings.HasSuffix(rest, "/ipfail") {
			h.yes(line, "built in: an owner whose way to its clients is down hands over")
		} else {
			h.no(line, "not started: make it a unit, and a resource of a service if it shall follow the owner")
		}
	case "crm", "pacemaker":
		if on, known := boolean(first); known && !on {
			return
		}
		h.no(line, "the resources are then in Pacemaker's configuration, which is not read: write them as services")
	case "hbaping":
		h.no(line, "the way to a disk array is not watched; a script monitor can do it")
	case "logfacility", "logfile", "debugfile", "debug", "use_logd", "conn_logd_time", "syslogmsgfmt", "hopfudge", "msgfmt", "hbgenmethod", "realtime", "apiauth",
		"compression", "compression_threshold", "traditional_compression", "coredumps", "uuidfrom", "rtprio", "hbversion", "cdev", "memreserve", "quorum_server",
		"enable_config_writes_test", "enable_config_writes", "log_badpack", "max_rexmit_delay", "ha_mcast_ttl", "autojoin", "epoch", "generation":
		if word == "quorum_server" {
			h.no(line, "name 3 or 5 workers as witnesses instead (arbiter: panel)")
			return
		}
		h.yes(line, "not needed")
	default:
		h.no(line, "Heartbeat has nothing called %s", word)
	}
}

// boolean reads what ha.cf takes for true and false.
func boolean(s string) (value, known bool) {
	switch strings.ToLower(s) {
	case "true", "on", "yes", "y", "1":
		return true, true
	case "false", "off", "no", "n", "0":
		return false, true
	}
	return false, false
}

func (h *haReader) initdead(line int, text string) {
	d, ok := seconds(text)
	if !ok || d < time.Second || d > 10*time.Minute {
		h.no(line, "%q is no time from 1 to 600 s", text)
		return
	}
	h.document.BootWait = d
	h.yes(line, "boot_wait: so long a head that boots alone listens for the others")
}

// seconds is Heartbeat's time: "10", "1500ms", "2s".
func seconds(s string) (time.Duration, bool) {
	s = strings.ToLower(s)
	if n, ok := strings.CutSuffix(s, "ms"); ok {
		return number(n, time.Millisecond)
	}
	if n, ok := strings.CutSuffix(s, "us"); ok {
		return number(n, time.Microsecond)
	}
	return number(strings.TrimSuffix(s, "s"), time.Second)
}

func (h *haReader) serial(line int, devices []string) {
	for _, d := range devices {
		if serial.CheckDevice(d) != nil || strings.HasPrefix(d, "/dev/cua") {
			h.no(line, "%s is no serial line of Linux (/dev/ttyS0)", d)
			continue
		}
		if !slices.ContainsFunc(h.serials, func(s configuration.Serial) bool { return s.Device == d }) {
			h.serials = append(h.serials, configuration.Serial{Device: d, Baud: h.baud})
		}
	}
	if len(devices) == 0 {
		h.no(line, "it names no device")
	}
}

func (h *haReader) network(line int, word string, args []string) {
	if len(args) == 0 {
		h.no(line, "it names no network card")
		return
	}
	if h.card == "" || h.card == args[0] {
		h.card = args[0]
		if word == "bcast" {
			args = args[1:]
		}
		h.yes(line, "%s is taken for the cluster's network, on which heartbeats are always exchanged", h.card)
		if word != "bcast" || len(args) == 0 {
			return
		}
	}
	const on = "heartbeats go from address to address: on another network if each head's address there is named (heads: NAME: heartbeats: [ADDRESS])"
	switch {
	case word == "ucast" && len(args) > 1:
		h.no(line, "%s; %s is one of these addresses, of whichever head has it", on, args[1])
	default:
		h.no(line, "%s", on)
	}
}

func (h *haReader) autoFailback(line int, word, value string) {
	on, known := boolean(value)
	if word == "nice_failback" {
		on = !on // the older directive says the opposite
	}
	switch {
	case value == "legacy" || known && on:
		h.failback = true
		h.no(line, "nobody falls back by himself here: a head that comes back is standby, and `masthead head switch` moves everything when you say so")
	case known:
		h.yes(line, "as always here: a head that comes back is standby")
	default:
		h.no(line, "%q is neither on, off nor legacy", value)
	}
}

func (h *haReader) ping(line int, word string, args []string) {
	if word == "ping_group" && len(args) > 0 {
		args = args[1:]
	}
	if len(args) == 0 {
		h.no(line, "it names no address")
	}
	for _, text := range args {
		a, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			h.no(line, "%s is no address", text)
		case h.document.Gateway.IsValid() && h.document.Gateway.Addr != a:
			h.no(line, "only one address is asked, %s; watch %s with a ping monitor", h.document.Gateway, a)
		default:
			h.document.Gateway = configuration.Gateway{Addr: a}
			h.yes(line, "gateway: asked by ARP, so it must be on the network of the virtual address")
		}
	}
}

func (h *haReader) finish() {
	head := func(name string) configuration.Head { return h.document.Heads[name] }
	set := func(name string, c configuration.Head) {
		if h.document.Heads == nil {
			h.document.Heads = map[string]configuration.Head{}
		}
		h.document.Heads[name] = c
	}
	if len(h.serials) > 0 {
		for _, n := range h.nodes {
			c := head(n)
			c.Serial = slices.Clone(h.serials)
			set(n, c)
		}
		if len(h.nodes) == 0 {
			for i, l := range h.lines {
				if strings.HasPrefix(l.Text, "serial") {
					h.no(i+1, "no node is named that could have it")
				}
			}
		}
	}
	for _, f := range h.fences {
		for _, n := range h.nodes {
			if f.node != "" && f.node != n {
				continue
			}
			c := head(n)
			c.Fence = append(c.Fence, []fence.Step{{Device: f.device.Name}})
			set(n, c)
		}
	}
	// Manual waits for a person, so it is the last level.
	for n, c := range h.document.Heads {
		slices.SortStableFunc(c.Fence, func(a, b []fence.Step) int { return h.manual(a) - h.manual(b) })
		c.Fence = slices.CompactFunc(c.Fence, func(a, b []fence.Step) bool { return h.manual(a)+h.manual(b) == 2 })
		set(n, c)
	}
	if len(h.nodes) > 2 {
		h.document.Arbiter = configuration.ArbiterRaft
	}
}

func (h *haReader) manual(level []fence.Step) int {
	if slices.ContainsFunc(h.document.FenceDevices, func(d fence.Device) bool { return d.Name == level[0].Device && d.Agent == "manual" }) {
		return 1
	}
	return 0
}
