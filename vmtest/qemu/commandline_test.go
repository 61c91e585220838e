package qemu

import (
	"flag"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

var ovmf = Pflash{Code: "/usr/share/OVMF/OVMF_CODE_4M.fd", Vars: "/lab/vars.fd"}

var goldenMachines = []struct {
	name    string
	machine Machine
	host    Host
}{
	{
		name: "head",
		machine: Machine{
			Name: "head1", MemoryMB: 1024, CPUs: 2, Firmware: BIOS,
			Boot: []Source{FromCD, FromDisk},
			Disks: []Disk{
				{Path: "/images/head, v2.iso", Bus: CDROM},
				{Path: "/lab/disk0.raw"},
				{Path: "/lab/old.qcow2", Format: "qcow2", Bus: SCSI},
			},
			NICs:     []NIC{{MAC: "52:54:00:77:00:01"}},
			Forwards: []Forward{{40443, 443}, {40022, 22}},
			SMBIOS:   SMBIOS{UUID: "6d617374-6865-6164-0000-000000000001", OEM: []string{"masthead.name=head1,x"}, OEMFiles: []string{"/lab/join"}},
			Watchdog: WatchdogReset,
		},
		host: Host{Accelerator: TCG, QMP: "/run/q", Console: "/run/c", NICs: []string{"/run/n0"}, Cables: []string{"/run/s0", "/run/s1"}},
	},
	{
		name: "worker-bios",
		machine: Machine{
			Name: "n01", MemoryMB: 512, CPUs: 1, Firmware: BIOS, Boot: []Source{FromNetwork},
			NICs: []NIC{{MAC: "52:54:00:77:01:01"}, {MAC: "52:54:00:77:01:02", Model: "e1000e", ROM: NoROM}},
		},
		host: Host{Accelerator: TCG, QMP: "/run/q", Console: "/run/c", NICs: []string{"/run/n0", "/run/n1"}},
	},
	{
		name: "worker-uefi",
		machine: Machine{
			Name: "n02", MemoryMB: 512, CPUs: 1, Firmware: UEFI, Boot: []Source{FromNetwork, FromDisk},
			NICs:  []NIC{{MAC: "52:54:00:77:01:02"}, {MAC: "52:54:00:77:01:03", Model: "e1000e"}},
			Disks: []Disk{{Path: "/lab/stick.img", Bus: USB, ReadOnly: true}},
		},
		host: Host{Accelerator: KVM, Pflash: ovmf, QMP: "/run/q", Console: "/run/c", NICs: []string{"/run/n0", "/run/n1"}},
	},
	{
		name: "worker-http",
		machine: Machine{
			Name: "n03", MemoryMB: 512, CPUs: 1, Firmware: SecureBoot, Boot: []Source{FromHTTP},
			NICs: []NIC{{MAC: "52:54:00:77:01:03"}},
		},
		host: Host{Accelerator: TCG, Pflash: ovmf, QMP: "/run/q", Console: "/run/c", NICs: []string{"/run/n0"}},
	},
	{
		name: "direct",
		machine: Machine{
			Name: "k", MemoryMB: 256, CPUs: 1, Firmware: BIOS, NoReboot: true,
			Kernel: Kernel{Image: "/k/vmlinuz", Initrd: "/k/initrd", Append: "console=ttyS0 quiet"},
			FwCfg:  []FwCfg{{Name: "opt/masthead/spec", String: "a,b"}, {Name: "opt/masthead/file", File: "/k/spec"}},
			Disks:  []Disk{{Path: "/lab/d", Bus: SATA}},
		},
		host: Host{Accelerator: TCG, QMP: "/run/q", Console: "/run/c", Nice: 10},
	},
}

func TestCommandLine(t *testing.T) {
	for _, test := range goldenMachines {
		t.Run(test.name, func(t *testing.T) {
			if err := test.machine.Validate(); err != nil {
				t.Fatal(err)
			}
			got := Quote(test.machine.CommandLine(test.host)) + "\n"
			golden := "testdata/" + test.name + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("command line (-want +got):\n%s", diff)
			}
		})
	}
}

