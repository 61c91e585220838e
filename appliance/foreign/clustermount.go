package foreign

import (
	"cmp"
	"path"
	"strconv"
	"strings"

	"masthead/appliance/service"
)

// filesystem is fs or netfs.
func (c *clusterReader) filesystem(e *element, a *attributes, res service.Resource) (service.Resource, string, bool) {
	f := &service.Filesystem{Device: a.get("device"), Path: a.get("mountpoint"), Type: a.get("fstype")}
	if e.name == "netfs" {
		f.Device = a.get("host") + ":" + a.get("export")
		if f.Type == "" {
			f.Type = "nfs"
		}
		if a.get("host") == "" || a.get("export") == "" {
			f.Device = ""
		}
	}
	if label, ok := strings.CutPrefix(f.Device, "-L"); ok {
		f.Device = "LABEL=" + strings.TrimSpace(label)
	}
	if options := a.get("options"); options != "" {
		f.Options = strings.Split(options, ",")
	}
	f.Fsck = yes(a.get("force_fsck"))
	f.KeepUsers = !yes(a.get("force_unmount"))
	if a.get("self_fence") != "" {
		c.yes(e.first, "self_fence: a head that cannot stop a service always resets itself")
	}
	for _, name := range []string{"fsid", "quick_status", "nfslock", "nfsrestart", "use_findmnt", "no_unmount"} {
		if v := a.get(name); v != "" {
			if name == "no_unmount" && yes(v) {
				c.no(e.first, "no_unmount: it is unmounted when the service stops")
			} else if name == "fsid" {
				c.fsids[path.Clean(a.get("mountpoint"))] = v
			} else {
				c.yes(e.first, "%s: not needed", name)
			}
		}
	}
	if f.Device == "" || !path.IsAbs(f.Path) || path.Clean(f.Path) == "/" {
		c.no(e.first, "it lacks a device, or a path below the root")
		return res, "", false
	}
	f.Path = path.Clean(f.Path)
	if f.Type == "" || strings.ContainsAny(f.Type, "/ ") {
		f.Type = "ext4"
		c.no(e.first, "its type is not written: taken for ext4")
	}
	res.Filesystem = f
	return res, f.Path, true
}

// nfsclient is an export of the file system around it to some clients.
func (c *clusterReader) nfsclient(e *element, a *attributes, res service.Resource, mount string) (service.Resource, string, bool) {
	target, options := a.get("target"), a.get("options")
	if p := a.get("path"); p != "" {
		mount = p
	}
	a.get("allow_recover")
	if target == "" || mount == "" {
		c.no(e.first, "it has no target, or lies in no file system")
		return res, mount, false
	}
	params := map[string]string{"clientspec": target, "directory": mount, "options": cmp.Or(options, "ro")}
	// exportfs wants one; it is the same on all heads, and differs from file system to file system.
	if id := a.get("fsid"); id != "" {
		c.fsids[mount] = id
	} else if c.fsids[mount] == "" {
		c.fsids[mount] = strconv.Itoa(len(c.fsids) + 1)
		c.yes(e.first, "fsid %s: must differ from those of other file systems", c.fsids[mount])
	}
	params["fsid"] = c.fsids[mount]
	res.OCF = &service.OCF{Agent: "ocf:heartbeat:exportfs", Params: params}
	return res, mount, true
}
