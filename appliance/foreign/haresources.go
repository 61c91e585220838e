package foreign

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	"masthead/appliance/configuration"
	"masthead/appliance/service"
)

// resourceReader reads haresources: in each line a node, and resources that are started from left to right.
type resourceReader struct {
	*report
	document  *configuration.Document
	nodes     []string
	failback  bool
	preferred string
}

func (r *resourceReader) read(data []byte) {
	for _, l := range logicals(data) {
		r.group(l)
		for n := l.number + 1; n <= l.last; n++ {
			r.yes(n, "belongs to line %d", l.number)
			r.lines[n-1].Understood = r.lines[l.number-1].Understood
		}
	}
}

func (r *resourceReader) group(l logical) {
	fields := strings.Fields(l.text)
	if len(fields) == 0 {
		return
	}
	r.node(l.number, fields[0])
	if len(fields) == 1 {
		r.no(l.number, "it names no resource")
	}
	s := service.Service{Name: short(fields[0])}
	for n := 2; slices.ContainsFunc(r.document.Services, func(o service.Service) bool { return o.Name == s.Name }); n++ {
		s.Name = fmt.Sprintf("%s-%d", short(fields[0]), n)
	}
	for _, f := range fields[1:] {
		parts := strings.Split(f, "::")
		if res, ok := r.resource(l.number, parts[0], parts[1:]); ok {
			r.add(l.number, &s, res)
		}
	}
	if len(s.Resources) > 0 {
		r.document.Services = append(r.document.Services, s)
		r.yes(l.number, "service %s", s.Name)
	}
}

// node is the head that the line prefers.
func (r *resourceReader) node(line int, name string) {
	switch n := short(name); {
	case len(r.nodes) > 0 && !slices.Contains(r.nodes, n):
		r.no(line, "%s is no node of ha.cf", name)
	case r.preferred == "":
		r.preferred = n
		r.yes(line, "the heads are equal: everything follows the one that owns, whichever that is (masthead head switch --to %s)", n)
	case r.preferred != n:
		r.no(line, "%s is preferred here, %s above: one head owns everything", n, r.preferred)
	}
}

// add puts a resource into the service, unless it is there already; names are each once.
func (r *resourceReader) add(line int, s *service.Service, res service.Resource) {
	for _, o := range r.document.Services {
		if slices.ContainsFunc(o.Resources, func(x service.Resource) bool { return same(x, res) }) {
			r.no(line, "%s is in service %s already", describe(res), o.Name)
			return
		}
	}
	if slices.ContainsFunc(s.Resources, func(x service.Resource) bool { return same(x, res) }) {
		r.no(line, "%s is there twice", describe(res))
		return
	}
	r.addNamed(line, s, res)
}

// addNamed appends a resource, with a name of its own.
func (r *report) addNamed(line int, s *service.Service, res service.Resource) {
	base := safe(strings.TrimPrefix(describe(res), "/"), "resource")
	res.Name = base
	for n := 2; slices.ContainsFunc(s.Resources, func(o service.Resource) bool { return o.Name == res.Name }); n++ {
		res.Name = fmt.Sprintf("%s-%d", base[:min(len(base), 58)], n)
	}
	if n := res.Name; n != base {
		r.yes(line, "resource %s", n)
	}
	s.Resources = append(s.Resources, res)
}

// describe is what a resource without a name is called.
func describe(res service.Resource) string {
	switch {
	case res.Name != "":
		return res.Name
	case res.IP != nil:
		return res.IP.Address.Addr().String()
	case res.Unit != nil:
		return res.Unit.Name
	case res.Script != nil:
		return path.Base(res.Script.File)
	case res.OCF != nil:
		return res.OCF.Agent[strings.LastIndexAny(res.OCF.Agent, ":/")+1:]
	case res.Filesystem != nil:
		return res.Filesystem.Path
	}
	return ""
}

// same reports whether two resources are the same thing.
func same(a, b service.Resource) bool {
	switch {
	case a.IP != nil && b.IP != nil:
		return a.IP.Address.Addr() == b.IP.Address.Addr()
	case a.Unit != nil && b.Unit != nil:
		return a.Unit.Name == b.Unit.Name
	case a.Script != nil && b.Script != nil:
		return a.Script.File == b.Script.File && slices.Equal(a.Script.Args, b.Script.Args)
	case a.Filesystem != nil && b.Filesystem != nil:
		return a.Filesystem.Path == b.Filesystem.Path
	}
	return false
}

func (r *resourceReader) resource(line int, name string, args []string) (service.Resource, bool) {
	first := ""
	if len(args) > 0 {
		first = args[0]
	}
	text, _, _ := strings.Cut(name, "/")
	if _, err := netip.ParseAddr(text); err == nil {
		r.vip(line, name)
		return service.Resource{}, false
	}
	switch name {
	case "IPaddr", "IPaddr2", "IPv6addr":
		r.vip(line, first)
		return service.Resource{}, false
	case "MailTo":
		r.mailTo(line, args)
		return service.Resource{}, false
	case "Filesystem":
		return r.filesystem(line, args)
	case "drbddisk", "drbdupper", "datadisk":
		r.no(line, "%s: replicated data is not part of a service here: it follows the owner before any service starts", name)
		return service.Resource{}, false
	case "ldirectord", "ipvsadm":
		r.no(line, "%s: load balancing is not a service that follows the owner; it is not read", name)
		return service.Resource{}, false
	case "mon":
		r.yes(line, "mon: built in; `masthead import mon` reads its mon.cf")
		return service.Resource{}, false
	case "dhcpd", "tftpd", "dhcp", "tftp":
		r.yes(line, "%s: built in, on every head", name)
		return service.Resource{}, false
	case "syslog", "rsyslog", "syslogd":
		r.yes(line, "%s: runs on every head by itself", name)
		return service.Resource{}, false
	case "heartbeat", "":
		r.no(line, "%q is no resource", name)
		return service.Resource{}, false
	case "IPsrcaddr", "SendArp", "portblock":
		r.no(line, "%s: not needed for the virtual address, which is announced by itself and opened last; the source address of connections from the head is not changed", name)
		return service.Resource{}, false
	}
	return r.program(line, name, args)
}

