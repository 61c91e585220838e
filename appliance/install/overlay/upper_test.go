package overlay

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestUpper(t *testing.T) {
	dir := t.TempDir()
	mountinfo := filepath.Join(dir, "mountinfo")
	const other = "30 1 0:5 / /proc rw,nosuid - proc proc rw\n" +
		"31 1 0:6 / /mnt rw - overlay masthead rw,lowerdir=/a,upperdir=/nowhere,workdir=/w\n"
	const root = "29 1 0:4 / / rw,relatime shared:1 - overlay masthead rw,lowerdir=/a,workdir=/w"
	for name, tt := range map[string]struct {
		text, want string
		err        error
	}{
		"an overlay":           {other + root + ",upperdir=" + dir + "\n", dir, nil},
		"a disk":               {other + "29 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "", nil},
		"nothing is written":   {other + root + "\n", "", nil},
		"it cannot be reached": {other + root + ",upperdir=" + dir + "/gone\n", "", fs.ErrNotExist},
	} {
		if err := os.WriteFile(mountinfo, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Upper(mountinfo); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %q, %v; want %q, %v", name, got, err, tt.want, tt.err)
		}
	}
}
