package vmtest

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"regexp"
	"slices"

	"masthead/vmtest/qemu"
)

// maxCables is how many serial ports a PC has besides the console.
const maxCables = 3

// maxNice is what a process gives way by at most (nice(1)). What is below 0 needs root, and is not a lab's to take.
const maxNice = 19

// nameForm is what names of labs, machines and switches look like: they become
// folders and socket names.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`)

// roles are what a machine can be to whoever runs the lab, for whom a wrong one would be a machine left out.
var roles = []string{"", "head", "worker"}

// Prepare fills in the defaults and checks the whole. The errors are all that are
// wrong, joined.
func (c Config) Prepare() (Config, error) {
	c, problems := prepare(c)
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return c, errors.Join(errs...)
}

func prepare(c Config) (Config, []*qemu.FieldError) {
	c = c.withDefaults()
	return c, c.problems()
}

// withDefaults does not change what c refers to.
func (c Config) withDefaults() Config {
	if len(c.Switches) == 0 {
		c.Switches = []string{defaultSwitch}
	}
	machines := make(map[string]MachineConfig, len(c.Machines))
	for name, m := range c.Machines {
		machines[name] = m.withDefaults(c, name)
	}
	c.Machines = machines
	return c
}

func (m MachineConfig) withDefaults(c Config, name string) MachineConfig {
	if m.Memory == 0 {
		m.Memory = defaultMemory
	}
	if m.CPUs == 0 {
		m.CPUs = 1
	}
	if m.Firmware == "" {
		m.Firmware = qemu.BIOS
	}
	if m.Boot == nil {
		m.Boot = m.defaultBoot()
	}
	if m.NICs == nil {
		m.NICs = []NICConfig{{}}
	}
	m.NICs = slices.Clone(m.NICs)
	for i := range m.NICs {
		n := &m.NICs[i]
		if n.Switch == "" {
			n.Switch = c.Switches[0]
		}
		if n.MAC == "" {
			n.MAC = madeMAC(c.Name, name, i)
		}
	}
	if m.UUID == "" {
		m.UUID = madeUUID(c.Name, name)
	}
	return m
}

func (m MachineConfig) defaultBoot() Boot {
	switch {
	case m.ISO != "":
		return Boot{qemu.FromCD}
	case m.Kernel.Image != "":
		return nil
	case len(m.Disks) > 0:
		return Boot{qemu.FromDisk}
	}
	return Boot{qemu.FromNetwork}
}

// madeMAC is in the block that QEMU's cards have, 52:54:00.
func madeMAC(lab, machine string, nic int) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s %s %d", lab, machine, nic)
	sum := h.Sum32()
	return net.HardwareAddr{0x52, 0x54, 0x00, byte(sum >> 16), byte(sum >> 8), byte(sum)}.String()
}

// madeUUID is a version 5 UUID (RFC 9562, 5.5), so that each machine has the same
// identity in its firmware at each start.
func madeUUID(lab, machine string) string {
	u := sha1.Sum([]byte("masthead lab " + lab + " " + machine))
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// problems checks a complete c, in the order of its fields and names.
func (c Config) problems() []*qemu.FieldError {
	var found []*qemu.FieldError
	bad := func(field, format string, args ...any) {
		found = append(found, &qemu.FieldError{Field: field, Reason: fmt.Sprintf(format, args...)})
	}
	badName := func(field, name string) {
		if !nameForm.MatchString(name) {
			bad(field, "%q: want letters, digits, - and _, 32 at most", name)
		}
	}
	badName("name", c.Name)
	if c.Nice < 0 || c.Nice > maxNice {
		bad("nice", "%d: want 0 to %d", c.Nice, maxNice)
	}
	for i, s := range c.Switches {
		field := fmt.Sprintf("switches[%d]", i)
		badName(field, s)
		if slices.Contains(c.Switches[:i], s) {
			bad(field, "%q twice", s)
		}
	}
	if len(c.Machines) == 0 {
		bad("machines", "none")
	}
	macs := make(map[string]string)
	for _, name := range c.names() {
		m, field := c.Machines[name], "machines."+name
		badName(field, name)
		for _, p := range m.problems(name) {
			bad(field+"."+p.Field, "%s", p.Reason)
		}
		for i, n := range m.NICs {
			at := fmt.Sprintf("%s.nics[%d]", field, i)
			if !slices.Contains(c.Switches, n.Switch) {
				bad(at+".switch", "%q is no switch of this lab", n.Switch)
			}
			mac, err := net.ParseMAC(n.MAC)
			if err != nil {
				continue // reported with the hardware
			}
			if other := macs[mac.String()]; other != "" && other != name {
				bad(at+".mac", "%s is also that of %s", mac, other)
			}
			macs[mac.String()] = name
		}
	}
	for i, p := range c.Trunks {
		if !p.joins(func(end string) bool { return slices.Contains(c.Switches, end) }) {
			bad(fmt.Sprintf("trunks[%d].ends", i), "%q: want two switches of this lab", p.Ends)
		}
	}
	count := make(map[string]int)
	for i, p := range c.Cables {
		at := fmt.Sprintf("cables[%d].ends", i)
		if !p.joins(func(end string) bool { _, ok := c.Machines[end]; return ok }) {
			bad(at, "%q: want two machines of this lab", p.Ends)
			continue
		}
		for _, end := range p.Ends {
			if count[end]++; count[end] == maxCables+1 {
				bad(at, "%s has more than %d cables", end, maxCables)
			}
		}
	}
	return found
}

func (p Pair) joins(known func(string) bool) bool {
	return p.Ends[0] != p.Ends[1] && known(p.Ends[0]) && known(p.Ends[1])
}

// problems checks the machine by itself.
func (m MachineConfig) problems(name string) []*qemu.FieldError {
	var found []*qemu.FieldError
	if !slices.Contains(roles, m.Role) {
		found = append(found, &qemu.FieldError{Field: "role", Reason: fmt.Sprintf("%q: want head or worker, or none", m.Role)})
	}
	for i, d := range m.Disks {
		if at := fmt.Sprintf("disks[%d]", i); d.Path == "" && d.Size <= 0 {
			found = append(found, &qemu.FieldError{Field: at, Reason: "want a path, or a size for a blank disk"})
		} else if d.Path != "" && (d.Size != 0 || d.Label != "") {
			found = append(found, &qemu.FieldError{Field: at, Reason: "size and label are for blank disks, without a path"})
		} else if d.Path == "" && d.Format != "" && d.Format != "raw" {
			found = append(found, &qemu.FieldError{Field: at + ".format", Reason: "a blank disk is raw"})
		}
	}
	for _, service := range slices.Sorted(maps.Keys(m.Forward)) {
		if port := m.Forward[service]; port < 1 || port > 65535 {
			found = append(found, &qemu.FieldError{Field: "forward." + service, Reason: fmt.Sprintf("%d: want a port, 1 to 65535", port)})
		}
	}
	// The ports of the host are chosen when the machine is made.
	if err := m.hardware(name, "").Validate(); err != nil {
		for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
			var p *qemu.FieldError
			if errors.As(e, &p) && p.Field != "name" {
				found = append(found, p)
			}
		}
	}
	return found
}

// names returns the machines' names in order.
func (c Config) names() []string { return slices.Sorted(maps.Keys(c.Machines)) }
