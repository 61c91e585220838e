package ethernet

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCutFrame(t *testing.T) {
	for _, test := range []struct {
		name        string
		stream      []byte
		frame, rest []byte
		err         error
	}{
		{"empty", nil, nil, nil, nil},
		{"part of a length", []byte{0, 0, 0}, nil, []byte{0, 0, 0}, nil},
		{"part of a frame", []byte{0, 0, 0, 3, 'a'}, nil, []byte{0, 0, 0, 3, 'a'}, nil},
		{"one and more", []byte{0, 0, 0, 2, 'a', 'b', 0}, []byte("ab"), []byte{0}, nil},
		{"empty frame", []byte{0, 0, 0, 0, 1}, []byte{}, []byte{1}, nil},
		{"too long", []byte{0, 1, 16, 1}, nil, []byte{0, 1, 16, 1}, errFraming},
		{"negative as signed", []byte{0xff, 0xff, 0xff, 0xff}, nil, []byte{0xff, 0xff, 0xff, 0xff}, errFraming},
	} {
		frame, rest, err := cutFrame(test.stream)
		if diff := cmp.Diff(test.frame, frame); diff != "" {
			t.Errorf("%s: frame (-want +got):\n%s", test.name, diff)
		}
		if diff := cmp.Diff(test.rest, rest); diff != "" {
			t.Errorf("%s: rest (-want +got):\n%s", test.name, diff)
		}
		if !errors.Is(err, test.err) {
			t.Errorf("%s: error %v, want %v", test.name, err, test.err)
		}
	}
}

// FuzzCutFrame: whatever comes, frames and rest together are the stream, and it ends.
func FuzzCutFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 'a', 'b', 0, 0, 0, 0, 0xff})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, stream []byte) {
		var again []byte
		rest := stream
		for {
			var frame []byte
			var err error
			frame, rest, err = cutFrame(rest)
			if err != nil || frame == nil {
				break
			}
			if len(frame) > MaxFrame {
				t.Fatalf("frame of %d bytes", len(frame))
			}
			again = append(again, prefixed(frame)...)
		}
		if again = append(again, rest...); !bytes.Equal(stream, again) {
			t.Fatalf("stream %x came out as %x", stream, again)
		}
	})
}

// FuzzDevice: no bytes on a device's socket stop the switch for the others.
func FuzzDevice(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 'a', 'b', 0, 0, 0, 0, 0xff})
	f.Add(prefixed(numbered(broadcast, station(1), 1)))
	f.Add(append(prefixed(numbered(station(7), broadcast, 1)), 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, stream []byte) {
		sw := NewSwitch("lan", 1)
		defer sw.Close()
		path := t.TempDir() + "/nic"
		if _, err := sw.Plug("hostile", path); err != nil {
			t.Skip(err) // a fuzz worker's folder may be too deep for a socket
		}
		conn := nic(t, path)
		conn.Write(stream)
		conn.Close()
		a, _ := sw.Attach("a")
		b, _ := sw.Attach("b")
		b.Send(numbered(broadcast, station(0xb), 1<<20))
		a.Send(numbered(station(0xb), station(0xa), 1<<30))
		for {
			if got := receive(t, b); len(got) == headerLen+4 && number(got) == 1<<30 {
				break
			}
		}
	})
}
