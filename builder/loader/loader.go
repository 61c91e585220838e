// Package loader finds the boot loaders that distribution packages provide:
// ISOLINUX for BIOS media, GRUB for BIOS disks, shim and signed GRUB for UEFI,
// iPXE for network boot and the systemd stub for unified kernel images. Nothing of them is kept in this repository, so that
// their sources, licences and security fixes stay with the distribution.
//
// Package loader only locates and reads; what is done with the bytes is the
// matter of builder/iso, builder/uki and builder/netboot.
package loader

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// Name names one loader file; it is the file's base name in Debian, without the
// .signed of those that are.
type Name string

// The loaders that can be asked for.
const (
	ISOLINUX  Name = "isolinux.bin"      // El Torito loader of BIOS CDs
	HybridMBR Name = "isohdpfx.bin"      // boot sector that starts ISOLINUX from a disk
	LDLinux   Name = "ldlinux.c32"       // core module of ISOLINUX; must be of the same release
	Undionly  Name = "undionly.kpxe"     // iPXE on the BIOS's own network driver
	SNPOnly   Name = "snponly.efi"       // iPXE on the UEFI firmware's network driver
	IPXE      Name = "ipxe.efi"          // iPXE for UEFI with its own drivers
	Stub      Name = "linuxx64.efi.stub" // systemd stub of a unified kernel image
	GRUBBoot  Name = "boot.img"          // GRUB's boot sector of BIOS disks; builder/grub makes what it loads
	Shim      Name = "shimx64.efi"       // what firmware with Microsoft's keys starts under Secure Boot
	GRUB      Name = "grubx64.efi"       // what shim starts: GRUB for disks, signed by the distribution
	Mok       Name = "mmx64.efi"         // what shim starts to enrol keys
	GRUBNet   Name = "grubnetx64.efi"    // GRUB for the network, likewise signed
)

// source says where a loader may lie and what gives it.
type source struct {
	name  Name
	pkg   string                // Debian package
	paths []string              // relative to the root, first found wins
	check func(b []byte) string // what is wrong with the contents, or ""
}

// sources lists Debian's path first, then those of Arch and of Fedora or Alpine.
func sources() []source {
	return []source{
		{ISOLINUX, "isolinux", []string{"usr/lib/ISOLINUX/isolinux.bin", "usr/lib/syslinux/bios/isolinux.bin", "usr/share/syslinux/isolinux.bin"}, checkISOLINUX},
		{HybridMBR, "isolinux", []string{"usr/lib/ISOLINUX/isohdpfx.bin", "usr/lib/syslinux/bios/isohdpfx.bin", "usr/share/syslinux/isohdpfx.bin"}, checkHybridMBR},
		{LDLinux, "syslinux-common", []string{"usr/lib/syslinux/modules/bios/ldlinux.c32", "usr/lib/syslinux/bios/ldlinux.c32", "usr/share/syslinux/ldlinux.c32"}, checkELF},
		{Undionly, "ipxe", []string{"usr/lib/ipxe/undionly.kpxe", "usr/share/ipxe/undionly.kpxe"}, checkNotEmpty},
		{SNPOnly, "ipxe", []string{"usr/lib/ipxe/snponly.efi", "usr/share/ipxe/snponly.efi", "usr/share/ipxe/ipxe-snponly-x86_64.efi"}, checkPE},
		{IPXE, "ipxe", []string{"usr/lib/ipxe/ipxe.efi", "usr/share/ipxe/ipxe.efi", "usr/share/ipxe/ipxe-x86_64.efi"}, checkPE},
		{Stub, "systemd-boot-efi", []string{"usr/lib/systemd/boot/efi/linuxx64.efi.stub"}, checkPE},
		{GRUBBoot, "grub-pc-bin", []string{"usr/lib/grub/i386-pc/boot.img"}, checkBootSector},
		{Shim, "shim-signed", []string{"usr/lib/shim/shimx64.efi.signed"}, checkSigned},
		{GRUB, "grub-efi-amd64-signed", []string{"usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"}, checkSigned},
		{Mok, "shim-signed", []string{"usr/lib/shim/mmx64.efi.signed"}, checkSigned},
		{GRUBNet, "grub-efi-amd64-signed", []string{"usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"}, checkSigned},
	}
}

// ForISO lists what a bootable ISO needs, for BIOS and UEFI, and for the disks
// that it is installed on.
func ForISO() []Name { return []Name{ISOLINUX, HybridMBR, LDLinux, GRUBBoot, Shim, GRUB, Mok} }

// ForNetboot lists what a head serves to machines that boot from the network.
func ForNetboot() []Name { return []Name{Undionly, SNPOnly, IPXE, Shim, GRUBNet} }

