package vmtest

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"masthead/vmtest/qemu"
)

func TestLoad(t *testing.T) {
	c, err := Load("testdata/demo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	folder, _ := os.Getwd()
	folder += "/testdata"
	want := map[string]MachineConfig{
		"head1": {
			Role: "head", Memory: 1024, CPUs: 1, Firmware: qemu.BIOS, Boot: Boot{qemu.FromCD},
			ISO: folder + "/head.iso", UUID: "e3e49cf6-c9e5-51e5-a2d7-e4a0d6dc1b4a",
			NICs:    []NICConfig{{Switch: "cluster", MAC: "52:54:00:77:00:01"}},
			Forward: map[string]int{"https": 443, "ssh": 22}, OEM: []string{"masthead.name=head1"},
			Disks: []DiskConfig{{Size: 2 * GiB, Label: "masthead-state"}}, Watchdog: qemu.WatchdogReset,
		},
		"n02": {
			Role: "worker", Memory: 512, CPUs: 1, Firmware: qemu.UEFI, Boot: Boot{qemu.FromNetwork, qemu.FromDisk},
			NICs:  []NICConfig{{Switch: "rack2", MAC: "52:54:00:77:00:02"}, {Switch: "cluster", MAC: "52:54:00:00:00:00"}},
			Disks: []DiskConfig{{Size: GiB}},
		},
	}
	for name, want := range want {
		got := c.Machines[name]
		want.UUID = madeUUID("demo", name)
		for i := range want.NICs {
			if want.NICs[i].MAC == "52:54:00:00:00:00" {
				want.NICs[i].MAC = madeMAC("demo", name, i)
			}
		}
		if diff := cmp.Diff(want, got, cmp.Transformer("empty", func(s []string) int { return len(s) })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	boots := make(map[string]string)
	for name, m := range c.Machines {
		var sources []string
		for _, s := range m.Boot {
			sources = append(sources, string(s))
		}
		boots[name] = strings.Join(sources, " ")
	}
	wantBoots := map[string]string{"head1": "cd", "head2": "disk", "n01": "network", "n02": "network disk", "n03": "uefi-http"}
	if diff := cmp.Diff(wantBoots, boots); diff != "" {
		t.Errorf("boot sources (-want +got):\n%s", diff)
	}
	if again, err := c.Prepare(); err != nil || cmp.Diff(c, again) != "" {
		t.Errorf("preparing twice: %v\n%s", err, cmp.Diff(c, again))
	}
}

func TestHardware(t *testing.T) {
	c, err := Load("testdata/demo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m := c.Machines["head1"]
	m.ISO = "/images/head.iso"
	got := m.hardware("head1", "/lab/head1")
	want := qemu.Machine{
		Name: "head1", MemoryMB: 1024, CPUs: 1, Firmware: qemu.BIOS, Boot: []qemu.Source{qemu.FromCD},
		Disks:    []qemu.Disk{{Path: "/lab/head1/disk0.raw"}, {Path: "/images/head.iso", Bus: qemu.CDROM}},
		NICs:     []qemu.NIC{{MAC: "52:54:00:77:00:01"}},
		SMBIOS:   qemu.SMBIOS{UUID: m.UUID, Serial: "head1", OEM: []string{"masthead.name=head1"}},
		Watchdog: qemu.WatchdogReset,
	}
	if diff := cmp.Diff(want, got, cmp.Transformer("empty", func(s []string) string { return strings.Join(s, ",") })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMadeIdentities(t *testing.T) {
	if got, want := madeUUID("demo", "n01"), madeUUID("demo", "n01"); got != want || got[14] != '5' || !strings.ContainsRune("89ab", rune(got[19])) {
		t.Errorf("UUID %s: want the same each time, version 5, variant RFC", got)
	}
	seen := make(map[string]bool)
	for _, machine := range []string{"n01", "n02", "n1"} {
		for nic := range 3 {
			seen[madeMAC("demo", machine, nic)] = true
		}
	}
	if len(seen) != 9 {
		t.Errorf("%d of 9 addresses differ", len(seen))
	}
}

func TestParseErrors(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"empty", "", []string{"lab.yaml: is empty"}},
		{"not YAML", "a: [", []string{"lab.yaml:1: did not find expected node content"}},
		{"two documents", "name: a\nmachines: {n: {}}\n---\nname: b\n", []string{"lab.yaml: more than one document"}},
		{"unknown fields and wrong types, all at once", `
name: demo
switchs: [lan]
machines:
  n01:
    memory: lots
    boot: network
    disks: [{size: 2X}]
  n02: {bios: yes}
`, []string{
			"lab.yaml:3: unknown field switchs",
			"lab.yaml:6: cannot unmarshal !!str `lots` into int",
			`lab.yaml:8: size "2X": want a number of bytes, or one with K, M or G`,
			"lab.yaml:9: unknown field bios",
		}},
		{"role", "name: a\nmachines:\n  n:\n    role: hed\n", []string{`lab.yaml:4: machines.n.role: "hed": want head or worker, or none`}},
		{"a machine twice", "name: a\nmachines:\n  n: {}\n  n: {}\n", []string{`lab.yaml:4: mapping key "n" already defined at line 3`}},
		{"meaning, all at once", `
name: my lab
switches:
  - lan
  - lan
machines:
  n01:
    memory: 8
    firmware: bios
    boot: [disk, uefi-http]
    nics:
      - {switch: wan, mac: "52:54:00:00:00:01"}
    forward: {https: 70000}
  n02:
    disks:
      - {label: state}
      - {path: a.img, size: 1G}
      - {size: 1G, format: qcow2}
    nics: [{mac: "52:54:00:00:00:01"}]
  "../n": {}
nice: 20
trunks: [{ends: [lan, lan]}]
cables:
  - ends: [n01, n09]
`, []string{
			`lab.yaml:2: name: "my lab": want letters, digits, - and _, 32 at most`,
			`lab.yaml:21: nice: 20: want 0 to 19`,
			`lab.yaml:5: switches[1]: "lan" twice`,
			`lab.yaml:20: machines.../n: "../n": want letters, digits, - and _, 32 at most`,
			`lab.yaml:13: machines.n01.forward.https: 70000: want a port, 1 to 65535`,
			`lab.yaml:8: machines.n01.memory: 8 MiB: want 32 or more`,
			`lab.yaml:10: machines.n01.boot[1]: uefi-http needs firmware uefi`,
			`lab.yaml:12: machines.n01.nics[0].switch: "wan" is no switch of this lab`,
			`lab.yaml:16: machines.n02.disks[0]: want a path, or a size for a blank disk`,
			`lab.yaml:17: machines.n02.disks[1]: size and label are for blank disks, without a path`,
			`lab.yaml:18: machines.n02.disks[2].format: a blank disk is raw`,
			`lab.yaml:19: machines.n02.nics[0].mac: 52:54:00:00:00:01 is also that of n01`,
			`lab.yaml:22: trunks[0].ends: ["lan" "lan"]: want two switches of this lab`,
			`lab.yaml:24: cables[0].ends: ["n01" "n09"]: want two machines of this lab`,
		}},
		{"too many cables", "name: a\nmachines: {a: {}, b: {}}\ncables:\n" + strings.Repeat("- ends: [a, b]\n", 4),
			[]string{"lab.yaml:7: cables[3].ends: a has more than 3 cables", "lab.yaml:7: cables[3].ends: b has more than 3 cables"}},
		{"no machines", "name: a\n", []string{"lab.yaml:1: machines: none"}},
	} {
		_, err := Parse("lab.yaml", []byte(test.text))
		var got []string
		if err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func FuzzParse(f *testing.F) {
	demo, err := os.ReadFile("testdata/demo.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(demo)
	f.Add([]byte("name: a\nmachines: &m {n: {boot: [cd]}}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("lab.yaml", text)
		if err != nil {
			return
		}
		if _, err := c.Prepare(); err != nil {
			t.Errorf("parsed, but not prepared: %v", err)
		}
		for name, m := range c.Machines {
			m.hardware(name, "/x").CommandLine(qemu.Host{NICs: make([]string, len(m.NICs))})
		}
	})
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "512": 512, "64K": 64 * KiB, "100M": 100 * MiB, "2G": 2 * GiB} {
		if got, err := ParseSize(text); got != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "G", "-1", "1.5G", "1T", "9223372036854775807K", "1 G"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q was taken for %d", text, got)
		}
	}
}
