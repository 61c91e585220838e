package heartbeat

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// fed is what a stream makes of pieces.
func fed(pieces ...[]byte) (frames [][frameSize]byte, garbled int) {
	var s stream
	for _, p := range pieces {
		s.feed(p, func(f [frameSize]byte) { frames = append(frames, f) }, func() { garbled++ })
	}
	return frames, garbled
}

func TestStream(t *testing.T) {
	b, _ := newSeal("c1", testKey).encode(goldenFrame())
	line := stuff(b)
	whole := line[:]
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, c := range []struct {
		name            string
		in              []byte
		frames, garbled int
	}{
		{"one", whole, 1, 0},
		{"two", join(whole, whole), 2, 0},
		{"only one delimiter between", join(whole, whole[1:]), 2, 0},
		{"opened in the middle of one", join(whole[30:], whole), 1, 0},
		{"torn at its end", join(whole, whole[:40], whole), 2, 1},
		{"torn at its start", join(whole, whole[20:], whole), 2, 1},
		{"a byte lost", join(whole, whole[:20], whole[21:], whole), 2, 1},
		{"a byte too many", join(whole, whole[:20], []byte{9}, whole[20:], whole), 2, 1},
		{"a login prompt between", join(whole, []byte("\r\ndebian login: "), whole), 2, 1},
		{"zeros", join(whole, make([]byte, 1000), whole), 2, 0},
		{"a babbler is one garbled stretch", join(whole, bytes.Repeat([]byte("U"), 10000), whole), 2, 1},
	} {
		frames, garbled := fed(c.in)
		if len(frames) != c.frames || garbled != c.garbled {
			t.Errorf("%s: %d frames, %d garbled, want %d and %d", c.name, len(frames), garbled, c.frames, c.garbled)
		}
		for _, f := range frames {
			if f != b {
				t.Errorf("%s: got %x", c.name, f)
			}
		}
	}
}

// TestStreamPieces: it does not matter in which pieces bytes come, and after any garbage the second of two frames at the
// latest is heard.
func TestStreamPieces(t *testing.T) {
	b, _ := newSeal("c1", testKey).encode(goldenFrame())
	line := stuff(b)
	rapid.Check(t, func(t *rapid.T) {
		in := bytes.Join([][]byte{rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "garbage"), line[:], line[:]}, nil)
		whole, garbled := fed(in)
		var pieces [][]byte
		for rest := in; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			pieces = append(pieces, rest[:n])
			rest = rest[n:]
		}
		parts, garbled2 := fed(pieces...)
		if len(whole) != len(parts) || garbled != garbled2 {
			t.Fatalf("whole: %d, %d garbled; in %d pieces: %d, %d", len(whole), garbled, len(pieces), len(parts), garbled2)
		}
		if n := len(whole); n < 2 || whole[n-1] != b || whole[n-2] != b {
			t.Fatalf("of two frames after garbage %d came", n)
		}
	})
}

func FuzzStream(f *testing.F) {
	s := newSeal("c1", testKey)
	b, _ := s.encode(goldenFrame())
	line := stuff(b)
	f.Add(line[:])
	f.Add(append(line[3:], line[:50]...))
	f.Fuzz(func(t *testing.T, in []byte) {
		frames, garbled := fed(in)
		if garbled > bytes.Count(in, []byte{0})+1 {
			t.Errorf("%d garbled stretches in %x", garbled, in)
		}
		for _, f := range frames {
			again := stuff(f)
			if !bytes.Contains(append([]byte{0}, in...), again[:]) {
				t.Errorf("frame %x is not in %x", f, in)
			}
			_, _, _ = s.decode(f[:])
		}
	})
}
