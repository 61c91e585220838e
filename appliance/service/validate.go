package service

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Invalid is one thing in the configuration that cannot be.
type Invalid struct {
	Service, Resource string // empty: of a domain, or of the service itself
	Field, Value      string
	Reason            string
	Fix               string // what to write or to type
}

func (e *Invalid) Error() string {
	where := ""
	if e.Service != "" {
		where = "service " + e.Service + ": "
	}
	if e.Resource != "" {
		where += "resource " + e.Resource + ": "
	}
	return fmt.Sprintf("%s%s %q: %s", where, e.Field, e.Value, e.Reason)
}

// Try says what helps.
func (e *Invalid) Try() string { return e.Fix }

// nameForm: names appear in paths, in the environment and on command lines.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$`)

// unitForm is what systemd allows (systemd.unit(5)), less a leading dash, which would be an option of systemctl.
var unitForm = regexp.MustCompile(`^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,254}$`)

const nameFix = "letters, digits, and . _ - @ within; at most 64"

// Validate gives every *Invalid of a configuration, joined. heads are those of the cluster; empty: not known.
func Validate(services []Service, domains []Domain, heads []string) error {
	var errs []error
	bad := func(e Invalid) { errs = append(errs, &e) }
	known := map[string]bool{}
	for _, d := range domains {
		switch {
		case !nameForm.MatchString(d.Name):
			bad(Invalid{Field: "domain name", Value: d.Name, Reason: "is no name", Fix: nameFix})
		case known[d.Name]:
			bad(Invalid{Field: "domain name", Value: d.Name, Reason: "is there twice", Fix: "give each domain a name of its own"})
		case len(d.Heads) == 0:
			bad(Invalid{Field: "domain " + d.Name + ": heads", Reason: "has no heads", Fix: "heads: [head1, head2]"})
		}
		known[d.Name] = true
		for _, h := range d.Heads {
			if len(heads) > 0 && !slices.Contains(heads, h) {
				bad(Invalid{Field: "domain " + d.Name + ": heads", Value: h, Reason: "is no head of this cluster", Fix: "masthead head list"})
			}
		}
	}
	names := map[string]bool{}
	for _, s := range services {
		names[s.Name] = true
	}
	seen, things := map[string]bool{}, map[string]string{}
	for _, s := range services {
		if !nameForm.MatchString(s.Name) {
			bad(Invalid{Field: "service name", Value: s.Name, Reason: "is no name", Fix: nameFix})
		} else if seen[s.Name] {
			bad(Invalid{Field: "service name", Value: s.Name, Reason: "is there twice", Fix: "give each service a name of its own"})
		}
		seen[s.Name] = true
		if s.Domain != "" && !known[s.Domain] {
			bad(Invalid{Service: s.Name, Field: "domain", Value: s.Domain, Reason: "there is no such domain", Fix: "one of: " + strings.Join(slices.Sorted(maps.Keys(known)), ", ")})
		}
		if s.Recovery != "" && s.Recovery != Restart && s.Recovery != Relocate && s.Recovery != Disable {
			bad(Invalid{Service: s.Name, Field: "recovery", Value: s.Recovery, Reason: "is none", Fix: "restart, relocate or disable"})
		}
		if s.RestartWithin < 0 {
			bad(Invalid{Service: s.Name, Field: "restart_within", Value: s.RestartWithin.String(), Reason: "is negative", Fix: "restart_within: 10m"})
		}
		for _, after := range s.After {
			if !names[after] {
				bad(Invalid{Service: s.Name, Field: "after", Value: after, Reason: "there is no such service", Fix: "one of: " + strings.Join(slices.Sorted(maps.Keys(names)), ", ")})
			}
		}
		errs = append(errs, invalidResources(s)...)
		for _, r := range s.Resources {
			// OCF agents tell instances apart by their names too.
			if id := r.identity(); r.OCF == nil && r.Kind() != "" {
				if other, ok := things[id]; ok {
					bad(Invalid{Service: s.Name, Resource: r.Label(), Field: "resource", Value: r.Label(), Reason: "is in service " + other + " already", Fix: "give it a service of its own, and name that in `after`"})
				}
				things[id] = s.Name
			}
		}
	}
	if cycle := cycleOf(services); cycle != nil {
		bad(Invalid{Service: cycle[0], Field: "after", Value: cycle[1], Reason: "each waits for the next: " + strings.Join(cycle, " → "), Fix: "remove one of these from `after`"})
	}
	return errors.Join(errs...)
}

func invalidResources(s Service) (errs []error) {
	if len(s.Resources) == 0 {
		errs = append(errs, &Invalid{Service: s.Name, Field: "resources", Reason: "has none", Fix: "resources: [{unit: {name: NAME}}]"})
	}
	seen := map[string]bool{}
	for _, r := range s.Resources {
		name := r.Label()
		bad := func(field, value, reason, fix string) {
			errs = append(errs, &Invalid{Service: s.Name, Resource: name, Field: field, Value: value, Reason: reason, Fix: fix})
		}
		kind := r.Kind()
		if kind == "" {
			bad("kind", "", "needs exactly one of ip, unit, script, ocf, filesystem, data", "script: {file: /etc/init.d/NAME}")
			continue
		}
		if r.Name != "" && !nameForm.MatchString(r.Name) {
			bad("name", r.Name, "is no name", nameFix)
		}
		if seen[name] {
			bad("name", name, "is there twice in the service", "give each resource a `name` of its own")
		}
		seen[name] = true
		if r.StartTimeout < 0 || r.StopTimeout < 0 || r.CheckTimeout < 0 {
			bad("timeout", fmt.Sprint(min(r.StartTimeout, r.StopTimeout, r.CheckTimeout)), "is negative", "start_timeout: 60s")
		}
		r.invalid(bad)
	}
	return errs
}

