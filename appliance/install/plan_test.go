package install

import (
	"errors"
	"strings"
	"testing"

	"masthead/images"
	"masthead/images/disk"
	"masthead/node/blockdev"
)

const gib = 1 << 30

func device(name, serial string, size int64) blockdev.Device {
	return blockdev.Device{Name: name, Path: "/dev/" + name, Serial: serial, Size: size, Sector: 512}
}

func answers(f func(*Answers)) Answers {
	a := Answers{Disk: AutoDisk, Address: "10.77.0.1/24"}
	if f != nil {
		f(&a)
	}
	return a
}

func TestNewPlan(t *testing.T) {
	blank := Disk{Device: device("vda", "S1", 20*gib)}
	used := Disk{Device: device("sdb", "WD-1", 20*gib), Found: []blockdev.Signature{{Kind: "GPT"}}, Parts: []string{"sdb1 ext4 root, 20.0 GiB"}}
	mounted := used
	mounted.Uses = []string{"sdb1 mounted at /srv"}
	medium := Disk{Device: device("sdc", "STICK", 8*gib), Medium: true, Found: []blockdev.Signature{{Kind: "ISO 9660"}}}
	nameless := used
	nameless.Serial = ""
	small := Disk{Device: device("vdb", "S2", 200<<20)}
	big := Disk{Device: device("vdc", "S3", 4096*gib)}
	big.Sector = 4096
	source := Source{Name: "head", Image: images.DigestOf([]byte("x")), Size: 400 << 20}
	done := blank
	done.Found = []blockdev.Signature{{Kind: "GPT"}}
	done.Journal = &Journal{Image: source.Image, Answers: answersDigest(answers(nil).withDefaults()), Finished: when}
	begun := done
	begun.Journal = &Journal{Image: source.Image, Answers: done.Journal.Answers}

	for _, tt := range []struct {
		name    string
		disks   []Disk
		answers Answers
		want    string // the disk, or a part of the error
		try     string
	}{
		{"the only blank one", []Disk{medium, used, blank}, answers(nil), "/dev/vda", ""},
		{"two are blank", []Disk{blank, {Device: device("vdd", "S9", 20*gib)}}, answers(nil), "2 disks are blank", "masthead install --disk /dev/vda"},
		{"none is blank", []Disk{used, medium}, answers(nil), "no disk is blank and can be used; this machine has /dev/sdb (20.0 GiB, serial WD-1, GPT; sdb1 ext4 root", "masthead install --disk DISK --erase SERIAL"},
		{"by its serial number", []Disk{blank, used}, answers(func(a *Answers) { a.Disk = "S1" }), "/dev/vda", ""},
		{"no such disk", []Disk{blank}, answers(func(a *Answers) { a.Disk = "/dev/sdz" }), "there is no disk /dev/sdz", "masthead install --disk /dev/vda"},
		{"with data", []Disk{used}, answers(func(a *Answers) { a.Disk = "sdb" }), "/dev/sdb is not blank, and all of it would be lost: GPT; sdb1 ext4 root", "masthead install --disk /dev/sdb --erase WD-1"},
		{"with data, erased", []Disk{used}, answers(func(a *Answers) { a.Disk, a.Erase = "sdb", "WD-1" }), "/dev/sdb", ""},
		{"with data, another serial number", []Disk{used}, answers(func(a *Answers) { a.Disk, a.Erase = "sdb", "WD-2" }), `/dev/sdb has serial WD-1, not "WD-2"; on it: GPT`, "masthead install --disk /dev/sdb --erase WD-1"},
		{"without a serial number its name counts", []Disk{nameless}, answers(func(a *Answers) { a.Disk, a.Erase = "sdb", "sdb" }), "/dev/sdb", ""},
		{"in use, whatever is given", []Disk{mounted}, answers(func(a *Answers) { a.Disk, a.Erase = "sdb", "WD-1" }), "in use: sdb1 mounted at /srv", "start this machine from the ISO, and unmount it"},
		{"the medium, whatever is given", []Disk{medium}, answers(func(a *Answers) { a.Disk, a.Erase = "sdc", "STICK" }), "is what this machine was started from", ""},
		{"without a serial number, another one", []Disk{nameless}, answers(func(a *Answers) { a.Disk, a.Erase = "sdb", "-" }), `/dev/sdb has no serial: type sdb, not "-"; on it: GPT`, "masthead install --disk /dev/sdb --erase sdb"},
		{"too small", []Disk{small}, answers(nil), "/dev/vdb: plan the disk: the disk has 200 MiB", "masthead install --disk ANOTHER, a larger one; or the ISO of an image with less in it"},
		{"one of two blank ones is too small", []Disk{small, blank}, answers(nil), "/dev/vda", ""},
		{"sectors of 4096", []Disk{big}, answers(nil), "logical sectors of 4096 bytes", "masthead install --disk ANOTHER; or have the disk show sectors of 512 bytes (nvme format --lbaf, hdparm --set-sector-size)"},
		{"neither can be used", []Disk{small, big}, answers(nil), "no disk is blank and can be used; this machine has /dev/vdb", "masthead install --disk DISK --erase SERIAL"},
		{"begun before", []Disk{begun, used}, answers(nil), "/dev/vda", ""},
		{"installed so before", []Disk{done}, answers(func(a *Answers) { a.Disk, a.Erase = "vda", "S1" }), "was installed from this ISO with these answers", "take the ISO out and restart; or add again: true to the answers"},
		{"installed so before, again", []Disk{done}, answers(func(a *Answers) { a.Disk, a.Erase, a.Again = "vda", "S1", true }), "/dev/vda", ""},
		{"wrong answers", []Disk{blank}, answers(func(a *Answers) { a.Gateway = "10.78.0.1" }), `gateway: "10.78.0.1": is not in the network 10.77.0.0/24`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := NewPlan(Machine{Disks: tt.disks, Source: source, Mkfs: true}, tt.answers, zeros{})
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("got error %v, want one with %q", err, tt.want)
				}
				var h interface{ Try() string }
				if errors.As(err, &h); (h == nil && tt.try != "") || (h != nil && h.Try() != tt.try) {
					t.Errorf("%v: want the hint %q", err, tt.try)
				}
				return
			}
			if p.Disk.Path != tt.want {
				t.Errorf("got %s, want %s", p.Disk.Path, tt.want)
			}
			if slot, _ := p.Table.Slot(disk.SlotB); slot.Size < source.Size {
				t.Errorf("slot b has %d bytes", slot.Size)
			}
		})
	}
}

