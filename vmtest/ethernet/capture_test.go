package ethernet

import (
	"encoding/hex"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"masthead/vmtest/prerequisite"

	"github.com/google/go-cmp/cmp"
)

func TestBlocks(t *testing.T) {
	for _, test := range []struct {
		name string
		got  []byte
		want string
	}{
		{"section", appendSectionHeader(nil),
			"0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000"},
		{"interface", appendInterface(nil, "n01"),
			"01000000 28000000 0100 0000 00000000 0200 0300 6e303100 0900 0100 09000000 0000 0000 28000000"},
		{"packet", appendPacket(nil, 1, time.Unix(1, 5), []byte("abcde"), inbound),
			"06000000 34000000 01000000 00000000 05ca9a3b 05000000 05000000 6162636465000000 0200 0400 01000000 0000 0000 34000000"},
	} {
		want := strings.ReplaceAll(test.want, " ", "")
		if diff := cmp.Diff(want, hex.EncodeToString(test.got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestCaptureIsReadByTcpdump(t *testing.T) {
	tcpdump := prerequisite.Program(t, "tcpdump")
	dir := t.TempDir()
	whole, err := CreateCapture(dir + "/lan.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	onlyB, err := CreateCapture(dir + "/b.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	sw := NewSwitch("lan", 1)
	sw.SetCapture(whole)
	a, _ := sw.Attach("a")
	b, _ := sw.Attach("b")
	b.SetCapture(onlyB)
	arp := func(last byte) []byte { // who-has 10.0.0.last tell 10.0.0.1
		packet := append(append(broadcast[:], 0x52, 0x54, 0, 0, 0, 1), 8, 6)
		packet = append(packet, 0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0, 0, 0, 1, 10, 0, 0, 1)
		return append(packet, 0, 0, 0, 0, 0, 0, 10, 0, 0, last)
	}
	a.Send(arp(2))
	b.SetFaults(Receive, Faults{Cut: true})
	a.Send(arp(3)) // on the switch, not at b
	b.SetFaults(Transmit, Faults{Cut: true})
	b.Send(arp(4)) // from b, not on the switch
	sw.Close()
	for path, want := range map[string]string{
		whole.closer.(*os.File).Name(): "10.0.0.2 10.0.0.3",
		onlyB.closer.(*os.File).Name(): "10.0.0.2 10.0.0.4",
	} {
		whole.Close()
		onlyB.Close()
		out, err := exec.Command(tcpdump, "-nr", path).CombinedOutput()
		if err != nil {
			t.Fatalf("tcpdump: %v\n%s", err, out)
		}
		var got []string
		for line := range strings.Lines(string(out)) {
			if _, after, ok := strings.Cut(line, "who-has "); ok {
				got = append(got, strings.Fields(after)[0])
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s asks for %q, want %q\n%s", path, got, want, out)
		}
	}
}
