package maker

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"masthead/appliance/install"
	"masthead/images"
	"masthead/node/blockdev"
	"masthead/node/wire"
)

const mac = "52:54:00:00:00:02"

func someMaster() Master {
	return Master{
		Name: "head1", Address: netip.MustParsePrefix("10.77.0.1/24"), Gateway: netip.MustParseAddr("10.77.0.254"), Arch: "amd64", Version: "5",
		Source: install.Source{Name: "head", Image: images.DigestOf([]byte("head")), Kernel: "6.12", Size: 300 << 20}, Loader: true, Mkfs: true,
		Heads: []string{"head1"}, Nodes: map[string]string{"head1": "52:54:00:00:00:01", "n01": "52:54:00:00:00:11"},
		Owner:        map[netip.Addr]string{netip.MustParseAddr("10.77.0.1"): "head head1", netip.MustParseAddr("10.77.0.21"): "n01", netip.MustParseAddr("10.77.0.100"): "the cluster, as a virtual address,"},
		PasswordHash: "$6$salt$hash",
	}
}

func someDisk(name string, gib int64) install.Disk {
	return install.Disk{Device: blockdev.Device{Name: name, Path: "/dev/" + name, Size: gib << 30, Sector: 512, Serial: "S-" + name}}
}

func someTarget() Target {
	return Target{Host: "serverb", Arch: "amd64", Firmware: "uefi", MemoryMB: 2048, Kernel: "6.1", Version: "5", MAC: mac,
		NICs:  []install.NIC{{Name: "eth0", MAC: mac, Carrier: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/24")}}},
		Disks: []install.Disk{someDisk("sda", 20)}}
}

func TestNewPlan(t *testing.T) {
	full := func(d *install.Disk) { d.Found = []blockdev.Signature{{Kind: "ext2/3/4", Label: "root"}} }
	for _, tt := range []struct {
		name      string
		change    func(*Master, *Target, *Wishes)
		err, try  string // parts; empty: none
		disk      string
		note      string
		installed bool
	}{
		{name: "a blank disk", disk: "/dev/sda"},
		{name: "one of two disks", disk: "/dev/sdb", change: func(_ *Master, m *Target, w *Wishes) {
			m.Disks = append(m.Disks, someDisk("sdb", 30))
			w.Disk = "S-sdb"
		}},
		{name: "two blank disks", change: func(_ *Master, m *Target, _ *Wishes) { m.Disks = append(m.Disks, someDisk("sdb", 30)) },
			err: "2 disks are blank", try: "masthead master-maker b --disk /dev/sda"},
		{name: "something on it", change: func(_ *Master, m *Target, w *Wishes) { full(&m.Disks[0]); w.Disk = "sda" },
			err: "/dev/sda of b is not blank, and all of it would be lost: ext2/3/4 root", try: "masthead master-maker b --disk /dev/sda --erase 'S-sda'"},
		{name: "its serial number", disk: "/dev/sda", change: func(_ *Master, m *Target, w *Wishes) { full(&m.Disks[0]); w.Disk, w.Erase = "sda", "S-sda" }},
		{name: "another serial number", change: func(_ *Master, m *Target, w *Wishes) { full(&m.Disks[0]); w.Disk, w.Erase = "sda", "S-x" },
			err: `/dev/sda has serial S-sda, not "S-x"`, try: "masthead master-maker b --disk /dev/sda --erase S-sda"},
		{name: "its own system", disk: "/dev/sda", change: func(_ *Master, m *Target, w *Wishes) {
			full(&m.Disks[0])
			m.Disks[0].Uses = []string{"sda1 mounted on /"}
			m.Disks = Released(m.Disks)
			w.Disk, w.Erase = "sda", "S-sda"
		}},
		{name: "in use", change: func(_ *Master, m *Target, w *Wishes) {
			m.Disks[0].Uses = []string{"sda1 mounted on /"}
			w.Disk, w.Erase = "sda", "S-sda"
		},
			err: "/dev/sda is in use: sda1 mounted on /"},
		{name: "name", change: func(_ *Master, _ *Target, w *Wishes) { w.Name = "head_2" }, err: `name "head_2": want a host name`, try: "masthead master-maker b --name NAME"},
		{name: "no disk", change: func(_ *Master, m *Target, _ *Wishes) { m.Disks = nil }, err: "no disk is blank", try: "masthead master-maker b"},
		{name: "too small", change: func(_ *Master, m *Target, _ *Wishes) { m.Disks[0].Size = 600 << 20 }, err: "/dev/sda"},
		{name: "processor", change: func(_ *Master, m *Target, _ *Wishes) { m.Arch = "arm64" }, err: "another processor (arm64) than head1 (amd64)"},
		{name: "memory", change: func(_ *Master, m *Target, _ *Wishes) { m.MemoryMB = 256 }, err: "256 MiB of memory"},
		{name: "no loader", change: func(m *Master, _ *Target, _ *Wishes) { m.Loader = false }, err: "without a boot loader", try: "masthead upgrade HEAD.iso"},
		{name: "no room for the volume", change: func(m *Master, _ *Target, _ *Wishes) { m.Data, m.Volumes = 100<<30, []string{"data"} },
			err: "too small for a copy of volume data", try: "masthead master-maker b --disk DISK"},
		{name: "less room, and no volume", disk: "/dev/sda", change: func(m *Master, _ *Target, _ *Wishes) { m.Data = 100 << 30 }, note: "give a volume a size that both have"},
		{name: "as much room", disk: "/dev/sda", change: func(m *Master, _ *Target, _ *Wishes) { m.Data, m.Volumes = 1<<30, []string{"data"} }},
		{name: "Secure Boot", disk: "/dev/sda", change: func(_ *Master, m *Target, _ *Wishes) { m.SecureBoot = "on" }, note: "shim"},
		{name: "another version", disk: "/dev/sda", change: func(_ *Master, m *Target, _ *Wishes) { m.Version = "4" }, note: "runs masthead 4 now"},
		{name: "nothing to make a file system with", change: func(m *Master, _ *Target, _ *Wishes) { m.Mkfs = false }, err: "has no mkfs.ext4"},
		{name: "taken name", change: func(_ *Master, _ *Target, w *Wishes) { w.Name = "head1" }, err: "a head named head1", try: "masthead head eject head1"},
		{name: "a node's name", change: func(_ *Master, _ *Target, w *Wishes) { w.Name = "n01" }, err: "a node is named n01", try: "--name ANOTHER"},
		{name: "its own node", disk: "/dev/sda", change: func(m *Master, _ *Target, _ *Wishes) {
			m.Nodes["head2"] = mac
			m.Owner[netip.MustParseAddr("10.77.0.2")] = "head2"
		}},
		{name: "no name", change: func(_ *Master, _ *Target, w *Wishes) { w.Name = "" }, err: "needs a name", try: "masthead master-maker b --name NAME"},
		{name: "bad name", change: func(_ *Master, _ *Target, w *Wishes) { w.Name = "a b" }, err: `name "a b"`},
		{name: "address without a prefix", disk: "/dev/sda", change: func(_ *Master, _ *Target, w *Wishes) { w.Address = "10.77.0.2" }},
		{name: "no address", change: func(_ *Master, _ *Target, w *Wishes) { w.Address = "" }, err: "needs an address", try: "--address ADDRESS/24"},
		{name: "bad address", change: func(_ *Master, _ *Target, w *Wishes) { w.Address = "x" }, err: `"x" is no address`},
		{name: "another network", change: func(_ *Master, _ *Target, w *Wishes) { w.Address = "10.78.0.2/24" }, err: "not in the cluster's network 10.77.0.0/24"},
		{name: "a head's address", change: func(_ *Master, _ *Target, w *Wishes) { w.Address = "10.77.0.1/24" }, err: "head head1 has the address", try: "--address ANOTHER"},
		{name: "a node's address", change: func(_ *Master, _ *Target, w *Wishes) { w.Address = "10.77.0.21/24" }, err: "n01 has the address"},
		{name: "the virtual address", change: func(_ *Master, _ *Target, w *Wishes) { w.Address = "10.77.0.100/24" }, err: "virtual address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, target, w := someMaster(), someTarget(), Wishes{Host: "b", Name: "head2", Address: "10.77.0.2/24"}
			if tt.change != nil {
				tt.change(&m, &target, &w)
			}
			p, err := NewPlan(m, target, w)
			if tt.err != "" {
				var try interface{ Try() string }
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
				if tt.try != "" && (!errors.As(err, &try) || !strings.Contains(try.Try(), tt.try)) {
					t.Errorf("%v: to type next: %q, want %q", err, tryOf(err), tt.try)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.Disk.Path != tt.disk || p.Answers.Disk != tt.disk || p.Address.String() != "10.77.0.2/24" || p.Answers.Address != "10.77.0.2/24" ||
				p.Answers.NIC != mac || p.Answers.PasswordHash != m.PasswordHash || p.Answers.Gateway != "10.77.0.254" || p.Answers.After != install.Stay || len(p.Install) != 6 {
				t.Errorf("%+v", p)
			}
			if notes := strings.Join(p.Notes, "\n"); !strings.Contains(notes, tt.note) || tt.note == "" && notes != "" {
				t.Errorf("notes: %s, want %q", notes, tt.note)
			}
		})
	}
}

func tryOf(err error) string {
	var t interface{ Try() string }
	if errors.As(err, &t) {
		return t.Try()
	}
	return ""
}

// A disk that an earlier run has filled is taken as it is.
func TestPlanAfterInstall(t *testing.T) {
	m, target, w := someMaster(), someTarget(), Wishes{Host: "b", Name: "head2", Address: "10.77.0.2/24"}
	p, err := NewPlan(m, target, w)
	if err != nil {
		t.Fatal(err)
	}
	in, err := install.NewPlan(install.Machine{Disks: target.Disks, Source: m.Source, NICs: target.NICs, Mkfs: true}, p.Answers, zeros{})
	if err != nil {
		t.Fatal(err)
	}
	j := install.Journal{Image: m.Source.Image, Size: m.Source.Size, Table: in.Table, Answers: in.Digest(), Finished: time.Unix(1, 0)}
	target.Disks[0].Journal = &j
	target.Disks[0].Parts = []string{"sda1"}
	again, err := NewPlan(m, target, w)
	if err != nil || !again.Installed || again.Data != p.Data || again.Data == 0 {
		t.Errorf("%v: %+v", err, again)
	}
}

func TestFreeName(t *testing.T) {
	m := someMaster()
	m.Heads = append(m.Heads, "head2")
	m.Nodes["head3"] = "52:54:00:00:00:33"
	if got := FreeName(m); got != "head4" {
		t.Errorf("got %s", got)
	}
}

func TestTarget(t *testing.T) {
	want := someTarget()
	want.Keys = []HostKey{{"ssh-ed25519", "SHA256:x"}}
	want.Ports = []string{"/dev/ttyS1"}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseTarget(data)
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	for name, text := range map[string]string{
		"no JSON":     "hello",
		"no NIC":      strings.Replace(string(data), mac, "52:54:00:00:00:99", 1),
		"no MAC":      strings.Replace(string(data), mac, "zz", 1),
		"no memory":   strings.Replace(string(data), `"memory_mb":2048`, `"memory_mb":0`, 1),
		"empty disk":  strings.Replace(string(data), `"size":21474836480`, `"size":-1`, 1),
		"too much":    string(data) + strings.Repeat(" ", maxTarget),
		"nothing":     "",
		"not a value": "null",
	} {
		if got, err := ParseTarget([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Whatever a machine says of itself, it is refused or can be planned for.
func FuzzTarget(f *testing.F) {
	data, err := json.Marshal(someTarget())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"mac":"52:54:00:00:00:02","nics":[{"mac":"52:54:00:00:00:02"}],"arch":"amd64","memory_mb":1,"disks":[{"path":"/dev/sda","size":1,"sector":4096}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		target, err := ParseTarget(data)
		if err != nil {
			return
		}
		_, _ = NewPlan(someMaster(), target, Wishes{Host: "b", Name: "head2", Address: "10.77.0.2/24"})
	})
}

func TestJournal(t *testing.T) {
	dir := t.TempDir()
	none, err := ReadJournal(dir, "10.77.0.2")
	if d := cmp.Diff(Journal{}, none); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	want := Journal{Host: "52:54:00:AA:00:02", Name: "head2", Address: "10.77.0.2/24", MAC: mac, Disk: "S", Began: time.Unix(5, 0).UTC(),
		Done: []string{"node", "start"}, Was: &wire.Node{Name: "n05", MAC: mac}, Keys: map[string][]byte{"ssh_host_ed25519_key": []byte("secret")}}
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := ReadJournal(dir, "52:54:00:aa:00:02")
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if !got.Has("start") || got.Has("join") {
		t.Errorf("what is done: %v", got.Done)
	}
	if other := journalFile(dir, "../../etc/passwd"); !strings.HasPrefix(other, dir+"/maker/") {
		t.Errorf("a journal would lie in %s", other)
	}
	if err := errors.Join(got.Forget(dir), got.Forget(dir)); err != nil {
		t.Error(err)
	}
	if got, err := ReadJournal(dir, want.Host); err != nil || got.Host != "" {
		t.Errorf("after it was forgotten: %+v, %v", got, err)
	}
}

func TestRun(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name string
		done []string
		fail string // step
		undo string // step whose undoing fails
		want string
		err  string
	}{
		{"all", nil, "", "", "do a, do b, do join, do d", ""},
		{"again, before the end is sure", []string{"a", "b"}, "", "", "do a, do b, do join, do d", ""},
		{"behind the join", []string{"a", "b", "join"}, "", "", "do d", ""},
		{"the first", nil, "a", "", "do a, undo a", "step a: broken; this head is as it was"},
		{"the join", nil, "join", "", "do a, do b, do join, undo a", "step join: broken; this head is as it was"},
		{"behind it", nil, "d", "", "do a, do b, do join, do d", "step d: broken; what was done stays"},
		{"behind it, again", []string{"join"}, "d", "", "do d", "step d: broken; what was done stays"},
		{"cannot be taken back", nil, "b", "a", "do a, do b, undo a", "take back step a: stuck"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var did, noted []string
			step := func(name string) Step {
				return Step{Name: name, Do: func(context.Context) error {
					did = append(did, "do "+name)
					if tt.fail == name {
						return broken
					}
					return nil
				}}
			}
			steps := []Step{step("a"), step("b"), step("join"), step("d")}
			steps[0].Undo = func(context.Context) error {
				did = append(did, "undo a")
				if tt.undo == "a" {
					return errors.New("stuck")
				}
				return nil
			}
			steps[2].Final = true
			var last Event
			err := Run(t.Context(), steps, tt.done, func(name string) error { noted = append(noted, name); return nil }, func(e Event) { last = e })
			if got := strings.Join(did, ", "); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
			if err == nil && (last.State != Done || len(noted) != strings.Count(tt.want, "do ")) {
				t.Errorf("last event %+v, noted %v", last, noted)
			}
			if tt.fail != "" && (!errors.Is(err, broken) || strings.Contains(strings.Join(noted, " "), tt.fail)) {
				t.Errorf("%v, noted %v", err, noted)
			}
		})
	}
}

// Somebody who presses Ctrl-C finds the head as it was.
func TestRunInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	undone := false
	err := Run(ctx, []Step{
		{Name: "a", Do: func(context.Context) error { cancel(); return nil }, Undo: func(ctx context.Context) error { undone = true; return ctx.Err() }},
		{Name: "b", Do: func(context.Context) error { t.Error("it went on"); return nil }},
	}, nil, func(string) error { return nil }, func(Event) {})
	if !errors.Is(err, context.Canceled) || !undone {
		t.Errorf("%v, taken back: %t", err, undone)
	}
}
