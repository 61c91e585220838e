package kmod

import "strings"

// options is what a kernel command line says about modules: NAME.PARAMETER=VALUE, and modprobe.blacklist=NAME,…, which
// modprobe honours and the kernel itself does not.
type options struct {
	params    map[string][]string
	blacklist map[string]bool
}

func readOptions(cmdline string) options {
	o := options{params: map[string][]string{}, blacklist: map[string]bool{}}
	for _, word := range words(cmdline) {
		name, param, ok := strings.Cut(word, ".")
		if !ok || strings.Contains(name, "=") {
			continue
		}
		name = underscored(name)
		if list, ok := strings.CutPrefix(param, "blacklist="); ok && name == "modprobe" {
			for n := range strings.SplitSeq(list, ",") {
				o.blacklist[underscored(n)] = true
			}
			continue
		}
		o.params[name] = append(o.params[name], param)
	}
	return o
}

// join is the parameters for a module: those of the command line last, so that an administrator has the last word.
func (o options) join(name, params string) string {
	return strings.TrimSpace(strings.Join(append([]string{params}, o.params[name]...), " "))
}

// words splits a command line at blanks outside double quotes, which stay: the kernel takes them off a module's
// parameters.
func words(s string) []string {
	quoted := false
	return strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t' || r == '\n')
	})
}
