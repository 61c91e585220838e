package foreign

import (
	"fmt"
	"slices"
	"strings"

	"masthead/appliance/fence"
)

// stonith reads "stonith_host FROM TYPE PARAMETERS" of ha.cf: the types of cluster-glue that have a counterpart.
func (h *haReader) stonith(line int, args []string) {
	if len(args) < 2 {
		h.no(line, "it is stonith_host FROM TYPE PARAMETERS")
		return
	}
	from, kind, params := args[0], args[1], args[2:]
	if from != "*" {
		h.yes(line, "every head that reaches the device may use it, not %s alone", from)
	}
	switch kind {
	case "external/ipmi", "ipmilan":
		h.ipmi(line, kind, params)
	case "meatware":
		if len(params) == 0 {
			h.no(line, "it names no host")
		}
		for _, n := range params {
			h.device(line, short(n), fence.Device{Name: "manual", Agent: "manual"})
		}
		h.yes(line, "manual: a person switches the machine off and types `masthead fence confirm-dead HEAD`")
	case "ssh", "external/ssh", "null", "suicide":
		h.no(line, "%s proves nothing: a machine that hangs does not answer it. Use its management controller, a power switch, or manual", kind)
	default:
		h.hideAll(line, params)
		h.no(line, "%s: use the program of fence-agents for this device, such as fence_%s (fence_devices, masthead cluster edit)", kind, strings.TrimPrefix(safe(kind, "apc"), "external-"))
	}
}

// ipmi is external/ipmi (hostname ipaddr userid passwd interface) or ipmilan (hostname ipaddr port auth priv login password).
func (h *haReader) ipmi(line int, kind string, p []string) {
	login, port := 2, ""
	if kind == "ipmilan" {
		login = 5
	}
	if len(p) < login+2 {
		h.hideAll(line, p)
		h.no(line, "%s has more parameters than these", kind)
		return
	}
	if kind == "ipmilan" && p[2] != "623" {
		port = p[2]
	}
	node := short(p[0])
	d := fence.Device{Name: "ipmi-" + node, Agent: "ipmi", Params: map[string]string{
		"ip": p[1], "username": p[login], "password": h.secret(line, "ipmi-"+node+"-password", p[login+1]),
	}}
	if port != "" {
		d.Params["ipport"] = port
	}
	if kind == "external/ipmi" && len(p) > 4 && p[4] == "lan" {
		d.Params["lanplus"] = "no"
	}
	if len(p) > login+2 && !(kind == "external/ipmi" && len(p) == 5 && (p[4] == "lan" || p[4] == "lanplus")) {
		h.no(line, "%s: not used", strings.Join(p[login+2:], " "))
	}
	h.device(line, node, d)
	h.yes(line, "device %s of head %s, by masthead's own driver", d.Name, node)
}

// hideAll keeps the parameters of an unknown device out of what is shown: some are passwords.
func (h *haReader) hideAll(line int, params []string) {
	text := h.lines[line-1].Text
	for _, p := range params {
		if i := strings.LastIndex(text, p); i > 0 {
			text = strings.TrimSpace(text[:i]) + " …"
			if j := strings.Index(text, params[0]); j > 0 {
				text = text[:j] + "…"
			}
		}
	}
	h.lines[line-1].Text = text
}

func (h *haReader) device(line int, node string, d fence.Device) {
	for _, f := range h.fences {
		if f.node == node && f.device.Name == d.Name {
			return
		}
	}
	if !slices.ContainsFunc(h.document.FenceDevices, func(o fence.Device) bool { return o.Name == d.Name }) {
		h.document.FenceDevices = append(h.document.FenceDevices, d)
	} else if d.Agent != "manual" {
		h.no(line, "%s", fmt.Sprintf("device %s is there twice: the first counts", d.Name))
		return
	}
	h.fences = append(h.fences, fencing{line: line, node: node, device: d})
}
