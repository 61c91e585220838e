package iso

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Where the loader lies; ISOLINUX looks for its configuration and modules in
// /isolinux by itself.
const (
	isolinuxDir = "isolinux/"
	isolinuxBin = isolinuxDir + "isolinux.bin"
	isolinuxCfg = isolinuxDir + "isolinux.cfg"
	ldlinux     = isolinuxDir + "ldlinux.c32"
)

func (img Image) validate() error {
	errs := []error{checkVolumeID(img.VolumeID), checkEpoch(img.Epoch)}
	if img.BIOS != nil {
		errs = append(errs, img.BIOS.validate(), img.BIOS.Menu.validate(img.Files))
		for _, f := range img.Files {
			if strings.HasPrefix(f.Path+"/", isolinuxDir) {
				errs = append(errs, fmt.Errorf("file %q: the folder belongs to the loader", f.Path))
			}
		}
	}
	for _, f := range img.ESP {
		if f.Open == nil {
			errs = append(errs, fmt.Errorf("EFI system partition: file %q: no contents: Open is nil", f.Path))
		}
	}
	return errors.Join(errs...)
}

// identity depends on what an image is, not on the order of its files.
func (img Image) identity() identity {
	var lines []string
	for _, f := range img.Files {
		lines = append(lines, fmt.Sprintf("iso %q %d", f.Path, f.Size))
	}
	for _, f := range img.ESP {
		lines = append(lines, fmt.Sprintf("esp %q %d", f.Path, f.Size))
	}
	slices.Sort(lines)
	lines = append(lines, fmt.Sprintf("%q %q %d", img.VolumeID, img.Identity, img.Epoch.Unix()))
	return sha256.Sum256([]byte(strings.Join(lines, "\n")))
}

func (b *BIOS) validate() error {
	var errs []error
	if len(b.ISOLINUX) < isolinuxSectors*diskSector {
		errs = append(errs, fmt.Errorf("isolinux.bin has only %d bytes", len(b.ISOLINUX)))
	}
	if len(b.LDLinux) == 0 {
		errs = append(errs, errors.New("ldlinux.c32 is empty"))
	}
	if n := len(b.HybridMBR); n != 0 && n != hybridCode {
		errs = append(errs, fmt.Errorf("isohdpfx.bin has %d bytes, want %d", n, hybridCode))
	}
	return errors.Join(errs...)
}

// files are the loader's own files for the tree. The contents of isolinux.bin
// hold its own address and come later.
func (b *BIOS) files() []File {
	return []File{
		{Path: isolinuxBin, Size: int64(len(b.ISOLINUX)), Open: later},
		{Path: isolinuxCfg, Size: int64(len(b.Menu.config())), Open: text(b.Menu.config())},
		{Path: ldlinux, Size: int64(len(b.LDLinux)), Open: text(string(b.LDLinux))},
	}
}

func later() (io.ReadCloser, error) { return nil, errors.New("contents are placed by the planner") }

func text(s string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
}

func (img Image) bootable() bool { return img.BIOS != nil || len(img.ESP) > 0 }
