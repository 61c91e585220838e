package vmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"masthead/vmtest/qemu"
)

// describe says which kind of boot client a DHCP request in a frame comes from.
func describe(frame []byte) string {
	udp := udpIn(frame)
	if udp == nil || udp[2] != 0 || udp[3] != 67 {
		return ""
	}
	message, err := dhcpv4.FromBytes(udp[8:])
	if err != nil || message.MessageType() != dhcpv4.MessageTypeDiscover {
		return ""
	}
	class := message.ClassIdentifier()
	if len(class) > len("HTTPClient:Arch:00000") {
		class = class[:len("HTTPClient:Arch:00000")]
	}
	for len(class) > 0 && class[len(class)-1] == ':' {
		class = class[:len(class)-1]
	}
	return fmt.Sprintf("%s %q", class, message.Options.Get(dhcpv4.OptionUserClassInformation))
}

// TestVMBootAsks starts each firmware on an empty network and looks at what it asks for.
func TestVMBootAsks(t *testing.T) {
	for _, test := range []struct {
		name    string
		machine MachineConfig
		want    string
	}{
		{"bios", MachineConfig{}, `PXEClient:Arch:00000 "iPXE"`},
		{"bios plain", MachineConfig{NICs: []NICConfig{{PlainPXE: true}}}, `PXEClient:Arch:00000 ""`},
		{"bios e1000e", MachineConfig{NICs: []NICConfig{{Model: "e1000e"}}}, `PXEClient:Arch:00000 "iPXE"`},
		{"uefi", MachineConfig{Firmware: qemu.UEFI}, `PXEClient:Arch:00007 ""`},
		{"uefi http", MachineConfig{Firmware: qemu.UEFI, Boot: Boot{qemu.FromHTTP}}, `HTTPClient:Arch:00016 ""`},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.machine.Memory, test.machine.Off = 256, true
			lab := Start(t, Config{Machines: map[string]MachineConfig{"n01": test.machine}})
			if _, err := lab.Switch("lan").Attach("probe"); err != nil {
				t.Fatal(err)
			}
			lab.Must(lab.PowerOn(t.Context(), "n01"))
			seen := asks(t, lab, slowBoot, func(seen []string) bool { return len(seen) > 0 })
			if seen[0] != test.want {
				t.Errorf("asks as %s, want %s", seen[0], test.want)
			}
		})
	}
}

// bootServer makes the guest give everybody undionly.kpxe.
const bootServer = `
cat >/tmp/udhcpd.conf <<END
start 10.9.0.100
end 10.9.0.110
interface eth0
lease_file /tmp/leases
siaddr 10.9.0.1
boot_file undionly.kpxe
option subnet 255.255.255.0
END
touch /tmp/leases
udhcpd /tmp/udhcpd.conf
/tftpd &
`

// TestVMPlainPXEChain: a machine in disguise is given undionly.kpxe, starts it, and
// the loader is known as iPXE.
func TestVMPlainPXEChain(t *testing.T) {
	const loader = "/usr/lib/ipxe/undionly.kpxe"
	start := filepath.Join(t.TempDir(), "start")
	if err := os.WriteFile(start, []byte(bootServer), 0o644); err != nil {
		t.Fatal(err)
	}
	needVM(t)
	g := newGuest(t, map[string]string{"tftp/undionly.kpxe": needFile(t, loader), "start": start, "tftpd": buildTFTPServer(t)})
	client := MachineConfig{Memory: 128, Off: true, NICs: []NICConfig{{PlainPXE: true}}}
	lab := Start(t, Config{Capture: true, Machines: map[string]MachineConfig{"server": g.machine(1), "n01": client}})
	if _, err := lab.Switch("lan").Attach("probe"); err != nil {
		t.Fatal(err)
	}
	lab.Expect("server", slowBoot, `guest 1 is ready`)
	lab.Must(lab.PowerOn(t.Context(), "n01"))
	got := asks(t, lab, slowBoot, func(seen []string) bool { return len(seen) == 2 })
	want := []string{`PXEClient:Arch:00000 ""`, `PXEClient:Arch:00000 "iPXE"`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("asks (-want +got):\n%s", diff)
	}
	lab.Expect("n01", time.Minute, `undionly.kpxe`)
}

func buildTFTPServer(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "tftpd")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./testdata/tftpd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}
