package blockdev

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Uses tells what a device is used for at the moment, by its number: "mounted at /srv", "swap", "part of dm-0".
type Uses map[string][]string

// ReadUses looks at mounts, swap and holders.
func ReadUses(proc string, all []Device) (Uses, error) {
	mounts, err := os.ReadFile(filepath.Join(proc, "self/mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	swaps, err := os.ReadFile(filepath.Join(proc, "swaps"))
	if err != nil && !os.IsNotExist(err) { // a kernel without swap
		return nil, fmt.Errorf("list swap areas: %w", err)
	}
	u := Uses{}
	for number, at := range mountedAt(string(mounts)) {
		u[number] = append(u[number], "mounted at "+at)
	}
	for line := range strings.Lines(string(swaps)) {
		name, _, _ := strings.Cut(line, " ")
		for _, d := range all {
			if d.Path == name {
				u[d.Number] = append(u[d.Number], "swap")
			}
		}
	}
	for _, d := range all {
		for _, h := range d.Holders {
			u[d.Number] = append(u[d.Number], "part of "+h)
		}
	}
	return u, nil
}

// mountedAt reads mountinfo (Documentation/filesystems/proc.rst, 3.5): the third field is the device, the fifth where it
// is mounted. One device may be mounted several times; the first one is told.
func mountedAt(mountinfo string) map[string]string {
	at := map[string]string{}
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		if _, twice := at[f[2]]; !twice {
			at[f[2]] = unescape(f[4])
		}
	}
	return at
}

// unescape undoes the octal escapes of /proc (fs/seq_file.c, mangle_path).
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
