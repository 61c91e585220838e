package service

import (
	"slices"
)

// barred says why a service may not run on this head, and whether it may on another.
func barred(s Service, cfg Config) (here string, elsewhere bool) {
	elsewhere = len(cfg.Heads) == 0 || slices.ContainsFunc(cfg.Heads, func(h string) bool { return h != cfg.Self })
	i := slices.IndexFunc(cfg.Domains, func(d Domain) bool { return d.Name == s.Domain })
	if i < 0 || !cfg.Domains[i].Restricted {
		return "", elsewhere
	}
	d := cfg.Domains[i]
	if !slices.Contains(d.Heads, cfg.Self) {
		here = "its failover domain " + d.Name + " is restricted to other heads"
	}
	return here, slices.ContainsFunc(d.Heads, func(h string) bool {
		return h != cfg.Self && (len(cfg.Heads) == 0 || slices.Contains(cfg.Heads, h))
	})
}

// Prefer puts heads in the order in which the failover domains would have them own the cluster: those first on which the
// most services may run, then those that ordered domains name earlier. Heads that are equal in that stay as they were.
func Prefer(heads []string, services []Service, domains []Domain) []string {
	type rank struct{ runs, place int }
	ranks := map[string]rank{}
	for _, head := range heads {
		var r rank
		for _, s := range services {
			i := slices.IndexFunc(domains, func(d Domain) bool { return d.Name == s.Domain })
			if i < 0 {
				r.runs++
				continue
			}
			at := slices.Index(domains[i].Heads, head)
			if at >= 0 || !domains[i].Restricted {
				r.runs++
			}
			switch {
			case at < 0: // outside a domain comes after all of it
				r.place += len(domains[i].Heads)
			case domains[i].Ordered:
				r.place += at
			}
		}
		ranks[head] = r
	}
	list := slices.Clone(heads)
	slices.SortStableFunc(list, func(a, b string) int {
		x, y := ranks[a], ranks[b]
		if x.runs != y.runs {
			return y.runs - x.runs
		}
		return x.place - y.place
	})
	return list
}
