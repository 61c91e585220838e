package service

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"masthead/appliance/failover"
	"masthead/vmtest/prerequisite"
)

func operateFilesystem(t testing.TB, o op, limit time.Duration, f Filesystem) result {
	t.Helper()
	w := world{run: execute, log: quiet()}
	return w.operate(t.Context(), job{res: Resource{Filesystem: &f}, op: o, limit: limit, env: []string{"PATH=" + path}})
}

// mountable gives a folder, and unmounts what is left below it at the end.
func mountable(t testing.TB) string {
	t.Helper()
	prerequisite.Root(t)
	dir := t.TempDir()
	t.Cleanup(func() {
		table, _ := readMounts()
		for i := len(table) - 1; i >= 0; i-- {
			if strings.HasPrefix(table[i].path, dir+"/") {
				_ = unix.Unmount(table[i].path, unix.MNT_DETACH)
			}
		}
	})
	return dir
}

func TestFilesystem(t *testing.T) {
	dir := mountable(t)
	f := Filesystem{Device: "tmpfs", Path: filepath.Join(dir, "a b", "srv"), Type: "tmpfs", Options: []string{"size=1m,nosuid", "noatime"}}
	expect := func(o op, want result, text string) {
		t.Helper()
		got := operateFilesystem(t, o, 10*time.Second, f)
		err := ""
		if got.err != nil {
			err = got.err.Error()
		}
		if got.err = nil; got != want || err != text {
			t.Errorf("%v: %+v, %q, want %+v, %q", o, got, err, want, text)
		}
	}
	expect(check, result{verdict: down}, "is not mounted")
	expect(start, result{}, "")
	expect(check, result{verdict: up}, "")
	expect(start, result{}, "")
	table, err := readMounts()
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := table.top(f.Path); !ok || m.source != "tmpfs" || m.readOnly {
		t.Errorf("mounted %+v, %v", m, ok)
	}
	// What is mounted below goes first.
	inner := Filesystem{Device: "inner", Path: filepath.Join(f.Path, "inner"), Type: "tmpfs"}
	if r := operateFilesystem(t, start, 10*time.Second, inner); r.err != nil {
		t.Fatal(r.err)
	}
	if err := unix.Mount("", f.Path, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	expect(check, result{verdict: bad}, "became read-only, as after an error of the disk")
	expect(stop, result{}, "")
	expect(check, result{verdict: down}, "is not mounted")
	expect(stop, result{}, "")
	other := f
	other.Device = "other"
	if r := operateFilesystem(t, start, 10*time.Second, other); r.err != nil {
		t.Fatal(r.err)
	}
	f.Device = "mine"
	expect(start, result{clean: true}, "other is mounted on "+f.Path+" already")
	expect(stop, result{}, "")
	if r := operateFilesystem(t, check, time.Second, other); r.verdict != up {
		t.Errorf("another's mount was unmounted: %+v", r)
	}
	f.Type, f.Path = "nofs", filepath.Join(dir, "x")
	expect(start, result{clean: true}, "mount mine on "+f.Path+" as nofs: no such device")
}

func TestFilesystemBind(t *testing.T) {
	dir := mountable(t)
	from := filepath.Join(dir, "from")
	if err := os.Mkdir(from, 0o755); err != nil {
		t.Fatal(err)
	}
	f := Filesystem{Device: from, Path: filepath.Join(dir, "to"), Options: []string{"bind", "ro"}}
	if r := operateFilesystem(t, start, time.Second, f); r.err != nil {
		t.Fatal(r.err)
	}
	if err := os.WriteFile(filepath.Join(f.Path, "x"), nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("write: %v", err)
	}
	if r := operateFilesystem(t, check, time.Second, f); r.verdict != up {
		t.Errorf("check: %+v", r)
	}
	if r := operateFilesystem(t, stop, time.Second, f); r.err != nil {
		t.Error(r.err)
	}
}

// TestFilesystemDisk mounts an ext4 on a loop device, with fsck, by its UUID's device and by a link.
func TestFilesystemDisk(t *testing.T) {
	dir := mountable(t)
	image := filepath.Join(dir, "disk")
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 8<<20); err != nil {
		t.Fatal(err)
	}
	tool := func(args ...string) string {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		prerequisite.Have(t, err == nil, strings.Join(args, " ")+" ("+strings.TrimSpace(string(out))+")")
		return strings.TrimSpace(string(out))
	}
	tool("mkfs.ext4", "-q", image)
	loop := tool("losetup", "--find", "--show", image)
	t.Cleanup(func() { _ = exec.Command("losetup", "-d", loop).Run() })
	link := filepath.Join(dir, "link")
	if err := os.Symlink(loop, link); err != nil {
		t.Fatal(err)
	}
	f := Filesystem{Device: link, Path: filepath.Join(dir, "srv"), Type: "ext4", Options: []string{"noatime", "errors=remount-ro"}, Fsck: true}
	for _, o := range []op{start, check, start, check, stop} {
		if r := operateFilesystem(t, o, 10*time.Second, f); r.err != nil || o == check && r.verdict != up {
			t.Fatalf("%v: %+v", o, r)
		}
	}
	// A superblock that is lost is nothing that fsck -p repairs.
	if err := exec.Command("dd", "if=/dev/zero", "of="+loop, "bs=1k", "count=64", "conv=fsync").Run(); err != nil {
		t.Fatal(err)
	}
	if r := operateFilesystem(t, start, 10*time.Second, f); r.err == nil || !r.clean || !r.hard {
		t.Errorf("a broken disk: %+v", r)
	}
}

