package heartbeat

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"masthead/appliance/failover"
)

func goldenFrame() frame {
	return frame{
		Link: 2, From: 1, To: 0, Start: 0x2931a5f0c2, Seq: 0x01020304, Revision: 7, Hears: 0b101, Echo: 0xcafef00d,
		Said: failover.Said{
			BootID: 0x1122334455667788, Gen: 3, Epoch: 7*16 + 1, Phase: failover.Active, Acting: 7*16 + 1, Released: 5*16 + 1,
			Yields: 6 * 16, For: 15, Data: failover.DataUpToDate, Older: 1<<63 | 2, Have: 1<<40 | 1, Uplink: failover.Up, Unhealthy: true,
			Leaving: true,
		},
	}
}

func TestFrameGolden(t *testing.T) {
	b, tag := newSeal("c1", testKey).encode(goldenFrame())
	want := "22" + "d0f6" + "10" + "77" + "81" + // version, link; cluster; from, to; phase, …; for, data
		"2931a5f0c2" + "01020304" + "0007" + "0005" + "cafef00d" + // start, seq, revision, hears, echo
		"1122334455667788" + "00000003" + "0000000071" + "000001" + "000021" + "000012" + // boot, gen, epoch, acting, released, yields
		"8000000000000002" + "0000010000000001" + // older, have
		"e0c56fe3afe043ba" + "158c40cd" // HMAC, CRC
	if got := hex.EncodeToString(b[:]); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if tag != 0xe0c56fe3 {
		t.Errorf("tag %#x, want the first bytes of the HMAC", tag)
	}
}

func TestStuffGolden(t *testing.T) {
	var f [frameSize]byte
	for i := range f {
		f[i] = byte(i % 20) // four zeros, the first of them the first byte
	}
	got := stuff(f)
	want := "00" + "01" + "14" + "0102030405060708090a0b0c0d0e0f10111213" + "14" + "0102030405060708090a0b0c0d0e0f10111213" +
		"14" + "0102030405060708090a0b0c0d0e0f10111213" + "11" + "0102030405060708090a0b0c0d0e0f10" + "00"
	if hex.EncodeToString(got[:]) != want {
		t.Errorf("got  %x\nwant %s", got, want)
	}
	if lineSize > 80 { // 7 ms at 115200 baud, and at 9600 less than the 100 ms between two
		t.Errorf("%d bytes on the line: want 80 or fewer", lineSize)
	}
}

func drawSaid(t *rapid.T) failover.Said {
	epoch := failover.Epoch(rapid.Uint64Range(0, maxEpoch).Draw(t, "epoch"))
	below := func(name string) failover.Epoch {
		if epoch == 0 || rapid.Bool().Draw(t, "no "+name) {
			return 0
		}
		return epoch - failover.Epoch(rapid.Uint64Range(0, min(uint64(epoch)-1, maxBack-1)).Draw(t, name))
	}
	return failover.Said{
		BootID: rapid.Uint64Min(1).Draw(t, "boot"), Gen: uint64(rapid.Uint32().Draw(t, "gen")), Epoch: epoch,
		Phase:  failover.Phase(rapid.IntRange(0, int(failover.Quarantine)).Draw(t, "phase")),
		Acting: below("acting"), Released: below("released"), Yields: below("yields"),
		For:    rapid.IntRange(-1, failover.MaxHeads-1).Draw(t, "for"),
		Data:   failover.Data(rapid.IntRange(0, int(failover.DataAlone)).Draw(t, "data")),
		Older:  failover.Volumes(rapid.Uint64().Draw(t, "older")),
		Have:   failover.Volumes(rapid.Uint64().Draw(t, "have")),
		Uplink: failover.Reading(rapid.IntRange(0, int(failover.Down)).Draw(t, "uplink")), Unhealthy: rapid.Bool().Draw(t, "unhealthy"),
		Leaving: rapid.Bool().Draw(t, "leaving"),
	}
}