func TestQuoteIsReadBackByAShell(t *testing.T) {
	want := []string{"printf", `%s\0`, "", "a b", "it's", `$HOME \ "x"`, "-x", "línea\n2", "a,b=c/d"}
	out, err := exec.Command("sh", "-c", Quote(want)).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if diff := cmp.Diff(want[2:], got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestValidate(t *testing.T) {
	good := Machine{Name: "n01", MemoryMB: 256, CPUs: 1, Firmware: UEFI}
	for _, test := range []struct {
		name   string
		change func(*Machine)
		want   []string
	}{
		{"good", func(m *Machine) {}, nil},
		{"no name", func(m *Machine) { m.Name = "" }, []string{`name: "" is no name for a machine and its folder`}},
		{"path in name", func(m *Machine) { m.Name = "../n" }, []string{`name: "../n" is no name for a machine and its folder`}},
		{"size", func(m *Machine) { m.MemoryMB, m.CPUs = 1, 0 }, []string{"memory: 1 MiB: want 32 or more", "cpus: 0: want 1 to 255"}},
		{"firmware", func(m *Machine) { m.Firmware = "efi" }, []string{`firmware: "efi": want one of bios, uefi, secureboot, own-keys`}},
		{"boot", func(m *Machine) { m.Boot = []Source{"floppy", FromCD, FromCD} },
			[]string{`boot[0]: "floppy": want one of disk, cd, network, uefi-http`, `boot[2]: "cd" twice`}},
		{"http on bios", func(m *Machine) { m.Firmware, m.Boot = BIOS, []Source{FromHTTP} }, []string{"boot[0]: uefi-http needs firmware uefi"}},
		{"http and pxe", func(m *Machine) { m.Boot = []Source{FromHTTP, FromNetwork} },
			[]string{"boot: uefi-http and network exclude each other: the firmware tries PXE first where it can"}},
		{"disk", func(m *Machine) { m.Disks = []Disk{{Bus: "mfm", Format: "vmdk"}} },
			[]string{"disks[0].path: is missing", `disks[0].format: "vmdk": want one of raw, qcow2`, `disks[0].bus: "mfm": want one of virtio, usb, cdrom, scsi, sata`}},
		{"sata", func(m *Machine) {
			m.Disks = slices.Repeat([]Disk{{Path: "x", Bus: CDROM}}, 7)
			m.Disks[0] = Disk{Path: "y", Bus: SATA, ReadOnly: true}
		}, []string{"disks[0].readonly: QEMU has no read-only SATA disks: use another bus", "disks[6].bus: more than 6 on SATA, with the CD drives"}},
		{"nic", func(m *Machine) {
			m.NICs = []NIC{{MAC: "52:54:00:00:00:01"}, {MAC: "x"}, {MAC: "52:54:00:00:00:01"}, {MAC: "01:00:5e:00:00:01"}}
		}, []string{`nics[1].mac: "x" is no Ethernet address`, "nics[2].mac: 52:54:00:00:00:01 twice", "nics[3].mac: 01:00:5e:00:00:01 is a group address"}},
		{"forward", func(m *Machine) { m.Forwards = []Forward{{0, 443}} }, []string{"forwards[0]: 0 to 443: want ports 1 to 65535"}},
		{"watchdog", func(m *Machine) { m.Watchdog = "bark" }, []string{`watchdog: "bark": want one of reset, poweroff, pause, none`}},
	} {
		m := good
		test.change(&m)
		var got []string
		if err := m.Validate(); err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestVirtualizes(t *testing.T) {
	for cpuinfo, want := range map[string]bool{
		"processor\t: 0\nflags\t\t: fpu vmx sse\n": true,
		"flags\t\t: fpu svm\nflags\t\t: fpu\n":     true,
		"flags\t\t: fpu svm_lock avmx\n":           false,
		"vmx flags\t: vnmi\nflags\t\t: fpu\n":      false,
		"":                                         false,
	} {
		if got := virtualizes([]byte(cpuinfo)); got != want {
			t.Errorf("%q: %v, want %v", cpuinfo, got, want)
		}
	}
}

func TestBootIndexes(t *testing.T) {
	m := Machine{
		Boot:  []Source{FromNetwork, FromDisk, FromCD},
		NICs:  make([]NIC, 2),
		Disks: []Disk{{Bus: CDROM}, {}, {Bus: USB}},
	}
	b := bootIndexes(m)
	got := []string{b.nic(0), b.nic(1), b.disk(0), b.disk(1), b.disk(2)}
	want := []string{",bootindex=0", ",bootindex=1", ",bootindex=4", ",bootindex=2", ",bootindex=3"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