// vip is ADDRESS[/LENGTH[/NIC][/BROADCAST]].
func (r *resourceReader) vip(line int, text string) {
	parts := strings.Split(text, "/")
	p, whole, ok := address(strings.Join(parts[:min(2, len(parts))], "/"))
	if !ok {
		r.no(line, "%q is no address", text)
		return
	}
	v := configuration.VIP{Address: p}
	for _, part := range parts[min(2, len(parts)):] {
		if _, err := netip.ParseAddr(part); err == nil {
			r.yes(line, "broadcast address %s: the kernel knows it by the length of the prefix", part)
			continue
		}
		if card, _, aliased := strings.Cut(part, ":"); nicForm.MatchString(card) {
			v.NIC = card
			if aliased {
				r.yes(line, "%s: addresses have no interface of their own", part)
			}
			continue
		}
		r.no(line, "%q is neither a network card nor a broadcast address", part)
	}
	if slices.ContainsFunc(r.document.VIPs, func(o configuration.VIP) bool { return o.Address.Addr() == p.Addr() }) {
		r.no(line, "address %s is there twice", p.Addr())
		return
	}
	if !whole {
		r.no(line, "the length of the prefix is not written: taken for %s; write that of the network, such as %s/24", p, p.Addr())
	}
	r.document.VIPs = append(r.document.VIPs, v)
	r.yes(line, "virtual address %s: opened last, when the services run", p)
}

var nicForm = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,15}$`)

func (r *resourceReader) mailTo(line int, args []string) {
	n := 0
	if len(args) > 0 {
		for _, to := range strings.FieldsFunc(args[0], func(c rune) bool { return c == ',' || c == ' ' }) {
			if r.recipient(line, to) {
				n++
				if !slices.Contains(r.document.Mail.To, to) {
					r.document.Mail.To = append(r.document.Mail.To, to)
				}
			}
		}
	}
	switch {
	case n == 0:
		r.no(line, "MailTo: it names nobody: write `mail: to`")
	case len(args) > 1:
		r.yes(line, "mail: to; every change of owner is mailed, with its own subject, not %q", strings.Join(args[1:], "::"))
	default:
		r.yes(line, "mail: to; every change of owner is mailed")
	}
	r.yes(line, "mail: server must be written")
}

func (r *resourceReader) filesystem(line int, args []string) (service.Resource, bool) {
	if len(args) < 2 || !path.IsAbs(args[1]) || path.Clean(args[1]) == "/" || args[0] == "" {
		r.no(line, "Filesystem is Filesystem::DEVICE::PATH::TYPE::OPTIONS")
		return service.Resource{}, false
	}
	f := &service.Filesystem{Device: args[0], Path: path.Clean(args[1])}
	if label, ok := strings.CutPrefix(args[0], "-L"); ok {
		f.Device = "LABEL=" + label
	} else if uuid, ok := strings.CutPrefix(args[0], "-U"); ok {
		f.Device = "UUID=" + uuid
	}
	if len(args) > 2 {
		f.Type = args[2]
	}
	if f.Type == "" || strings.ContainsAny(f.Type, "/ ") {
		f.Type = "ext4"
		r.no(line, "Filesystem %s: its type is not written: taken for ext4", f.Path)
	}
	if len(args) > 3 && args[3] != "" {
		f.Options = strings.Split(args[3], ",")
	}
	if len(args) > 4 {
		r.no(line, "Filesystem %s: %s is not used", f.Path, strings.Join(args[4:], "::"))
	}
	return service.Resource{Filesystem: f}, true
}

var programForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.@-]{0,63}$`)

// program is a script of /etc/ha.d/resource.d or /etc/init.d.
func (r *resourceReader) program(line int, name string, args []string) (service.Resource, bool) {
	if !programForm.MatchString(name) {
		r.no(line, "%q is no name of a program", name)
		return service.Resource{}, false
	}
	if len(args) > 0 {
		file := "/etc/ha.d/resource.d/" + name
		r.yes(line, "%s: script %s with arguments, which must be on the heads", name, file)
		return service.Resource{Script: &service.Script{File: file, Args: args}}, true
	}
	unit := debianUnit(name)
	if unit == "" {
		unit = name + ".service"
		r.yes(line, "%s: unit %s, which systemd makes of an init script too", name, unit)
	} else {
		r.yes(line, "%s: unit %s, as Debian calls it (elsewhere %s.service)", name, unit, name)
	}
	return service.Resource{Unit: &service.Unit{Name: unit}}, true
}

// debianUnit is what Debian calls a service that the init scripts of Red Hat and of its own earlier releases call otherwise.
func debianUnit(name string) string {
	return map[string]string{
		"mysqld": "mariadb.service", "mysql": "mariadb.service", "httpd": "apache2.service", "apache": "apache2.service", "smb": "smbd.service", "samba": "smbd.service",
		"nfs": "nfs-kernel-server.service", "crond": "cron.service", "sshd": "ssh.service", "ldap": "slapd.service", "portmap": "rpcbind.service",
		"ntpd": "chrony.service",
	}[name]
}
