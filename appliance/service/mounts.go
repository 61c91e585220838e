package service

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is a line of mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	id, parent   int
	major, minor uint32
	root, path   string
	kind, source string
	readOnly     bool // the mount, or the file system below it
}

// mounts is the table, in the kernel's order.
type mounts []mount

// readMounts gives what is mounted in the namespace of this process.
func readMounts() (mounts, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read what is mounted: %w", err)
	}
	return parseMounts(string(data))
}

func parseMounts(text string) (table mounts, err error) {
	for line := range strings.Lines(text) {
		m, err := parseMount(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("mountinfo %q: %w", line, err)
		}
		table = append(table, m)
	}
	return table, nil
}

func parseMount(line string) (m mount, err error) {
	before, after, ok := strings.Cut(line, " - ")
	fields, rest := strings.Split(before, " "), strings.Split(after, " ")
	if !ok || len(fields) < 6 || len(rest) < 3 {
		return m, errors.New("too few fields")
	}
	major, minor, _ := strings.Cut(fields[2], ":")
	ma, err1 := strconv.ParseUint(major, 10, 32)
	mi, err2 := strconv.ParseUint(minor, 10, 32)
	id, err3 := strconv.Atoi(fields[0])
	parent, err4 := strconv.Atoi(fields[1])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return m, err
	}
	ro := func(options string) bool { return slices.Contains(strings.Split(options, ","), "ro") }
	return mount{
		id: id, parent: parent, major: uint32(ma), minor: uint32(mi), root: unescape(fields[3]), path: unescape(fields[4]),
		kind: rest[0], source: unescape(rest[1]), readOnly: ro(fields[5]) || ro(rest[2]),
	}, nil
}

// unescape undoes the kernel's \040 for a space.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// top gives what is seen at a path: the last of those mounted on it.
func (t mounts) top(path string) (mount, bool) {
	path = filepath.Clean(path)
	for _, m := range slices.Backward(t) {
		covered := slices.ContainsFunc(t, func(x mount) bool { return x.parent == m.id && x.path == path && x.id != m.id })
		if m.path == path && !covered {
			return m, true
		}
	}
	return mount{}, false
}

// leaf gives a mount below m that nothing is mounted below; m itself if there is none.
func (t mounts) leaf(m mount) mount {
	for range t {
		i := slices.IndexFunc(t, func(x mount) bool { return x.parent == m.id && x.id != m.id })
		if i < 0 {
			break
		}
		m = t[i]
	}
	return m
}

// user is a process that uses a mount.
type user struct {
	pid  int
	name string
}

func describe(users []user) string {
	if len(users) == 0 {
		return "the kernel (a swap file, a loop device, an NFS export), or by processes that cannot be seen"
	}
	var names []string
	for i, u := range users {
		if i == 5 {
			names = append(names, fmt.Sprintf("%d more", len(users)-5))
			break
		}
		names = append(names, fmt.Sprintf("%s (%d)", u.name, u.pid))
	}
	return strings.Join(names, ", ")
}

// users gives the processes that use m, but for this one and PID 1: by a working or root directory, a program, a file that
// is open or mapped. What is compared is the mount, not the device as fuser -m does: the same device may be mounted
// elsewhere too, and who uses it there is left alone.
func (m mount) users() (list []user) {
	self, _ := os.Readlink("/proc/self/ns/mnt")
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == 1 || pid == os.Getpid() {
			continue
		}
		proc := filepath.Join("/proc", d.Name())
		if _, err := os.Readlink(proc + "/exe"); err != nil {
			continue // a thread of the kernel, or gone
		}
		// A process in a namespace of its own has copies of the mounts, with other numbers. There the device must do.
		ns, _ := os.Readlink(proc + "/ns/mnt")
		if m.usedBy(proc, ns != self && m.root == "/" && m.major != 0) {
			name, _ := os.ReadFile(proc + "/comm")
			list = append(list, user{pid, strings.TrimSpace(string(name))})
		}
	}
	return list
}

func (m mount) usedBy(proc string, byDevice bool) bool {
	uses := func(path string) bool {
		var st unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st); err != nil {
			return false
		}
		return st.Mask&unix.STATX_MNT_ID != 0 && st.Mnt_id == uint64(m.id) ||
			byDevice && st.Dev_major == m.major && st.Dev_minor == m.minor
	}
	for _, link := range []string{"/cwd", "/root", "/exe"} {
		if uses(proc + link) {
			return true
		}
	}
	for _, dir := range []string{"/fd", "/map_files"} {
		entries, _ := os.ReadDir(proc + dir)
		for _, e := range entries {
			if uses(proc + dir + "/" + e.Name()) {
				return true
			}
		}
	}
	return false
}