func drawFrame(t *rapid.T) frame {
	return frame{
		Link: rapid.IntRange(0, maxLinks-1).Draw(t, "link"), From: rapid.IntRange(0, 15).Draw(t, "from"), To: rapid.IntRange(0, 15).Draw(t, "to"),
		Start: rapid.Uint64Range(0, maxStart).Draw(t, "start"), Seq: rapid.Uint32().Draw(t, "seq"), Revision: rapid.Uint16().Draw(t, "revision"),
		Hears: rapid.Uint16().Draw(t, "hears"), Echo: rapid.Uint32().Draw(t, "echo"), Said: drawSaid(t),
	}
}

func TestFrameRoundTrip(t *testing.T) {
	s := newSeal("c1", testKey)
	rapid.Check(t, func(t *rapid.T) {
		want := drawFrame(t)
		b, tag := s.encode(want)
		line := stuff(b)
		for _, c := range line[1 : lineSize-1] {
			if c == 0 {
				t.Fatalf("a zero inside: %x", line)
			}
		}
		back, ok := unstuff(line[1 : lineSize-1])
		if !ok || back != b {
			t.Fatalf("unstuffed %x (%t), want %x", back, ok, b)
		}
		got, gotTag, err := s.decode(back[:])
		if err != nil || tag != gotTag {
			t.Fatalf("%v, tag %#x, want %#x", err, gotTag, tag)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestFrameLimits: what a frame has no room for must never look like more than was said, and acting never like not acting.
func TestFrameLimits(t *testing.T) {
	const far = maxBack + 100
	for _, c := range []struct {
		name      string
		say, want failover.Said
	}{
		{"released long ago", failover.Said{Epoch: far, Released: 1}, failover.Said{Epoch: far}},
		{"yields to what it does not know", failover.Said{Epoch: 5, Yields: 6}, failover.Said{Epoch: 5}},
		{"acts above what it knows", failover.Said{Epoch: 5, Acting: 6}, failover.Said{Epoch: 6, Acting: 6}},
		{"acts under a very old epoch", failover.Said{Epoch: far, Acting: 1}, failover.Said{Epoch: far, Acting: far - maxBack + 1}},
		{"generation", failover.Said{Gen: 1 << 40}, failover.Said{Gen: 1<<32 - 1}},
		{"for nobody", failover.Said{For: -1}, failover.Said{For: -1}},
	} {
		s := newSeal("c1", testKey)
		b, _ := s.encode(frame{Said: c.say})
		got, _, err := s.decode(b[:])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got.Said); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	s := newSeal("c1", testKey)
	good, _ := s.encode(goldenFrame())
	sealed := func(s seal) []byte { b, _ := s.encode(goldenFrame()); return b[:] }
	damaged := good
	damaged[20] ^= 4
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"good", good[:], nil},
		{"empty", nil, errGarbled},
		{"short", good[:frameSize-1], errGarbled},
		{"long", append(good[:], 0), errGarbled},
		{"one bit", damaged[:], errGarbled},
		{"another key", sealed(newSeal("c1", []byte("0123456789abcdeF"))), errForged},
		{"another cluster with the same key", sealed(newSeal("c2", testKey)), errForged},
		{"another cluster whose hash is the same", sealed(seal{newSeal("c2", testKey).key, s.cluster}), errForged},
	} {
		if _, _, err := s.decode(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// FuzzFrame: what comes by UDP does no harm; and of what somebody with the key sends, whatever it is, decode makes
// something that stays the same on its way through encode.
func FuzzFrame(f *testing.F) {
	s := newSeal("c1", testKey)
	good, _ := s.encode(goldenFrame())
	f.Add(good[:])
	f.Add(good[:30])
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := s.decode(b); err == nil && len(b) != frameSize {
			t.Errorf("took %d bytes", len(b))
		}
		var sealed [frameSize]byte
		copy(sealed[:macAt], b)
		sealed[0] = version<<4 | sealed[0]&15
		binary.BigEndian.PutUint16(sealed[1:], s.cluster)
		copy(sealed[macAt:], s.mac(sealed[:macAt]))
		binary.BigEndian.PutUint32(sealed[crcAt:], crc32.ChecksumIEEE(sealed[:crcAt]))
		once, _, err := s.decode(sealed[:])
		if err != nil {
			t.Fatal(err)
		}
		again, _ := s.encode(once)
		twice, _, err := s.decode(again[:])
		if err != nil || twice != once {
			t.Errorf("%+v became %+v (%v)", once, twice, err)
		}
	})
}
