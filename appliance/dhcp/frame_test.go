package dhcp

import (
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFrameEncode(t *testing.T) {
	got := hex.EncodeToString(datagram{alice, bob, netip.MustParseAddrPort("10.9.0.1:67"), netip.MustParseAddrPort("10.9.0.180:68"), []byte("abc")}.encode())
	// The checksums were computed by another program.
	want := "020000000002" + "020000000001" + "0800" +
		"4500001f0000000040116608" + "0a090001" + "0a0900b4" +
		"00430044000b2628" + "616263"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFrameDecodeRefuses(t *testing.T) {
	good := datagram{alice, bob, netip.MustParseAddrPort("10.9.0.1:67"), netip.MustParseAddrPort("10.9.0.180:68"), []byte("abc")}.encode()
	if _, err := decodeFrame(good); err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]struct{ i, v int }{
		"not IPv4":            {12, 0x86},
		"version 6":           {14, 0x65},
		"short header":        {14, 0x44},
		"longer than frame":   {17, 0xff},
		"shorter than header": {17, 20},
		"a fragment":          {20, 0x20},
		"TCP":                 {23, 6},
		"UDP too long":        {39, 0xff},
		"UDP too short":       {39, 7},
	} {
		b := append([]byte(nil), good...)
		b[at.i] = byte(at.v)
		if _, err := decodeFrame(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for n := range good {
		if _, err := decodeFrame(good[:n]); err == nil {
			t.Errorf("accepted the first %d bytes", n)
		}
	}
}

func TestARP(t *testing.T) {
	got := hex.EncodeToString(encodeARPProbe(alice, ip("10.9.0.180")))
	want := "ffffffffffff" + "020000000001" + "0806" + "0001080006040001" + "020000000001" + "00000000" + "000000000000" + "0a0900b4"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	reply, _ := hex.DecodeString("020000000001" + "020000000002" + "0806" + "0001080006040002" + "020000000002" + "0a0900b4" + "020000000001" + "00000000")
	mac, addr, ok := decodeARP(reply)
	if mac != bob || addr != ip("10.9.0.180") || !ok {
		t.Errorf("got %v %v %v", mac, addr, ok)
	}
	if _, _, ok := decodeARP(reply[:41]); ok {
		t.Error("accepted a cut reply")
	}
}
