package nbd

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// encode is what the kernel does (nbd_send_cmd).
func (r request) encode() []byte {
	b := binary.BigEndian.AppendUint32(nil, requestMagic)
	b = binary.BigEndian.AppendUint16(b, r.flags)
	b = binary.BigEndian.AppendUint16(b, uint16(r.command))
	b = binary.BigEndian.AppendUint64(b, r.handle)
	b = binary.BigEndian.AppendUint64(b, r.offset)
	return binary.BigEndian.AppendUint32(b, r.length)
}

func TestParseRequest(t *testing.T) {
	tests := []struct {
		name, hex string
		want      request
		bad       bool
	}{
		{"read", "25609513 0000 0000 0000000100000007 0000000000001000 00020000",
			request{command: cmdRead, handle: 1<<32 | 7, offset: 4096, length: 128 << 10}, false},
		{"disconnect", "25609513 0000 0002 0000000000000000 0000000000000000 00000000", request{command: cmdDisconnect}, false},
		{"flag fua", "25609513 0001 0001 0000000000000001 0000000000000000 00000200",
			request{command: cmdWrite, flags: 1, handle: 1, length: 512}, false},
		{"a command of the future", "25609513 0000 0009 0000000000000001 0000000000000000 00000000",
			request{command: 9, handle: 1}, false},
		{"wrong magic", "67446698 0000 0000 0000000000000001 0000000000000000 00000000", request{}, true},
		{"a write that would never end", "25609513 0000 0001 0000000000000001 0000000000000000 ffffffff", request{}, true},
		{"short", "25609513 0000", request{}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseRequest(unhex(t, test.hex))
			if (err != nil) != test.bad || test.bad && !errors.Is(err, errProtocol) {
				t.Fatalf("error %v, want one: %t", err, test.bad)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(request{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	var compact []byte
	for _, c := range []byte(s) {
		if c != ' ' {
			compact = append(compact, c)
		}
	}
	b, err := hex.DecodeString(string(compact))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRefusal(t *testing.T) {
	const size = 1 << 20
	tests := []struct {
		name string
		r    request
		want uint32
	}{
		{"read all", request{command: cmdRead, length: size}, errNone},
		{"read the last block", request{command: cmdRead, offset: size - 4096, length: 4096}, errNone},
		{"read across the end", request{command: cmdRead, offset: size - 4096, length: 8192}, errInvalid},
		{"read behind the end", request{command: cmdRead, offset: size + 1}, errInvalid},
		{"offset that overflows", request{command: cmdRead, offset: 1<<64 - 1, length: 4096}, errInvalid},
		{"too long", request{command: cmdRead, length: maxLength + 1}, errInvalid},
		{"flush", request{command: cmdFlush}, errNone},
		{"write", request{command: cmdWrite, length: 512}, errPerm},
		{"trim", request{command: cmdTrim, length: 512}, errPerm},
		{"unknown", request{command: 9}, errInvalid},
	}
	for _, test := range tests {
		if got := test.r.refusal(size); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}

func TestReply(t *testing.T) {
	got := hex.EncodeToString(appendReply(nil, 0x0102030405060708, errIO))
	if want := "67446698" + "00000005" + "0102030405060708"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add(request{command: cmdRead, handle: 1, offset: 4096, length: 4096}.encode())
	f.Add(request{command: cmdWrite, length: maxLength}.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRequest(data)
		if err != nil {
			return
		}
		if diff := cmp.Diff(data, r.encode()); diff != "" {
			t.Errorf("does not come back:\n%s", diff)
		}
		const size = 1 << 20
		if r.command == cmdRead && r.refusal(size) == errNone && (r.offset > size || r.offset+uint64(r.length) > size) {
			t.Errorf("%+v allowed on %d bytes", r, size)
		}
	})
}