func TestCheckNIC(t *testing.T) {
	nics := []NIC{{Name: "eth0", MAC: "52:54:00:00:00:01"}, {Name: "eth1", MAC: "52:54:00:00:00:0a", Carrier: true}}
	m := Machine{Disks: []Disk{{Device: device("vda", "S1", 20*gib)}}, Source: Source{Size: 1 << 20}, NICs: nics, Mkfs: true}
	for nic, want := range map[string]string{
		"": "", "eth1": "", "52:54:00:00:00:0A": "",
		"foo": "this machine has no NIC foo; it has eth0 (52:54:00:00:00:01), eth1 (52:54:00:00:00:0a, with a link)",
	} {
		_, err := NewPlan(m, answers(func(a *Answers) { a.NIC = nic }), zeros{})
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%q: got %v, want %s", nic, err, want)
		}
		var h *hint
		if want != "" && (!errors.As(err, &h) || h.Try() != "masthead install --nic 52:54:00:00:00:0a") {
			t.Errorf("%q: the hint is %v", nic, h)
		}
	}
}

// Mail that nobody can send is no error: the configuration may get a server later.
func TestWarnings(t *testing.T) {
	p := Plan{Answers: answers(func(a *Answers) { a.Mail = []string{"a@example.org"} })}
	if got := p.Warnings(); len(got) != 1 || !strings.Contains(got[0], "mail_server") {
		t.Errorf("got %q, want one about the mail server", got)
	}
	p.Answers.Server = "mail.example.org"
	if got := p.Warnings(); got != nil {
		t.Errorf("got %q, want none", got)
	}
}

// Without mkfs.ext4 nothing can be kept for the first boot, which is told before anything is written.
func TestPlanWithoutMkfs(t *testing.T) {
	m := Machine{Disks: []Disk{{Device: device("vda", "S1", 20*gib)}}, Source: Source{Size: 1 << 20}}
	if _, err := NewPlan(m, answers(nil), zeros{}); err != nil {
		t.Errorf("nothing is to be kept: %v", err)
	}
	if _, err := NewPlan(m, answers(func(a *Answers) { a.Password = "x" }), zeros{}); err == nil || !strings.Contains(err.Error(), "mkfs.ext4") {
		t.Errorf("got %v, want an error with mkfs.ext4", err)
	}
}

