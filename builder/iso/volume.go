package iso

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// tables says where the path tables are.
type tables struct {
	size   int // bytes of one
	little uint32
	big    uint32
}

// primaryDescriptor is the primary volume descriptor (ECMA-119 8.4).
func primaryDescriptor(id string, sectors uint32, t tables, root extent, at time.Time) []byte {
	b := make([]byte, sectorSize)
	copy(b, "\x01CD001\x01")
	pad(b[8:40], "")
	pad(b[40:72], id)
	putBoth32(b[80:], sectors)
	putBoth16(b[120:], 1) // one volume, and it is the first
	putBoth16(b[124:], 1)
	putBoth16(b[128:], sectorSize)
	putBoth32(b[132:], uint32(t.size))
	binary.LittleEndian.PutUint32(b[140:], t.little)
	binary.BigEndian.PutUint32(b[148:], t.big)
	copy(b[156:], record("\x00", flagDirectory, root, at, nil))
	pad(b[190:813], "") // set, publisher, preparer, application, file identifiers
	pad(b[574:702], "MASTHEAD")
	stamp := longDate(at)
	copy(b[813:], stamp)                   // created
	copy(b[830:], stamp)                   // modified
	copy(b[847:], strings.Repeat("0", 16)) // never expires
	copy(b[864:], strings.Repeat("0", 16)) // effective from the start
	b[881] = 1                             // file structure version
	return b
}

// terminator ends the volume descriptors (ECMA-119 8.3).
func terminator() []byte {
	b := make([]byte, sectorSize)
	copy(b, "\xffCD001\x01")
	return b
}

func pad(b []byte, s string) {
	copy(b[copy(b, s):], strings.Repeat(" ", len(b)))
}

// longDate is a date of ECMA-119 8.4.26.1, in UTC.
func longDate(t time.Time) string {
	return t.UTC().Format("20060102150405") + "00\x00"
}

// checkVolumeID wants d-characters only.
func checkVolumeID(s string) error {
	if len(s) == 0 || len(s) > 32 || s != dChars(s) {
		return fmt.Errorf("volume identifier %q is not 1 to 32 of A-Z, 0-9 and _", s)
	}
	return nil
}

// checkEpoch wants what the one byte for the year can hold.
func checkEpoch(t time.Time) error {
	if y := t.UTC().Year(); y < 1970 || y > 2155 {
		return fmt.Errorf("epoch %v is not from 1970 to 2155", t)
	}
	return nil
}
