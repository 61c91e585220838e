package builder

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"

	"masthead/builder/grub"
	"masthead/builder/iso"
	"masthead/builder/loader"
	"masthead/builder/uki"
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
func signedGRUB(l disk.Loader, kernel, ramfs iso.File, identity images.Digest) uefiBoot {
	// GRUB has to find this medium among all disks, also beside an installed disk with another of our ISOs in a slot.
	mark := "masthead/medium-" + identity.Hex()[:16]
	config := []byte(disk.MediumGRUB("/"+mark, int(menuTimeout.Seconds())))
	boot := uefiBoot{
		esp: []iso.File{
			bytesFile(disk.ESPShim, l.Shim), bytesFile(disk.ESPGrub, l.Grub), bytesFile(disk.ESPMokManager, l.MokManager),
			bytesFile(disk.ESPRedirect, config),
		},
		files: []iso.File{
			kernel, ramfs,
			bytesFile(mark, []byte(identity+"\n")),
			// Of a CD, GRUB sees the ISO 9660 tree where it looks for its configuration, of a stick the partition.
			{Path: disk.ESPRedirect, Size: int64(len(config)), Shared: &iso.Shared{Path: disk.ESPRedirect}},
		},
	}
	shared := map[string]string{disk.LoaderShim: disk.ESPShim, disk.LoaderGrub: disk.ESPGrub, disk.LoaderMokManager: disk.ESPMokManager}
	for _, f := range loaderFiles(l) {
		if path, ok := shared[path.Base(f.Path)]; ok {
			f.Open, f.Shared = nil, &iso.Shared{Path: path}
		}
		boot.files = append(boot.files, f)
	}
	return boot
}

// loaderFiles are the files that an installation writes to a disk, as they stand in the ISO 9660 tree.
func loaderFiles(l disk.Loader) []iso.File {
	data := l.Files()
	var files []iso.File
	for _, name := range slices.Sorted(maps.Keys(data)) {
		files = append(files, bytesFile(disk.LoaderDir+"/"+name, data[name]))
	}
	return files
}

// signedKernel starts the ISO by a unified kernel image that s has signed: firmware that knows its key checks kernel,
// initramfs and arguments at once. There is no menu. ISOLINUX reads kernel and initramfs where they lie in that image.
func signedKernel(s *uki.Signer, l disk.Loader, kernel, ramfs iso.File, m images.Manifest, cmdline string) (uefiBoot, error) {
	stub, err := loader.Find("/", loader.Stub)
	if err != nil {
		return uefiBoot{}, err
	}
	unified, err := uki.Plan(uki.Image{
		Stub: stub[loader.Stub], Cmdline: cmdline, Uname: m.KernelRelease,
		Kernel: uki.Source{Size: kernel.Size, Open: kernel.Open}, Initramfs: uki.Source{Size: ramfs.Size, Open: ramfs.Open},
		OSRelease: "ID=masthead\nNAME=masthead\nPRETTY_NAME=\"masthead " + m.Name + "\"\n",
	})
	if err != nil {
		return uefiBoot{}, err
	}
	signed, err := s.Sign(unified)
	if err != nil {
		return uefiBoot{}, err
	}
	boot := uefiBoot{esp: []iso.File{bytesFile(disk.ESPShim, signed)}, files: loaderFiles(l)}
	for name, f := range map[string]iso.File{".linux": kernel, ".initrd": ramfs} {
		section, ok := unified.Section(name)
		if !ok {
			return uefiBoot{}, fmt.Errorf("the unified kernel image has no section %s", name)
		}
		boot.files = append(boot.files, iso.File{Path: f.Path, Size: section.Size, Shared: &iso.Shared{Path: disk.ESPShim, Offset: section.Offset}})
	}
	return boot, nil
}

// bytesFile is a file of the ISO with contents that are in memory.
func bytesFile(path string, data []byte) iso.File {
	return iso.File{Path: path, Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}
