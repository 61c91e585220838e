package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Pflash is a UEFI firmware: code, and variables that the machine writes.
type Pflash struct {
	Code, Vars string
}

// pflashes are where distributions keep OVMF; the first that is there is used.
func pflashes(f Firmware) []Pflash {
	switch f {
	case OwnKeys:
		return []Pflash{{"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd"}}
	case SecureBoot:
		return []Pflash{
			{"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"},              // Debian, Ubuntu
			{"/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd"},     // Fedora
			{"/usr/share/edk2/x64/OVMF_CODE.secboot.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.secboot.4m.fd"}, // Arch
		}
	}
	return []Pflash{
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
		{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
	}
}

// FindPflash returns the host's OVMF for f, of which Vars is to be copied before
// use (CopyVars). For BIOS it is empty.
func FindPflash(f Firmware) (Pflash, error) {
	if f == BIOS {
		return Pflash{}, nil
	}
	candidates := pflashes(f)
	for _, p := range candidates {
		if _, err := os.Stat(p.Code); err == nil {
			return p, nil
		}
	}
	return Pflash{}, fmt.Errorf("firmware %s: no %s: install the package ovmf", f, candidates[0].Code)
}

// CopyVars makes path the machine's own variables, unless it is there from before.
func (p Pflash) CopyVars(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	vars, err := os.ReadFile(p.Vars)
	if err == nil {
		err = os.WriteFile(path, vars, 0o644)
	}
	if err != nil {
		return fmt.Errorf("firmware variables: %w", err)
	}
	return nil
}
