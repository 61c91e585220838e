package configuration

import (
	"slices"

	"masthead/appliance/service"
)

// VolumeService is the name of the service of a volume that no service of the document names.
func VolumeService(volume string) string { return "data-" + volume }

// AllServices are the services of the document, and before them one for each volume that none of them names: it follows the
// owner like everything else, and all other services begin after it.
func (d Document) AllServices() []service.Service {
	var own []service.Service
	var names []string
	for _, v := range d.Data {
		if slices.ContainsFunc(d.Services, func(s service.Service) bool { return uses(s, v.Name) }) {
			continue
		}
		s := service.Service{Name: VolumeService(v.Name), Resources: []service.Resource{{Name: v.Name, Data: &service.Data{Volume: v.Name}}}}
		own, names = append(own, s), append(names, s.Name)
	}
	if len(own) == 0 {
		return d.Services
	}
	for _, s := range d.Services {
		s.After = append(slices.Clone(s.After), names...)
		own = append(own, s)
	}
	return own
}

// uses reports whether a service has the volume among its resources.
func uses(s service.Service, volume string) bool {
	return slices.ContainsFunc(s.Resources, func(r service.Resource) bool { return r.Data != nil && r.Data.Volume == volume })
}
