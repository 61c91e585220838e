package vmtest

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"masthead/vmtest/qemu"
)

// bootSector writes "sector booted" to the first serial port and stops.
func bootSector() []byte {
	code := []byte{
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0xbe, 0x15, 0x7c, // mov si, message
		0xac,       // next: lodsb
		0x84, 0xc0, // test al, al
		0x74, 0x06, // jz stop
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xee,       // out dx, al
		0xeb, 0xf5, // jmp next
		0xf4,       // stop: hlt
		0xeb, 0xfd, // jmp stop
	}
	sector := append(code, "sector booted\n\x00"...)
	sector = append(sector, make([]byte, 510-len(sector))...)
	return append(sector, 0x55, 0xaa)
}

func TestVMDiskBuses(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk, one.img") // a comma is QEMU's to misread
	disk := append(bootSector(), make([]byte, 1<<20-512)...)
	if err := os.WriteFile(image, disk, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, bus := range []qemu.Bus{qemu.Virtio, qemu.USB, qemu.SCSI, qemu.SATA} {
		for _, readonly := range []bool{false, true} {
			if readonly && bus == qemu.SATA {
				continue // QEMU has no read-only SATA disks
			}
			name := string(bus)
			if readonly {
				name += " readonly"
			}
			t.Run(name, func(t *testing.T) {
				lab := Start(t, Config{Machines: map[string]MachineConfig{
					"n01": {Memory: 64, Disks: []DiskConfig{{Path: image, Bus: bus, ReadOnly: readonly}, {Size: MiB}}},
				}})
				lab.Expect("n01", 20*time.Second, "sector booted")
			})
		}
	}
}

// TestVMHardwareIsAccepted: QEMU starts a machine with one of everything.
func TestVMHardwareIsAccepted(t *testing.T) {
	oem := filepath.Join(t.TempDir(), "oem")
	if err := os.WriteFile(oem, []byte("masthead.join=secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	everything := MachineConfig{
		Memory: 128, CPUs: 2, Boot: Boot{qemu.FromDisk, qemu.FromCD, qemu.FromNetwork},
		ISO:      oem, // any file is a CD to QEMU
		NICs:     []NICConfig{{}, {Model: "e1000e"}, {Model: "rtl8139", ROM: qemu.NoROM}},
		Disks:    []DiskConfig{{Size: MiB}, {Size: MiB, Bus: qemu.SCSI}, {Size: MiB, Bus: qemu.USB}, {Size: MiB, Bus: qemu.SATA}},
		OEM:      []string{"masthead.name=n01", "a,b"},
		OEMFiles: []string{oem},
		FwCfg:    map[string]string{"opt/masthead/x": "y,z"},
		Forward:  map[string]int{"https": 443, "ssh": 22},
		Watchdog: qemu.WatchdogReset,
		NoReboot: true,
	}
	secure := MachineConfig{Memory: 128, Firmware: qemu.SecureBoot, Boot: Boot{qemu.FromHTTP}}
	lab := Start(t, Config{
		Machines: map[string]MachineConfig{"everything": everything, "secure": secure},
		Cables:   []Pair{{[2]string{"everything", "secure"}}, {[2]string{"secure", "everything"}}},
	})
	for _, s := range lab.Status(t.Context()) {
		if s.State != "running" {
			t.Errorf("%s is %s: %s", s.Name, s.State, s.Error)
		}
	}
	if err := lab.Machine("everything").Reset(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := lab.Machine("everything").Events.Expect(ctx, "SHUTDOWN"); err != nil { // because of NoReboot
		t.Error(err)
	}
}

func TestVMForward(t *testing.T) {
	g := newGuest(t, nil)
	m := g.machine(1)
	m.Forward = map[string]int{"web": 80}
	lab := Start(t, Config{Machines: map[string]MachineConfig{"a": m}})
	lab.Expect("a", slowBoot, "guest 1 is ready")
	run(t, lab, "a", ":") // past the shell's greeting
	_, address := run(t, lab, "a", "ip addr add 10.0.2.15/24 dev eth1; ip link set eth1 up; cat /sys/class/net/eth1/address; httpd -p 80 -h /")
	if got, want := strings.TrimSpace(address), qemu.ForwardMAC("a"); got != want {
		t.Errorf("the card has %s, want %s", got, want)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+lab.Machine("a").Forward("web")+"/init", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || !strings.HasPrefix(string(body), "#!/bin/sh\n") {
		t.Errorf("got %q, %v, want the guest's /init", body, err)
	}
}
