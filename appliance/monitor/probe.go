package monitor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"masthead/appliance/failover"
)

// probe asks the question of a monitor once. It returns soon after ctx ends.
type probe func(ctx context.Context) Result

// probeOf is the monitor's question. The monitor has passed Check.
func probeOf(m Monitor, dirs []string) probe {
	switch {
	case m.Link != nil:
		return m.Link.probe()
	case m.Ping != nil:
		return m.overHosts(m.Ping.probe)
	case m.TCP != nil:
		return m.overHosts(m.TCP.probe)
	case m.HTTP != nil:
		return m.overHosts(m.HTTP.probe)
	case m.Process != nil:
		return m.Process.probe
	case m.Script != nil:
		return m.script(dirs)
	case m.Plugin != nil:
		return m.overHosts(m.plugin(dirs))
	}
	return func(context.Context) Result { return unknown("the monitor asks nothing") }
}

func up(detail string, args ...any) Result {
	return Result{Reading: failover.Up, Detail: fmt.Sprintf(detail, args...)}
}

func down(summary string, args ...any) Result {
	return Result{Reading: failover.Down, Summary: fmt.Sprintf(summary, args...), Code: 1}
}

func unknown(summary string, args ...any) Result {
	return Result{Reading: failover.Unknown, Summary: fmt.Sprintf(summary, args...), Code: 3}
}

// overHosts asks all hosts at once. The summary begins with the names of those that failed, as that of mon's monitors does.
func (m Monitor) overHosts(ask func(ctx context.Context, host string) Result) probe {
	if len(m.Hosts) == 0 {
		return func(ctx context.Context) Result { return ask(ctx, "") }
	}
	return func(ctx context.Context) Result {
		results := make([]Result, len(m.Hosts))
		done := make(chan int)
		for i, host := range m.Hosts {
			go func() {
				results[i] = ask(ctx, host)
				done <- i
			}()
		}
		for range m.Hosts {
			<-done
		}
		return m.combine(results)
	}
}

// combine makes one result of one for each host. One that failed has failed for all, unless any host is enough; then one
// that could not be asked leaves it open whether all failed.
func (m Monitor) combine(results []Result) Result {
	if len(results) == 1 {
		r := results[0]
		if r.Reading != failover.Up {
			r.Summary = m.Hosts[0] + ": " + r.Summary
		}
		return r
	}
	count := map[failover.Reading]int{}
	all := Result{Reading: failover.Down}
	var failed, details []string
	for i, r := range results {
		count[r.Reading]++
		if r.Reading != failover.Up {
			failed = append(failed, m.Hosts[i])
		}
		text := strings.TrimSuffix(strings.Join([]string{r.Summary, r.Detail}, "\n"), "\n")
		details = append(details, fmt.Sprintf("%s: %s: %s", m.Hosts[i], r.Reading, strings.TrimPrefix(text, "\n")))
	}
	switch {
	case m.AnyHost && count[failover.Up] > 0, count[failover.Up] == len(results):
		all.Reading = failover.Up
	case m.AnyHost && count[failover.Unknown] > 0, count[failover.Down] == 0:
		all.Reading = failover.Unknown
	}
	if all.Reading != failover.Up {
		all.Summary = strings.Join(failed, " ")
		first := results[slices.IndexFunc(results, func(r Result) bool { return r.Reading == all.Reading })]
		all.Summary += ": " + first.Summary
		all.Code = first.Code
	}
	all.Detail = strings.Join(details, "\n")
	return all
}

// failure tells a failure of the network, which is the answer, from one of this machine or of names, which leaves the
// question open.
func failure(ctx context.Context, what string, err error) Result {
	var dns *net.DNSError
	var errno syscall.Errno
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return unknown("%s: stopped", what)
	case errors.As(err, &dns):
		return unknown("%s: the name %s cannot be resolved", what, dns.Name)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return down("%s: no answer in time", what)
	case errors.As(err, &errno):
		switch errno {
		case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, syscall.EPERM, syscall.EACCES, syscall.EAFNOSUPPORT:
			return unknown("%s: %s", what, errno.Error())
		}
		return down("%s: %s", what, errno.Error())
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return down("%s: no answer in time", what)
	}
	return down("%s: %v", what, err)
}
