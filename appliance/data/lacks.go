package data

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Lacks says what a head has not that its copies of volumes need: programs, and devices. It looks at this machine, which must be
// that head.
func Lacks(volumes []Volume, head string) (all []string) {
	return lacks(volumes, head, func(path string) bool {
		_, err := os.Stat(path)
		return !errors.Is(err, fs.ErrNotExist)
	})
}

func lacks(volumes []Volume, head string, is func(path string) bool) (all []string) {
	if len(volumes) == 0 {
		return nil
	}
	wanted := []string{"drbdadm", "drbdsetup"}
	for _, v := range volumes {
		wanted = append(wanted, "mkfs."+v.filesystem())
		if v.filesystem() == Btrfs {
			wanted = append(wanted, "btrfs")
		}
		if v.snapshotsBy() == LVM {
			wanted = append(wanted, "lvs", "thin_check")
		}
	}
	var told []string
	for _, program := range wanted {
		none := &missing{program}
		found := slices.ContainsFunc(strings.Split(strings.TrimPrefix(programs, "PATH="), ":"), func(dir string) bool { return is(dir + "/" + program) })
		if try := none.Try(); !found && !slices.Contains(told, try) {
			told = append(told, try)
			all = append(all, fmt.Sprintf("data: %s has no %s: %s", head, program, try))
		}
	}
	for i, v := range volumes {
		if d := v.device(head); !is(d) {
			all = append(all, fmt.Sprintf("data[%d]: volume %s waits: %s has no device %s", i, v.Name, head, d))
		}
	}
	return all
}
