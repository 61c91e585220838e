package disk

import (
	"errors"
	"fmt"
	"io/fs"
)

// LoaderDir is the folder of our ISOs that holds what an installer needs.
const LoaderDir = "masthead/loader"

// Names of the files in LoaderDir.
const (
	LoaderBoot       = "boot.img"
	LoaderCore       = "core.img"
	LoaderShim       = "shimx64.efi"
	LoaderGrub       = "grubx64.efi"
	LoaderMokManager = "mmx64.efi"
)

// Loader is what starts a disk: GRUB for BIOS, and shim with signed GRUB for UEFI.
type Loader struct {
	Boot       []byte // boot.img, for the boot sector
	Core       []byte // core.img, which builder/grub makes
	Shim       []byte // signed by Microsoft
	Grub       []byte // signed by the distribution
	MokManager []byte // enrols keys of one's own
}

// ReadLoader reads the loader from LoaderDir of a mounted medium, at its root.
func ReadLoader(fsys fs.FS) (Loader, error) {
	var l Loader
	var errs []error
	for name, to := range map[string]*[]byte{
		LoaderBoot: &l.Boot, LoaderCore: &l.Core, LoaderShim: &l.Shim, LoaderGrub: &l.Grub, LoaderMokManager: &l.MokManager,
	} {
		data, err := fs.ReadFile(fsys, LoaderDir+"/"+name)
		if err != nil {
			errs = append(errs, err)
		}
		*to = data
	}
	if err := errors.Join(errs...); err != nil {
		return Loader{}, fmt.Errorf("read the loader from the medium: %w", err)
	}
	return l, nil
}

// Config is what GRUB's configuration on the disk says besides the image's own.
type Config struct {
	Cmdline string // added to the kernel command line of every start
	Serial  bool   // show the menu on the first serial port too, 115200 8N1
	Timeout int    // seconds that the menu waits
}
