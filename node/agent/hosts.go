package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"masthead/node/wire"
)

// The lines of /etc/hosts between these two are ours; all others are whose they were.
const (
	hostsBegin = "# masthead keeps the lines from here"
	hostsEnd   = "# to here; others may stand above and below"
	// ParentName is the head that a machine reports to, in its /etc/hosts (seed 000).
	ParentName = "parent-head-node"
)

// HostsBlock is what masthead keeps in the /etc/hosts of the machine self: its parent and the names of the cluster.
func HostsBlock(self string, parent netip.Addr, hosts []wire.Host) string {
	var b strings.Builder
	b.WriteString(hostsBegin + "\n")
	if parent.IsValid() {
		fmt.Fprintf(&b, "%s\t%s\n", parent, ParentName)
	}
	for _, h := range hosts {
		if h.Name != self {
			fmt.Fprintf(&b, "%s\t%s\n", h.Address, h.Name)
		}
	}
	b.WriteString(hostsEnd + "\n")
	return b.String()
}

// splitHosts finds our lines in a hosts file. A file without them has all of it before; one whose end was lost has
// nothing after.
func splitHosts(text string) (before, block, after string) {
	begin := strings.Index(text, hostsBegin+"\n")
	if begin < 0 {
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		return text, "", ""
	}
	before, rest := text[:begin], text[begin:]
	end := strings.Index(rest, hostsEnd)
	if end < 0 {
		return before, rest, ""
	}
	end += len(hostsEnd)
	if strings.HasPrefix(rest[end:], "\n") {
		end++
	}
	return before, rest[:end], rest[end:]
}

// withBlock puts our lines in the place of those that a hosts file has.
func withBlock(text, block string) string {
	before, _, after := splitHosts(text)
	return before + block + after
}

// withParent makes another head the parent, and leaves all other lines.
func withParent(text string, parent netip.Addr) string {
	before, block, after := splitHosts(text)
	lines := strings.Split(strings.TrimSuffix(block, "\n"), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool {
		return l == "" || l == hostsBegin || l == hostsEnd || slices.Contains(strings.Fields(l), ParentName)
	})
	if parent.IsValid() {
		lines = append([]string{parent.String() + "\t" + ParentName}, lines...)
	}
	lines = append(append([]string{hostsBegin}, lines...), hostsEnd)
	return before + strings.Join(lines, "\n") + "\n" + after
}

// AddressOf is the address in a head's URL; zero where it is a name.
func AddressOf(head string) netip.Addr {
	u, err := url.Parse(head)
	if err != nil {
		return netip.Addr{}
	}
	a, _ := netip.ParseAddr(u.Hostname())
	return a
}

// edit changes a file in one step, and keeps its mode: a reader sees the old or the new text. It reports whether there
// was anything to change. A file that is not there is empty, and gets mode.
func edit(path string, mode fs.FileMode, change func(string) string) (bool, error) {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	text := change(string(old))
	if text == string(old) {
		return false, nil
	}
	if err := renameio.WriteFile(path, []byte(text), mode, renameio.WithExistingPermissions()); err != nil {
		return false, fmt.Errorf("write %s: %w", path, err)
	}
	return true, nil
}
