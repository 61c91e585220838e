package node

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckWhole(t *testing.T) {
	const sectors = 30
	image := make([]byte, sectors*isoSector)
	copy(image[isoDescriptor:], "\x01CD001\x01")
	binary.LittleEndian.PutUint32(image[isoDescriptor+isoVolumeSize:], sectors)
	for _, test := range []struct {
		name string
		data []byte
		want string // in the error
	}{
		{"whole", image, ""},
		{"on a larger stick", append(append([]byte(nil), image...), make([]byte, 5*isoSector)...), ""},
		{"truncated", image[:len(image)-1], "61439 bytes of 61440 are there"},
		{"no descriptor", image[:isoDescriptor], "EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "iso")
			if err := os.WriteFile(file, test.data, 0o644); err != nil {
				t.Fatal(err)
			}
			err := checkWhole(file)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("checkWhole: %v, want %q", err, test.want)
			}
			if test.name == "truncated" && tryOf(err) != "write the medium again" {
				t.Errorf("try: %q", tryOf(err))
			}
		})
	}
}