// Set holds the contents of loaders by name.
type Set map[Name][]byte

// Find reads the wanted loaders below root ("/" for the build machine), all of
// them when none is named. All that are missing are reported in one
// *MissingError. Symbolic links are resolved below root and cannot leave it.
func Find(root string, want ...Name) (Set, error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open root for loaders: %w", err)
	}
	defer dir.Close()
	return find(dir.FS(), want)
}

func find(dir fs.FS, want []Name) (Set, error) {
	known := make(map[Name]source)
	for _, s := range sources() {
		known[s.name] = s
	}
	if len(want) == 0 {
		for _, s := range sources() {
			want = append(want, s.name)
		}
	}
	var (
		set     = make(Set)
		missing MissingError
		broken  []error
	)
	for _, name := range want {
		s, ok := known[name]
		if !ok {
			broken = append(broken, fmt.Errorf("loader %q is not known", name))
			continue
		}
		p, b, err := read(dir, s.paths)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, Missing{Name: s.name, Package: s.pkg, Path: "/" + s.paths[0]})
		case err != nil:
			broken = append(broken, fmt.Errorf("read loader %s: %w", s.name, err))
		default:
			if why := s.check(b); why != "" {
				broken = append(broken, fmt.Errorf("loader /%s (Debian package %s): %s", p, s.pkg, why))
				continue
			}
			set[s.name] = b
		}
	}
	if len(missing) > 0 {
		if len(broken) == 0 {
			return nil, &missing
		}
		broken = append(broken, &missing)
	}
	if len(broken) > 0 {
		return nil, errors.Join(broken...)
	}
	return set, nil
}

// read returns the first of the paths that exists.
func read(dir fs.FS, paths []string) (string, []byte, error) {
	for _, p := range paths {
		file, err := resolve(dir, p)
		if err == nil {
			var b []byte
			if b, err = fs.ReadFile(dir, file); err == nil {
				return p, b, nil
			}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return p, nil, err
		}
	}
	return "", nil, fs.ErrNotExist
}

// maxLinks ends a loop of symbolic links; Linux gives up after 40.
const maxLinks = 40

// resolve follows p while it is a symbolic link, an absolute target meaning
// the same path below the root: Debian's ipxe.efi is a link to /boot/ipxe.efi,
// which os.Root alone takes for an escape.
func resolve(dir fs.FS, p string) (string, error) {
	for range maxLinks {
		info, err := fs.Lstat(dir, p)
		if err != nil || info.Mode().Type() != fs.ModeSymlink {
			return p, err
		}
		target, err := fs.ReadLink(dir, p)
		if err != nil {
			return p, err
		}
		if !path.IsAbs(target) {
			target = path.Join("/", path.Dir(p), target)
		}
		p = path.Clean(target)[1:]
	}
	return p, fmt.Errorf("too many symbolic links at /%s", p)
}

// checkISOLINUX wants the signature by which the hybrid boot sector knows
// ISOLINUX (syslinux core/isolinux.asm, isolinux_hybrid_signature at offset 64).
func checkISOLINUX(b []byte) string {
	if len(b) < 2048 || binary.LittleEndian.Uint32(b[64:]) != 0x7078c0fb {
		return "is not an ISOLINUX that can boot from a disk"
	}
	return ""
}

// checkHybridMBR wants the size that leaves room for the patched address
// (syslinux utils/isohybrid.c, MBRSIZE).
func checkHybridMBR(b []byte) string {
	if len(b) != 432 {
		return fmt.Sprintf("has %d bytes, an isohybrid boot sector has 432", len(b))
	}
	return ""
}

func checkELF(b []byte) string {
	if !bytes.HasPrefix(b, []byte("\x7fELF")) {
		return "is not an ELF module"
	}
	return ""
}

func checkPE(b []byte) string {
	if !bytes.HasPrefix(b, []byte("MZ")) {
		return "is not a UEFI program"
	}
	return ""
}

// checkSigned wants a UEFI program with an attribute certificate table, where
// signatures are (Microsoft PE format, "Optional Header Data Directories").
func checkSigned(b []byte) string {
	if why := checkPE(b); why != "" {
		return why
	}
	f, err := pe.NewFile(bytes.NewReader(b))
	if err != nil {
		return "is not a UEFI program: " + err.Error()
	}
	h, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok || h.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_SECURITY].Size == 0 {
		return "is not signed"
	}
	return ""
}

func checkBootSector(b []byte) string {
	if len(b) != 512 || b[510] != 0x55 || b[511] != 0xaa {
		return "is not a boot sector"
	}
	return ""
}

func checkNotEmpty(b []byte) string {
	if len(b) == 0 {
		return "is empty"
	}
	return ""
}
