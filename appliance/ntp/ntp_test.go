package ntp

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	// What chronyd 4.3 sends: nothing but its mode, its poll interval and a random number for its transmit time.
	chrony = "23 00 06 20 00000000 00000000 00000000 0000000000000000 0000000000000000 0000000000000000 0123456789abcdef"
	// The same of version 3 with an authenticator of 20 bytes, which we do not read.
	version3 = "1b 00 0a 00 00000000 00000000 00000000 0000000000000000 0000000000000000 0000000000000000 eb6e8f2a80000000 00000001 00112233445566778899aabbccddeeff"
)

func TestAnswer(t *testing.T) {
	// 2025-03-01 12:00:00 UTC is 3949819200 s, eb6d7540 in hexadecimal, after 1900.
	received := time.Date(2025, 3, 1, 12, 0, 0, 500_000_000, time.UTC)
	sent := received.Add(250 * time.Millisecond)
	free := statusOf(unix.Timex{Status: unix.STA_UNSYNC, Maxerror: 16_000_000}, received.Add(-1500*time.Millisecond))
	kept := statusOf(unix.Timex{Status: unix.STA_PLL | unix.STA_INS, Maxerror: 250_000}, received.Add(-500*time.Millisecond))
	for _, tt := range []struct {
		name   string
		packet string
		status Status
		want   string // empty: no answer
	}{
		{"free clock", chrony, free,
			"24 0a 06 ec 00000000 00000000 7f7f0101 eb6d753f00000000 0123456789abcdef eb6d754080000000 eb6d7540c0000000"},
		{"kept clock before a leap second", chrony, kept,
			"64 04 06 ec 00000000 00004000 7f7f0100 eb6d754000000000 0123456789abcdef eb6d754080000000 eb6d7540c0000000"},
		{"version 3 with a key", version3, free,
			"1c 0a 0a ec 00000000 00000000 7f7f0101 eb6d753f00000000 eb6e8f2a80000000 eb6d754080000000 eb6d7540c0000000"},
		{"too short", chrony[:len(chrony)-2], free, ""},
		{"nothing", "", free, ""},
		{"a server's", "24" + chrony[2:], free, ""},
		{"symmetric", "21" + chrony[2:], free, ""},
		{"broadcast", "25" + chrony[2:], free, ""},
		{"control", "26" + chrony[2:], free, ""},
		{"private", "27" + chrony[2:], free, ""},
		{"version 0", "03" + chrony[2:], free, ""},
		{"version 5", "2b" + chrony[2:], free, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := Answer(unhex(t, tt.packet), tt.status, received, sent)
			if ok != (tt.want != "") {
				t.Fatalf("answered: %v", ok)
			}
			if ok {
				if diff := cmp.Diff(unhex(t, tt.want), got[:]); diff != "" {
					t.Errorf("-want +got:\n%s\n%x", diff, got)
				}
			}
		})
	}
}

func TestTimestamps(t *testing.T) {
	for _, tt := range []struct {
		at   time.Time
		want uint64
	}{
		{time.Time{}, 0},
		{time.Unix(0, 0), 2208988800 << 32}, // RFC 5905, figure 4
		{time.Date(2036, 2, 7, 6, 28, 15, 0, time.UTC), 0xffffffff << 32},
		{time.Date(2036, 2, 7, 6, 28, 16, 0, time.UTC), 0}, // era 1
		{time.Unix(0, 999_999_999), 2208988800<<32 | 0xfffffffb},
	} {
		if got := timestamp(tt.at); got != tt.want {
			t.Errorf("timestamp(%v) = %#x, want %#x", tt.at, got, tt.want)
		}
	}
	for d, want := range map[time.Duration]uint32{0: 0, -time.Second: 0, time.Second: 1 << 16, time.Second / 2: 1 << 15, 1000 * time.Hour: 1<<32 - 1} {
		if got := short(d); got != want {
			t.Errorf("short(%v) = %#x, want %#x", d, got, want)
		}
	}
}

// FuzzAnswer shows that no packet makes us send more than it has, or anything but a server's answer.
func FuzzAnswer(f *testing.F) {
	f.Add(unhex(f, chrony))
	f.Add(unhex(f, version3))
	f.Add([]byte{0x17, 0, 3, 42}) // monlist, which made a flood out of a trickle
	now := time.Unix(1e9, 0)
	f.Fuzz(func(t *testing.T, packet []byte) {
		got, ok := Answer(packet, statusOf(unix.Timex{}, now), now, now)
		if ok && (len(packet) < len(got) || packet[0]&7 != modeClient || got[0]&7 != modeServer || !bytes.Equal(got[24:32], packet[40:48])) {
			t.Errorf("%x answered with %x", packet, got)
		}
	})
}

func TestPace(t *testing.T) {
	p := newPace()
	now := time.Unix(1e9, 0)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	count := func(from netip.Addr, n int) (ok int) {
		for range n {
			if p.allows(from, now) {
				ok++
			}
		}
		return ok
	}
	for p.seed = newPace().seed; count(b, 0) == 0; { // two that do not share a bucket, by chance 1 of 16384
		if p.allows(a, now) && count(a, 2*burst) == burst-1 && count(b, 2*burst) == burst {
			break
		}
		p = newPace()
	}
	if n := count(a, 10); n != 0 {
		t.Errorf("%d of 10 after the burst, want none", n)
	}
	now = now.Add(3 * interval)
	if n := count(a, 10); n != 3 {
		t.Errorf("%d of 10 after three intervals, want 3", n)
	}
	now = now.Add(-time.Hour) // the head's clock was set
	if n := count(a, 2*burst); n != burst {
		t.Errorf("%d after the clock was set back, want %d", n, burst)
	}
	six := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	if n := count(six("2001:db8::1"), burst) + count(six("2001:db8::2"), burst); n != burst {
		t.Errorf("%d of one IPv6 network, want %d", n, burst)
	}
}

// TestTake shows that no order of packets gets more than a burst and one for each interval.
func TestTake(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := int64(1e18)
		now, full, ok := start, int64(0), 0
		for range rapid.IntRange(1, 200).Draw(t, "packets") {
			now += rapid.Int64Range(0, int64(2*interval)).Draw(t, "pause")
			next, answered := take(full, now)
			if answered {
				full = next
				ok++
			}
			if most := burst + int((now-start)/int64(interval)); ok > most {
				t.Fatalf("%d answers in %v, want at most %d", ok, time.Duration(now-start), most)
			}
		}
	})
}

func TestConfigErrors(t *testing.T) {
	for _, tt := range []struct {
		listen []netip.AddrPort
		want   string
	}{
		{nil, "no address"},
		{[]netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:123")}, "want one of this machine"},
		{[]netip.AddrPort{{}}, "want one of this machine"},
	} {
		if _, err := New(Config{Listen: tt.listen}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %q", tt.listen, err, tt.want)
		}
	}
}
