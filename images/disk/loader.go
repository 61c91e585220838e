package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"masthead/images/esp"
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
	for _, f := range l.files() {
		data, err := fs.ReadFile(fsys, LoaderDir+"/"+f.name)
		if err != nil {
			errs = append(errs, err)
		}
		*f.data = data
	}
	if err := errors.Join(errs...); err != nil {
		return Loader{}, fmt.Errorf("read the loader from the medium: %w", err)
	}
	return l, nil
}

type loaderFile struct {
	name string
	data *[]byte
}

func (l *Loader) files() []loaderFile {
	return []loaderFile{
		{LoaderBoot, &l.Boot}, {LoaderCore, &l.Core}, {LoaderShim, &l.Shim}, {LoaderGrub, &l.Grub}, {LoaderMokManager, &l.MokManager},
	}
}

// Files are the loader's files by their names in LoaderDir.
func (l Loader) Files() map[string][]byte {
	files := make(map[string][]byte)
	for _, f := range l.files() {
		files[f.name] = *f.data
	}
	return files
}

// Config is what GRUB's configuration on the disk says besides the image's own.
type Config struct {
	Cmdline string // added to the kernel command line of every start
	Serial  bool   // show GRUB on the first serial port too, 115200 8N1, where it is started by a BIOS
	Timeout int    // seconds before the start
}

// Files of the EFI system partition, from its root. FAT does not tell upper and lower case apart.
const (
	ESPShim       = esp.BootX64
	ESPGrub       = "EFI/BOOT/GRUBX64.EFI" // by this name, beside itself, shim looks for it
	ESPMokManager = "EFI/BOOT/MMX64.EFI"
	ESPRedirect   = "EFI/debian/grub.cfg" // Debian's signed GRUB has this folder built in
	ESPConfig     = "grub/grub.cfg"
	ESPEnv        = "grub/grubenv"
)

// espFile is a file of the EFI system partition.
type espFile struct {
	path string
	data []byte
}

func (l Loader) espFiles(t Table, c Config) ([]espFile, error) {
	config, err := c.GRUB(t)
	if err != nil {
		return nil, err
	}
	return []espFile{
		{ESPShim, l.Shim}, {ESPGrub, l.Grub}, {ESPMokManager, l.MokManager},
		{ESPRedirect, []byte(redirect)}, {ESPConfig, []byte(config)}, {ESPEnv, Env{Slot: SlotA}.Block()},
	}, nil
}

// espEpoch is the time of the files on the EFI system partition: the same disk, the same bytes.
var espEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Write makes the disk of the table start: the code of the boot sector, core.img with its list of blocks in the BIOS
// boot partition, and a fresh EFI system partition whose slot is a. It does not write the table, and leaves slots,
// state and data alone.
func (l Loader) Write(w io.WriterAt, t Table, c Config) error {
	if err := l.write(w, t, c); err != nil {
		return fmt.Errorf("write the boot loader: %w", err)
	}
	return nil
}

func (l Loader) write(w io.WriterAt, t Table, c Config) error {
	bios, system, err := t.ours()
	if err != nil {
		return err
	}
	if err := l.writeESP(w, t, system, c); err != nil {
		return err
	}
	core, err := placeCore(l.Core, bios)
	if err != nil {
		return err
	}
	if _, err := w.WriteAt(core, bios.First); err != nil {
		return fmt.Errorf("core.img: %w", err)
	}
	code, err := bootCode(l.Boot, bios)
	if err != nil {
		return err
	}
	if _, err := w.WriteAt(code, 0); err != nil {
		return fmt.Errorf("boot sector: %w", err)
	}
	return nil
}

func (l Loader) writeESP(w io.WriterAt, t Table, p Partition, c Config) error {
	files, err := l.espFiles(t, c)
	if err != nil {
		return err
	}
	sizes := make([]esp.File, len(files))
	for i, f := range files {
		if len(f.data) == 0 {
			return fmt.Errorf("%s is missing", f.path)
		}
		sizes[i] = esp.File{Path: f.path, Size: int64(len(f.data))}
	}
	serial, err := strconv.ParseUint(strings.SplitN(p.UUID, "-", 2)[0], 16, 32)
	if err != nil {
		return fmt.Errorf("partition %s: %q is not a GUID", p.Name, p.UUID)
	}
	fs, err := esp.Plan(esp.Volume{Label: "ESP", Serial: uint32(serial), Epoch: espEpoch, Size: p.Size}, sizes)
	if err != nil {
		return err
	}
	if _, err := w.WriteAt(fs.Head, p.First); err != nil {
		return fmt.Errorf("EFI system partition: %w", err)
	}
	for i, f := range files {
		if _, err := w.WriteAt(f.data, p.First+fs.Offsets[i]); err != nil {
			return fmt.Errorf("EFI system partition: %s: %w", f.path, err)
		}
	}
	return nil
}

// What GRUB's setup fills in when it writes a disk (util/setup.c, include/grub/i386/pc/boot.h).
const (
	grubSector      = 512 // of the BIOS, whatever the disk's are
	kernelSectorAt  = 0x5c
	bootDriveAt     = 0x64
	driveCheckAt    = 0x66
	blockListAt     = grubSector - 12 // the first entry: sector (8), sectors (2), segment (2)
	blockListSecond = blockListAt - 12
)

// bootCode is the code of boot.img with the address of core.img.
func bootCode(boot []byte, bios Partition) ([]byte, error) {
	if len(boot) != grubSector || boot[mbrSignature] != 0x55 || boot[mbrSignature+1] != 0xaa {
		return nil, errors.New("boot.img is not a boot sector")
	}
	code := bytes.Clone(boot[:mbrCode])
	binary.LittleEndian.PutUint64(code[kernelSectorAt:], uint64(bios.First/grubSector))
	code[bootDriveAt] = 0xff // the one that the BIOS names
	// Some BIOSes name a floppy when they start a disk. The jump over the correction becomes two no-operations.
	code[driveCheckAt], code[driveCheckAt+1] = 0x90, 0x90
	return code, nil
}

// placeCore is core.img with the list of the blocks behind its first sector: one run, for the partition is one.
func placeCore(core []byte, bios Partition) ([]byte, error) {
	sectors := (len(core) + grubSector - 1) / grubSector
	if sectors < 2 || int64(sectors)*grubSector > bios.Size {
		return nil, fmt.Errorf("core.img has %d bytes, the partition %d", len(core), bios.Size)
	}
	placed := make([]byte, sectors*grubSector)
	copy(placed, core)
	if binary.LittleEndian.Uint16(placed[blockListAt+8:]) != uint16(sectors-1) || binary.LittleEndian.Uint16(placed[blockListAt+10:]) != 0x820 {
		return nil, errors.New("core.img has no list of its blocks at the end of the first sector")
	}
	binary.LittleEndian.PutUint64(placed[blockListAt:], uint64(bios.First/grubSector+1))
	clear(placed[blockListSecond:blockListAt])
	return placed, nil
}
