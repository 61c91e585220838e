package configuration

// Addresses are all virtual addresses: the cluster's own, then those of its services, each once.
func (d Document) Addresses() []VIP {
	all := append([]VIP(nil), d.VIPs...)
	seen := map[string]bool{}
	for _, v := range all {
		seen[v.Address.String()] = true
	}
	for _, s := range d.Services {
		for _, r := range s.Resources {
			if r.IP != nil && !seen[r.IP.Address.String()] {
				seen[r.IP.Address.String()] = true
				all = append(all, VIP{Address: r.IP.Address, NIC: r.IP.NIC})
			}
		}
	}
	return all
}