func TestConfig(t *testing.T) {
	for _, tt := range []struct {
		answers Answers
		want    string
	}{
		{answers(nil), "masthead.name=head1 masthead.ip=10.77.0.1/24 panic=30"},
		{answers(func(a *Answers) {
			a.Gateway, a.DNS, a.NIC, a.Name = "10.77.0.254", "9.9.9.9", "52:54:00:00:00:01", "h2"
		}),
			"masthead.name=h2 masthead.ip=10.77.0.1/24,10.77.0.254,9.9.9.9 masthead.nic=52:54:00:00:00:01 panic=30"},
		{answers(func(a *Answers) { a.DNS = "9.9.9.9" }), "masthead.name=head1 masthead.ip=10.77.0.1/24,,9.9.9.9 panic=30"},
		{answers(func(a *Answers) { a.Address, a.Cmdline = AddressDHCP, "quiet" }), "masthead.name=head1 masthead.ip=dhcp panic=30 quiet"},
	} {
		got := Plan{Answers: tt.answers.withDefaults()}.Config().Cmdline
		if got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
		if _, err := images.ParseBoot(got); err != nil {
			t.Errorf("init does not understand it: %v", err)
		}
	}
}

func TestParseAnswers(t *testing.T) {
	const good = "disk: auto\naddress: 10.77.0.1/24\nvip: 10.77.0.100/24\nmail: [a@example.org]\nafter: restart\n"
	a, err := ParseAnswers("f", []byte(good))
	must(t, err)
	if a.VIP.String() != "10.77.0.100/24" || a.After != Restart || a.Name != "head1" {
		t.Errorf("got %+v", a)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "# no\n", "f: no answers in it"},
		{"unknown field", "disk: auto\naddres: 1\n", "f:2: addres: no such field"},
		{"no disk", "address: 10.77.0.1/24\n", "f: disk: want auto"},
		{"no address", "disk: auto\n", "f: address: want ADDRESS/PREFIX"},
		{"all at once", "disk: auto\naddress: 10.77.0.1/24\nvip: 10.77.0.1/24\nafter: dance\nmail:\n - no\n", "f:3: vip: \"10.77.0.1/24\": is this head's own address"},
		{"virtual address elsewhere", "disk: auto\naddress: 10.77.0.1/24\nvip: 10.78.0.1/24\n", "f:3: vip: \"10.78.0.1/24\": is not in the head's network"},
		{"no prefix, and more", "disk: auto\naddress: 10.77.0.1/24\nvip: 1.2.3\nadress: x\nafter: never\n", "f:3: vip: \"1.2.3\" is not an address with a prefix, such as 10.77.0.100/24\nf:4: adress: no such field\nf:5: after: "},
		{"name", "disk: auto\naddress: dhcp\nname: A b\n", "f:3: name: \"A b\": want a host name: 1 to 63 of a-z, 0-9 and dash, not a number"},
		{"name of no node", "disk: auto\naddress: dhcp\nname: head_1\n", "f:3: name: \"head_1\": want a host name"},
		{"key", "disk: auto\naddress: dhcp\nssh_keys:\n - rsa\n", "f:4: ssh_keys[0]: \"rsa\": is no public key"},
		{"two passwords", "disk: auto\naddress: dhcp\npassword: x\npassword_hash: $6$a$b\n", "f:4: password_hash: password is there as well"},
		{"mail server for nobody", "disk: auto\naddress: dhcp\nmail_server: m\n", "f:3: mail_server: \"m\": nobody gets the mail"},
	} {
		_, err := ParseAnswers("f", []byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
		}
	}
	_, err = ParseAnswers("f", []byte("disk: auto\naddress: 10.77.0.1/24\nvip: 10.77.0.1/24\nafter: dance\nmail:\n - no\n"))
	for _, want := range []string{"f:3:", "f:4: after", "f:6: mail[0]"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want all at once, also %q", err, want)
		}
	}
}

func FuzzParseAnswers(f *testing.F) {
	f.Add("disk: auto\naddress: 10.77.0.1/24\nvip: 10.77.0.100/24\n")
	f.Add("{disk: S1, erase: S1, address: dhcp}")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAnswers("f", []byte(text))
		if err != nil {
			return
		}
		if strings.ContainsAny((Plan{Answers: a}).Config().Cmdline, "\n'$") {
			t.Errorf("%q makes a command line that GRUB would read otherwise", text)
		}
	})
}
