package configuration

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"gopkg.in/yaml.v3"

	"masthead/appliance/fence"
	"masthead/images"
	"masthead/images/strict"
)

// Parse reads a document; file is for the messages. Every error names its line, all of them joined. An empty file is the
// zero document.
func Parse(file string, data []byte) (Document, error) {
	var d Document
	lines, err := strict.Decode(file, data, &d)
	if errors.Is(err, strict.ErrEmpty) {
		return Document{}, nil
	}
	var errs []error
	if err != nil {
		errs = append(errs, err)
	}
	if lines != nil {
		for _, p := range d.problems() {
			if strict.Names(err, p.field) {
				continue
			}
			errs = append(errs, &strict.FieldError{File: file, Line: lines.Of(p.field), Field: p.field, Value: p.value, Reason: p.reason})
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Document{}, err
	}
	return d, nil
}

// Encode writes a document as people read it.
func Encode(d Document) ([]byte, error) {
	data, err := yaml.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode the configuration: %w", err)
	}
	if string(data) == "{}\n" {
		return nil, nil
	}
	return data, nil
}

// problem is one thing wrong with one field.
type problem struct{ field, value, reason string }

// problems are all that can be told from the document alone. What depends on the cluster (are the heads there, do the
// witnesses have addresses) is checked where that is known.
func (d Document) problems() []problem {
	var all []problem
	bad := func(field, value, reason string) { all = append(all, problem{field, value, reason}) }
	oneOf := func(field, value string, allowed ...string) {
		if value != "" && !slices.Contains(allowed, value) {
			bad(field, value, "want one of "+fmt.Sprint(allowed))
		}
	}
	oneOf("arbiter", string(d.Arbiter), string(ArbiterAuto), string(ArbiterPair), string(ArbiterPanel), string(ArbiterRaft))
	oneOf("profile", string(d.Profile), string(ProfileNormal), string(ProfileFast))
	oneOf("loss", string(d.Loss), string(LossSafe), string(LossAvailable))
	vips := map[netip.Addr]bool{}
	for i, v := range d.VIPs {
		field := fmt.Sprintf("vips[%d].address", i)
		switch a := v.Address.Addr(); {
		case !v.Address.IsValid():
			bad(field, "", "want ADDRESS/PREFIX, such as 10.77.0.100/24")
		case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
			bad(field, v.Address.String(), "no machine can answer for it")
		case vips[a]:
			bad(field, a.String(), "is there twice")
		default:
			vips[a] = true
		}
	}
	if n := len(d.Witnesses); n != 0 && n != 3 && n != 5 {
		bad("witnesses", fmt.Sprint(n), "want 3 or 5 nodes, so that a majority is more than half of an odd number")
	}
	if d.Arbiter == ArbiterPanel && len(d.Witnesses) == 0 {
		bad("witnesses", "", "a panel needs 3 or 5 nodes")
	}
	for i, name := range d.Witnesses {
		field := fmt.Sprintf("witnesses[%d]", i)
		if err := images.ValidHost(name); err != nil {
			bad(field, name, err.Error())
		}
		if slices.Contains(d.Witnesses[:i], name) {
			bad(field, name, "is there twice")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Heads)) {
		all = append(all, d.headProblems(name)...)
	}
	if d.BootWait < 0 {
		bad("boot_wait", d.BootWait.String(), "want a time of 0 or more")
	}
	if d.Watchdog.Timeout < 0 {
		bad("watchdog.timeout", d.Watchdog.Timeout.String(), "want a time of 1s or more")
	}
	return append(all, d.leafProblems()...)
}

func (d Document) headProblems(name string) []problem {
	var all []problem
	at := "heads." + name
	head := d.Heads[name]
	if err := images.ValidHost(name); err != nil {
		all = append(all, problem{at, "", err.Error()})
	}
	for i, s := range head.Serial {
		if s.Device == "" {
			all = append(all, problem{fmt.Sprintf("%s.serial[%d].device", at, i), "", "want a device, such as /dev/ttyS1"})
		}
	}
	for i, level := range head.Fence {
		for j, step := range level {
			if !slices.ContainsFunc(d.FenceDevices, func(dev fence.Device) bool { return dev.Name == step.Device }) {
				all = append(all, problem{fmt.Sprintf("%s.fence[%d][%d].device", at, i, j), step.Device, "is not among fence_devices"})
			}
		}
	}
	return all
}
