package tftp

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// client speaks TFTP by hand.
type client struct{ *net.UDPConn }

func dial(t testing.TB) client {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IP{127, 0, 0, 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return client{c}
}

func request(op byte, name string, rest ...string) []byte {
	return []byte("\x00" + string(rune(op)) + name + "\x00" + strings.Join(rest, "\x00") + "\x00")
}

func (c client) send(t testing.TB, to *net.UDPAddr, p []byte) {
	t.Helper()
	if _, err := c.WriteToUDP(p, to); err != nil {
		t.Fatal(err)
	}
}

func (c client) receive(t testing.TB) (string, *net.UDPAddr) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Minute))
	b := make([]byte, 65536)
	n, from, err := c.ReadFromUDP(b)
	if err != nil {
		t.Fatal(err)
	}
	switch b = b[:n]; binary.BigEndian.Uint16(b) {
	case 3:
		return "data " + string(b[4:]), from
	case 5:
		return fmt.Sprintf("error %d %s", b[3], strings.TrimSuffix(string(b[4:]), "\x00")), from
	case 6:
		return "oack " + strings.ReplaceAll(string(b[2:]), "\x00", " "), from
	default:
		return fmt.Sprintf("%x", b), from
	}
}
