package files

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"masthead/images"
	"masthead/node/wire"
)

// local is a file as it is on this head.
type local struct {
	exists   bool
	other    string // not empty: it is no regular file but this
	digest   images.Digest
	size     int64
	mode     uint32
	uid, gid int
	changed  time.Time
}

// look reads a file whole. A link is not followed.
func look(path string) (local, error) {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return local{}, nil
	}
	if err != nil {
		return local{}, err
	}
	l := local{exists: true, size: st.Size(), mode: unixMode(st.Mode()), changed: st.ModTime()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		l.uid, l.gid = int(sys.Uid), int(sys.Gid)
	}
	switch {
	case st.Mode()&fs.ModeSymlink != 0:
		to, _ := os.Readlink(path)
		l.other = "a link to " + to
		return l, nil
	case st.IsDir():
		l.other = "a folder"
		return l, nil
	case !st.Mode().IsRegular():
		l.other = "a " + st.Mode().Type().String() + " special file"
		return l, nil
	}
	// Without following a link that comes in between, nor waiting for a pipe.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return l, err
	}
	defer f.Close()
	sum := sha256.New()
	if l.size, err = io.Copy(sum, io.LimitReader(f, wire.MaxFile+1)); err != nil {
		return l, err
	}
	l.digest = images.DigestFromSum(sum.Sum(nil))
	return l, nil
}

// unixMode is the mode as chmod(2) has it.
func unixMode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for _, b := range specialBits {
		if m&b.mode != 0 {
			bits |= b.bit
		}
	}
	return bits
}

func fileMode(bits uint32) fs.FileMode {
	m := fs.FileMode(bits & 0o777)
	for _, b := range specialBits {
		if bits&b.bit != 0 {
			m |= b.mode
		}
	}
	return m
}

var specialBits = []struct {
	mode fs.FileMode
	bit  uint32
}{{fs.ModeSetuid, syscall.S_ISUID}, {fs.ModeSetgid, syscall.S_ISGID}, {fs.ModeSticky, syscall.S_ISVTX}}

// owner is who a version belongs to on this head: by name where the name is known here, else by number.
func owner(v wire.FileVersion) (uid, gid int) {
	uid, gid = v.UID, v.GID
	if v.Owner != "" {
		if u, err := user.Lookup(v.Owner); err == nil {
			uid = number(u.Uid, uid)
		}
	}
	if v.Group != "" {
		if g, err := user.LookupGroup(v.Group); err == nil {
			gid = number(g.Gid, gid)
		}
	}
	return uid, gid
}

func number(s string, otherwise int) int {
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	return otherwise
}

// differences lists what of a file is not as a version says.
func differences(l local, v wire.FileVersion) []wire.Difference {
	if !l.exists {
		return []wire.Difference{{Field: "file", Old: "there", New: "missing"}}
	}
	if l.other != "" {
		return []wire.Difference{{Field: "file", Old: "a file", New: l.other}}
	}
	var diff []wire.Difference
	note := func(field, want, is string) {
		if want != is {
			diff = append(diff, wire.Difference{Field: field, Old: want, New: is})
		}
	}
	if l.digest != v.Digest {
		note("content", fmt.Sprintf("%d bytes, %s, of %s", v.Size, v.Digest.Short(), stamp(v.Time)),
			fmt.Sprintf("%d bytes, %s, of %s", l.size, l.digest.Short(), stamp(l.changed)))
	}
	note("mode", Octal(v.Mode), Octal(l.mode))
	uid, gid := owner(v)
	note("owner", person(v.Owner, uid), person(userName(l.uid, uid, v.Owner), l.uid))
	note("group", person(v.Group, gid), person(groupName(l.gid, gid, v.Group), l.gid))
	return diff
}

// rights are the flags of "masthead file add" that keep a change of mode or owner. A new content is kept without them:
// who renews a key seldom means its mode.
func rights(l local, diff []wire.Difference) string {
	flags := ""
	for _, d := range diff {
		switch d.Field {
		case "content", "file":
			return ""
		case "mode":
			flags += " --mode " + Octal(l.mode)
		case "owner":
			flags += " --owner " + cmp.Or(userName(l.uid, -1, ""), strconv.Itoa(l.uid))
		case "group":
			flags += " --group " + cmp.Or(groupName(l.gid, -1, ""), strconv.Itoa(l.gid))
		}
	}
	return flags
}

// CheckOwners refuses a version with the name of a user or group whom this head does not know, unless the version before
// had it: another head may know it. A machine without such lists refuses nobody.
func CheckOwners(before, v wire.FileVersion) error {
	var noUser user.UnknownUserError
	if _, err := user.Lookup(v.Owner); v.Owner != "" && v.Owner != before.Owner && errors.As(err, &noUser) {
		return fmt.Errorf("no user %q on this head", v.Owner)
	}
	var noGroup user.UnknownGroupError
	if _, err := user.LookupGroup(v.Group); v.Group != "" && v.Group != before.Group && errors.As(err, &noGroup) {
		return fmt.Errorf("no group %q on this head", v.Group)
	}
	return nil
}

// Octal is a mode as chmod(1) takes it.
func Octal(mode uint32) string { return fmt.Sprintf("%04o", mode) }

func stamp(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

func person(name string, id int) string {
	if name == "" {
		return strconv.Itoa(id)
	}
	return fmt.Sprintf("%s (%d)", name, id)
}

// userName names a user who is not the wanted one; that one has its name from the state.
func userName(id, want int, name string) string {
	if id == want {
		return name
	}
	if u, err := user.LookupId(strconv.Itoa(id)); err == nil {
		return u.Username
	}
	return ""
}

func groupName(id, want int, name string) string {
	if id == want {
		return name
	}
	if g, err := user.LookupGroupId(strconv.Itoa(id)); err == nil {
		return g.Name
	}
	return ""
}

// Diff lists what changes between two versions of a file.
func Diff(before, after wire.FileVersion) []wire.Difference {
	diff := []wire.Difference{} // an empty list in JSON, not null
	note := func(field, a, b string) {
		if a != b {
			diff = append(diff, wire.Difference{Field: field, Old: a, New: b})
		}
	}
	text := func(v wire.FileVersion) string { return fmt.Sprintf("%d bytes, %s", v.Size, v.Digest.Short()) }
	if before.Digest == "" {
		note("content", "", text(after))
		note("mode", "", Octal(after.Mode))
		note("owner", "", person(after.Owner, after.UID))
		note("group", "", person(after.Group, after.GID))
		return diff
	}
	if before.Digest != after.Digest {
		note("content", text(before), text(after))
	}
	note("mode", Octal(before.Mode), Octal(after.Mode))
	note("owner", person(before.Owner, before.UID), person(after.Owner, after.UID))
	note("group", person(before.Group, before.GID), person(after.Group, after.GID))
	return diff
}