// TestFilesystemInUse: who uses it is asked to go, then killed; or is named, if that is not allowed.
func TestFilesystemInUse(t *testing.T) {
	dir := mountable(t)
	f := Filesystem{Device: "data", Path: filepath.Join(dir, "srv"), Type: "tmpfs"}
	use := func(line string) *exec.Cmd {
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir = f.Path
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil { // it is there
			t.Fatal(err)
		}
		return cmd
	}
	if r := operateFilesystem(t, start, time.Second, f); r.err != nil {
		t.Fatal(r.err)
	}
	stubborn := use("trap '' TERM; echo; while :; do sleep 1; done")
	keep := f
	keep.KeepUsers = true
	r := operateFilesystem(t, stop, 10*time.Second, keep)
	if r.err == nil || !strings.HasPrefix(r.err.Error(), "unmount "+f.Path+": it is used by sh (") {
		t.Errorf("kept: %v", r.err)
	}
	if r := operateFilesystem(t, stop, 300*time.Millisecond, f); r.err == nil || !strings.Contains(r.err.Error(), "did not end within 300ms") {
		t.Errorf("too little time: %v", r.err)
	}
	polite := use("exec 3>file; cd /; echo; exec sleep 1000")
	if r := operateFilesystem(t, stop, 20*time.Second, f); r.err != nil {
		t.Fatal(r.err)
	}
	for _, cmd := range []*exec.Cmd{stubborn, polite} {
		if err := cmd.Wait(); err == nil {
			t.Errorf("%v ended by itself", cmd)
		}
	}
	if r := operateFilesystem(t, check, time.Second, f); r.verdict != down {
		t.Errorf("check: %+v", r)
	}
}

// TestFilesystemService: a file system below a script that uses it, through a group.
func TestFilesystemService(t *testing.T) {
	dir := mountable(t)
	s := newStage(t)
	f := Filesystem{Device: "data", Path: filepath.Join(dir, "srv"), Type: "tmpfs"}
	s.cfg.Services = []Service{{Name: "db", Resources: []Resource{
		{Filesystem: &f},
		{Script: s.script("mysqld", "test $1 = start && { cd "+f.Path+" && echo data >file && { sleep 1000 & }; }")}, // its stop leaves a process behind
	}}}
	s.run()
	defer s.kill()
	s.group.Wish(failover.Run, 23)
	s.wait(failover.ServicesStarted)
	if data, err := os.ReadFile(filepath.Join(f.Path, "file")); err != nil || string(data) != "data\n" {
		t.Fatalf("%q, %v", data, err)
	}
	s.group.Wish(failover.Stop, 23)
	s.wait(failover.ServicesStopped)
	if diff := cmp.Diff([]string{"mysqld start", "mysqld stop"}, s.done()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if table, err := readMounts(); err != nil {
		t.Error(err)
	} else if _, ok := table.top(f.Path); ok {
		t.Error("still mounted")
	}
}

func TestMountOptions(t *testing.T) {
	flags, data := mountOptions([]string{"defaults,ro", "noatime", "rw,size=1m", "x-systemd.automount", "mode=700"})
	if flags != unix.MS_NOATIME || data != "size=1m,mode=700" {
		t.Errorf("%x %q", flags, data)
	}
	for name, o := range mountFlags {
		if on, ok := mountFlags[strings.TrimPrefix(name, "no")]; ok && strings.HasPrefix(name, "no") && on.flag == o.flag && on.off == o.off && o.flag != 0 {
			t.Errorf("%s and its opposite do the same", name)
		}
	}
}

func TestParseMounts(t *testing.T) {
	const text = `22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw,errors=remount-ro
30 22 0:26 / /srv/a\040b rw,nosuid - tmpfs data\134x ro,size=1m
31 30 0:27 /sub /srv/a\040b ro master:3 propagate_from:2 - ext4 /dev/sdb1 rw
`
	got, err := parseMounts(text)
	if err != nil {
		t.Fatal(err)
	}
	want := mounts{
		{id: 22, parent: 1, major: 259, minor: 1, root: "/", path: "/", kind: "ext4", source: "/dev/nvme0n1p1"},
		{id: 30, parent: 22, minor: 26, root: "/", path: "/srv/a b", kind: "tmpfs", source: `data\x`, readOnly: true},
		{id: 31, parent: 30, minor: 27, root: "/sub", path: "/srv/a b", kind: "ext4", source: "/dev/sdb1", readOnly: true},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mount{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if top, ok := got.top("/srv/a b/"); !ok || top.id != 31 {
		t.Errorf("top: %+v, %v", top, ok)
	}
	if leaf := got.leaf(got[0]); leaf.id != 31 {
		t.Errorf("leaf: %+v", leaf)
	}
	if _, err := parseMounts("1 2 3\n"); err == nil {
		t.Error("a short line is taken")
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add("30 22 0:26 / /srv/a\\040b rw,nosuid - tmpfs data\\1 ro,size=1m\n")
	f.Fuzz(func(t *testing.T, text string) {
		table, err := parseMounts(text)
		if err != nil {
			return
		}
		for _, m := range table {
			table.leaf(m)
			table.top(m.path)
		}
	})
}