// invalid checks what belongs to the kind.
func (r Resource) invalid(bad func(field, value, reason, fix string)) {
	switch {
	case r.IP != nil:
		if !r.IP.Address.IsValid() {
			bad("ip.address", "", "is missing, or has no prefix length", "address: 10.1.4.150/24")
		} else if r.IP.Address.Addr().Is4In6() || r.IP.Address.Addr().IsMulticast() || r.IP.Address.Addr().IsUnspecified() {
			bad("ip.address", r.IP.Address.String(), "is no address of a machine", "address: 10.1.4.150/24")
		}
	case r.Unit != nil:
		if !unitForm.MatchString(r.Unit.Name) {
			bad("unit.name", r.Unit.Name, "is no name of a unit", "name: mariadb.service")
		}
	case r.Script != nil:
		switch s := r.Script; {
		case s.File == "" && s.Start == "":
			bad("script", "", "needs a file, or a command to start", "file: /etc/init.d/NAME")
		case s.File != "" && s.Start+s.Stop+s.Status != "":
			bad("script.file", s.File, "stands beside start, stop or status", "either the file or the commands")
		case s.File != "" && !filepath.IsAbs(s.File):
			bad("script.file", s.File, "is no absolute path", "file: /etc/init.d/"+filepath.Base(s.File))
		case s.File == "" && len(s.Args) > 0:
			bad("script.args", strings.Join(s.Args, " "), "are for a file", "write them into the command")
		}
	case r.OCF != nil:
		if _, err := parseAgent(r.OCF.Agent); err != nil {
			bad("ocf.agent", r.OCF.Agent, err.Error(), "agent: ocf:heartbeat:NAME")
		}
		for name := range r.OCF.Params {
			if !paramForm.MatchString(name) {
				bad("ocf.params", name, "is no name of a parameter", "as in masthead's documentation of services, or the agent's meta-data")
			}
		}
		if r.OCF.Depth < 0 {
			bad("ocf.depth", fmt.Sprint(r.OCF.Depth), "is negative", "depth: 10")
		}
	case r.Data != nil:
		if r.Data.Volume == "" {
			bad("data.volume", "", "is missing", "data: {volume: NAME}")
		}
	case r.Filesystem != nil:
		f := r.Filesystem
		if f.Device == "" {
			bad("filesystem.device", "", "is missing", "device: /dev/drbd0")
		}
		if !filepath.IsAbs(f.Path) || filepath.Clean(f.Path) == "/" {
			bad("filesystem.path", f.Path, "is no absolute path below the root", "path: /srv/data")
		}
		if f.Type == "" && !slices.Contains(f.Options, "bind") {
			bad("filesystem.type", "", "is missing", "type: ext4")
		}
		if strings.ContainsAny(f.Type, "/ ") {
			bad("filesystem.type", f.Type, "is no file system", "type: ext4")
		}
	}
}

// Label is the resource's name, or what it is called for want of one.
func (r Resource) Label() string {
	if r.Name != "" {
		return r.Name
	}
	switch {
	case r.IP != nil:
		return r.IP.Address.Addr().String()
	case r.Unit != nil:
		return r.Unit.Name
	case r.Script != nil && r.Script.File != "":
		return filepath.Base(r.Script.File)
	case r.Script != nil:
		name, _, _ := strings.Cut(strings.TrimSpace(r.Script.Start), " ")
		return filepath.Base(cmp.Or(name, "script"))
	case r.OCF != nil:
		return r.OCF.Agent[strings.LastIndexAny(r.OCF.Agent, ":/")+1:]
	case r.Data != nil:
		return r.Data.Volume
	case r.Filesystem != nil:
		return r.Filesystem.Path
	}
	return "resource"
}

// cycleOf gives services of which each is after the next, the first again at the end; nil: there are none.
func cycleOf(services []Service) []string {
	after := make(map[string][]string, len(services))
	for _, s := range services {
		after[s.Name] = s.After
	}
	const busy, done = 1, 2
	mark := map[string]int{}
	var path []string
	var visit func(string) []string
	visit = func(name string) []string {
		switch mark[name] {
		case done:
			return nil
		case busy:
			return append(slices.Clone(path[slices.Index(path, name):]), name)
		}
		mark[name] = busy
		path = append(path, name)
		for _, a := range after[name] {
			if cycle := visit(a); cycle != nil {
				return cycle
			}
		}
		path = path[:len(path)-1]
		mark[name] = done
		return nil
	}
	for _, s := range services {
		if cycle := visit(s.Name); cycle != nil {
			return cycle
		}
	}
	return nil
}
