package tools

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/u-root/u-root/pkg/mount"
	"golang.org/x/sys/unix"
)

func disks() []Tool {
	return []Tool{
		own("df", "[-ah] [FILE]...", "show how full file systems are, in KiB", "ahk", df),
		own("lsblk", "", "list block devices", "", lsblk),
	}
}

func size(bytes uint64, human bool) string {
	if !human {
		return strconv.FormatUint((bytes+1023)/1024, 10)
	}
	const units = "BKMGTPE"
	f, u := float64(bytes), 0
	for f >= 1024 && u < len(units)-1 {
		f /= 1024
		u++
	}
	if u == 0 || f >= 10 {
		return strconv.FormatFloat(f, 'f', 0, 64) + units[u:u+1]
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + units[u:u+1]
}

func df(c *call) error {
	table, err := readMounts()
	if err != nil {
		return err
	}
	var failed error
	if len(c.args) > 0 {
		var only []mounted
		for _, name := range c.args {
			m, err := mountOf(c.path(name), table)
			if err != nil {
				failed = c.warn(err)
				continue
			}
			only = append(only, m)
		}
		table = only
	}
	w := tabwriter.NewWriter(c.Out, 0, 8, 2, ' ', tabwriter.AlignRight)
	w.Write([]byte("Size\tUsed\tAvailable\tUse%\t  Mounted on\n"))
	for _, m := range table {
		var st unix.Statfs_t
		if err := unix.Statfs(m.dir, &st); err != nil || (st.Blocks == 0 && len(c.args) == 0 && !c.has("a")) {
			continue // hidden below another mount, or without a size
		}
		bs := uint64(st.Frsize)
		used := st.Blocks - st.Bfree
		percent := "-"
		if total := used + st.Bavail; total > 0 {
			percent = strconv.FormatUint((used*100+total-1)/total, 10) + "%"
		}
		h := c.has("h")
		w.Write([]byte(strings.Join([]string{size(st.Blocks*bs, h), size(used*bs, h), size(st.Bavail*bs, h), percent,
			"  " + m.dir + " (" + m.device + ", " + m.fstype + ")"}, "\t") + "\n"))
	}
	w.Flush()
	return failed
}

// mountOf is the mount that a file is in: the last one whose root has the file's device number, longest first.
func mountOf(name string, table []mounted) (mounted, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return mounted{}, err
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return mounted{}, err
	}
	best := mounted{}
	for _, m := range table {
		inside := m.dir == "/" || abs == m.dir || strings.HasPrefix(abs, m.dir+"/")
		if inside && len(m.dir) >= len(best.dir) {
			best = m
		}
	}
	return best, nil
}

func lsblk(c *call) error {
	disks, err := os.ReadDir("/sys/block")
	if err != nil {
		return err
	}
	table, _ := readMounts() // without: no mount points
	at := map[string]string{}
	for _, m := range table {
		if name, ok := strings.CutPrefix(m.device, "/dev/"); ok {
			at[name] = m.dir
		}
	}
	w := tabwriter.NewWriter(c.Out, 0, 8, 2, ' ', 0)
	w.Write([]byte("NAME\tSIZE\tRO\tTYPE\tMOUNTED ON\tMODEL\n"))
	row := func(indent, name, dir string) {
		sectors, _ := strconv.ParseUint(sysfs(dir, "size"), 10, 64)
		if sectors == 0 {
			return // a loop or nbd device without a file
		}
		fstype, _, err := mount.FSFromBlock("/dev/" + name)
		if err != nil {
			fstype = "-"
		}
		// The kernel counts in 512 bytes whatever the disk's sectors (block/genhd.c, part_size_show).
		w.Write([]byte(strings.Join([]string{indent + name, size(sectors*512, true), sysfs(dir, "ro"), fstype,
			at[name], sysfs(dir, "device/model")}, "\t") + "\n"))
	}
	for _, d := range disks {
		dir := filepath.Join("/sys/block", d.Name())
		row("", d.Name(), dir)
		parts, _ := filepath.Glob(filepath.Join(dir, d.Name()+"*", "partition"))
		for _, p := range parts {
			row("  ", filepath.Base(filepath.Dir(p)), filepath.Dir(p))
		}
	}
	return w.Flush()
}

func sysfs(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
