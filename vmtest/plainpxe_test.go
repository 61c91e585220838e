package vmtest

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// request is a DHCP discover as iPXE's ROM sends it, in a frame.
func request(t testing.TB, userClass string) []byte {
	message, err := dhcpv4.NewDiscovery(net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1},
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00000:UNDI:002001")),
		dhcpv4.WithGeneric(dhcpv4.OptionUserClassInformation, []byte(userClass)),
		dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(175), []byte{1, 1, 1, 0x21, 1, 1}))
	if err != nil {
		t.Fatal(err)
	}
	return datagram(67, message.ToBytes())
}

func datagram(port uint16, payload []byte) []byte {
	frame := bytes.Repeat([]byte{0xff}, 6)
	frame = append(frame, 0x52, 0x54, 0, 0, 0, 1, 8, 0)
	ip := make([]byte, 20)
	ip[0], ip[9] = 0x45, 17
	udp := make([]byte, 8)
	binary.BigEndian.PutUint16(udp[2:], port)
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(payload)))
	udp[6], udp[7] = 0xab, 0xcd
	return append(append(append(frame, ip...), udp...), payload...)
}

func TestDisguise(t *testing.T) {
	var d disguise
	asked := func(frame []byte) (userClass string, ipxe bool) {
		t.Helper()
		message, err := dhcpv4.FromBytes(d.filter(frame)[42:])
		if err != nil {
			t.Fatal(err)
		}
		if got := message.ClassIdentifier(); got != "PXEClient:Arch:00000:UNDI:002001" {
			t.Errorf("vendor class %q", got)
		}
		return string(message.Options.Get(dhcpv4.OptionUserClassInformation)), message.Options.Get(dhcpv4.GenericOptionCode(175)) != nil
	}
	if class, ipxe := asked(request(t, "iPXE")); class != "" || ipxe {
		t.Errorf("disguised: user class %q, iPXE's options %v, want neither", class, ipxe)
	}
	if frame := d.filter(request(t, "iPXE")); frame[40] != 0 || frame[41] != 0 {
		t.Errorf("checksum %x kept, want none", frame[40:42])
	}
	if class, _ := asked(request(t, "gardener")); class != "gardener" {
		t.Errorf("another's user class became %q", class)
	}
	d.filter(datagram(69, []byte("\x00\x01undionly.kpxe\x00octet\x00")))
	if class, ipxe := asked(request(t, "iPXE")); class != "iPXE" || !ipxe {
		t.Errorf("the loader: user class %q, iPXE's options %v, want both as they were", class, ipxe)
	}
	d.reset()
	if class, _ := asked(request(t, "iPXE")); class != "" {
		t.Errorf("after a reset: user class %q, want none", class)
	}
	other := datagram(80, []byte("x"))
	if diff := cmp.Diff(datagram(80, []byte("x")), d.filter(other)); diff != "" {
		t.Errorf("another frame (-want +got):\n%s", diff)
	}
}

func FuzzDisguise(f *testing.F) {
	f.Add(request(f, "iPXE"))
	f.Add(datagram(67, nil))
	f.Fuzz(func(t *testing.T, frame []byte) {
		var d disguise
		size := len(frame)
		if got := d.filter(frame); len(got) != size {
			t.Errorf("%d bytes became %d", size, len(got))
		}
	})
}
