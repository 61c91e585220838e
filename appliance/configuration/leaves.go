package configuration

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"masthead/appliance/data"
	"masthead/appliance/failover"
	"masthead/appliance/fence"
	"masthead/appliance/monitor"
	"masthead/appliance/service"
)

// leafProblems are what the packages that use the parts of the document find wrong with them.
func (d Document) leafProblems() []problem {
	return slices.Concat(d.fenceProblems(), d.dataProblems(), d.serviceProblems(), d.monitorProblems())
}

func (d Document) dataProblems() []problem {
	var all []problem
	for _, p := range data.Check(d.Data) {
		all = append(all, problem{fmt.Sprintf("data[%d].%s", p.Index, p.Field), p.Value, p.Reason})
	}
	for i, s := range d.Services {
		for j, r := range s.Resources {
			if r.Data != nil && !slices.ContainsFunc(d.Data, func(v data.Volume) bool { return v.Name == r.Data.Volume }) {
				all = append(all, problem{fmt.Sprintf("services[%d].resources[%d].data.volume", i, j), r.Data.Volume, "there is no such volume in `data`"})
			}
		}
	}
	return all
}

func (d Document) fenceProblems() []problem {
	heads := map[string][][]fence.Step{}
	for name, h := range d.Heads {
		if len(h.Fence) > 0 {
			heads[name] = h.Fence
		}
	}
	_, err := fence.New(fence.Config{
		Devices: d.FenceDevices, Heads: heads, Log: slog.New(slog.DiscardHandler),
		Now: func() failover.Instant { return failover.Instant(time.Duration(0)) },
	})
	var all []problem
	for _, p := range fence.Problems(err) {
		field := "fence_devices"
		if i := slices.IndexFunc(d.FenceDevices, func(dev fence.Device) bool { return dev.Name == p.Device }); i >= 0 {
			field = fmt.Sprintf("fence_devices[%d]", i)
		}
		if p.Head != "" {
			field = fmt.Sprintf("heads.%s.fence[%d][%d]", p.Head, p.Level, p.Step)
		}
		all = append(all, problem{field: field, reason: p.Err.Error()})
	}
	return all
}

func (d Document) serviceProblems() []problem {
	var all []problem
	for _, err := range split(service.Validate(d.AllServices(), d.Domains, nil)) {
		var bad *service.Invalid
		if !errors.As(err, &bad) {
			all = append(all, problem{field: "services", reason: err.Error()})
			continue
		}
		field := "domains"
		for i, s := range d.Services {
			if bad.Service == "" || s.Name != bad.Service {
				continue
			}
			field = fmt.Sprintf("services[%d]", i)
			for j, r := range s.Resources {
				if bad.Resource != "" && r.Label() == bad.Resource {
					field = fmt.Sprintf("services[%d].resources[%d]", i, j)
				}
			}
		}
		reason := bad.Reason
		if bad.Fix != "" {
			reason += "; " + bad.Fix
		}
		all = append(all, problem{field, bad.Value, bad.Field + ": " + reason})
	}
	return all
}

func (d Document) monitorProblems() []problem {
	var all []problem
	for _, e := range monitor.Check(d.Monitors, nil) {
		all = append(all, problem{"monitors" + e.Field, e.Value, e.Reason})
	}
	for _, err := range split(d.Mail.Check()) {
		var e *monitor.FieldError
		if errors.As(err, &e) {
			all = append(all, problem{"mail." + strings.TrimPrefix(e.Field, "."), e.Value, e.Reason})
		} else if err != nil {
			all = append(all, problem{field: "mail", reason: err.Error()})
		}
	}
	return all
}

// split takes joined errors apart.
func split(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
