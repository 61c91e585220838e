package fence

import (
	"slices"

	"masthead/appliance/fence/ipmi"
	"masthead/appliance/fence/param"
	"masthead/appliance/fence/qmp"
	"masthead/appliance/fence/redfish"
	"masthead/appliance/fence/vmware"
)

// native is a driver of ours.
type native struct {
	name    string
	aliases []string
	text    string
	params  param.Set
	open    func(map[string]string) (driver, error) // nil: manual, which has no device
}

// natives are the drivers of ours.
func natives() []native {
	return []native{
		{manual, []string{"fence_manual", "fence_ack_manual"}, "a person switches the machine off, and says so", nil, nil},
		{"qmp", nil, "a virtual machine of QEMU, by its machine protocol", qmp.Params, opener(qmp.New)},
		{"redfish", nil, "a server, by its management controller's Redfish", redfish.Params, opener(redfish.New)},
		{"ipmi", nil, "a server, by its management controller's IPMI", ipmi.Params, opener(ipmi.New)},
		{"vmware", nil, "a virtual machine of vCenter or ESX", vmware.Params, opener(vmware.New)},
	}
}

// manual is the agent that waits for Confirm.
const manual = "manual"

func opener[D driver](f func(map[string]string) (D, error)) func(map[string]string) (driver, error) {
	return func(given map[string]string) (driver, error) { return f(given) }
}

func nativeOf(agent string) (native, bool) {
	for _, n := range natives() {
		if n.name == agent || slices.Contains(n.aliases, agent) {
			return n, true
		}
	}
	return native{}, false
}
