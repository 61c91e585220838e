package builder

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"masthead/builder/grub"
	"masthead/builder/iso"
	"masthead/builder/loader"
	"masthead/images"
	"masthead/images/disk"
)

// diskLoader is what starts an installed disk: the distribution's files, and GRUB's core image made from its parts.
func diskLoader(found loader.Set) (disk.Loader, error) {
	parts, err := os.OpenRoot("/" + grub.Dir)
	if err != nil {
		return disk.Loader{}, fmt.Errorf("open GRUB's parts: %w", err)
	}
	defer parts.Close()
	core, err := grub.Core(parts.FS(), grub.Config{Prefix: disk.GRUBPrefix, Modules: disk.GRUBModules()})
	if err != nil {
		return disk.Loader{}, err
	}
	return disk.Loader{Boot: found[loader.GRUBBoot], Core: core, Shim: found[loader.Shim], Grub: found[loader.GRUB], MokManager: found[loader.Mok]}, nil
}

// uefiBoot is what makes an ISO start by UEFI: the files of its EFI system partition, and files of its ISO 9660 tree.
type uefiBoot struct{ esp, files []iso.File }

// signedGRUB starts the ISO through shim and the distribution's GRUB, which reads kernel and initramfs from the ISO 9660
// tree: under Secure Boot each of the three is checked by the one before. The files of the loader stand in the ISO 9660
// tree as well, where an installation finds them; those that the partition holds are the same bytes.
func signedGRUB(l disk.Loader, identity images.Digest) uefiBoot {
	// GRUB has to find this medium among all disks, also beside an installed disk with another of our ISOs in a slot.
	mark := "masthead/medium-" + identity.Hex()[:16]
	config := []byte(disk.MediumGRUB("/"+mark, int(menuTimeout.Seconds())))
	boot := uefiBoot{
		esp: []iso.File{
			bytesFile(disk.ESPShim, l.Shim), bytesFile(disk.ESPGrub, l.Grub), bytesFile(disk.ESPMokManager, l.MokManager),
			bytesFile(disk.ESPRedirect, config),
		},
		files: []iso.File{
			bytesFile(mark, []byte(identity+"\n")),
			// Of a CD, GRUB sees the ISO 9660 tree where it looks for its configuration, of a stick the partition.
			{Path: disk.ESPRedirect, Size: int64(len(config)), Shared: &iso.Shared{Path: disk.ESPRedirect}},
		},
	}
	shared := map[string]string{disk.LoaderShim: disk.ESPShim, disk.LoaderGrub: disk.ESPGrub, disk.LoaderMokManager: disk.ESPMokManager}
	files := l.Files()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f := bytesFile(disk.LoaderDir+"/"+name, files[name])
		if path, ok := shared[name]; ok {
			f.Open, f.Shared = nil, &iso.Shared{Path: path}
		}
		boot.files = append(boot.files, f)
	}
	return boot
}

// bytesFile is a file of the ISO with contents that are in memory.
func bytesFile(path string, data []byte) iso.File {
	return iso.File{Path: path, Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}
