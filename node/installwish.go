package node

import (
	"context"
	"errors"

	"masthead/images"
)

// maxInstallFile is more than any answers take.
const maxInstallFile = 64 << 10

// wishToInstall hands the installer its answers, if somebody has left any: as a credential, on the command line, or in a
// file on a stick. A stick that the command line speaks of is waited for; without a word of it one look must do.
func (in *Init) wishToInstall(ctx context.Context) error {
	if in.boot.Role != images.RoleHead || in.boot.Slot != "" || in.credentials[images.CredentialInstall] != "" {
		return nil
	}
	asked := in.boot.Install
	if asked == images.InstallByAsking {
		return nil
	}
	if asked != "" && asked != images.InstallFromStick {
		return in.toInstall(asked)
	}
	if err := in.loader.Load(ctx, "vfat", ""); err != nil {
		in.log.Debug("look for "+images.InstallFile, "err", err)
	}
	wait := tokenWait
	if asked == "" {
		wait = 0
	}
	text, device, err := onFAT(ctx, "/sys", "/dev", images.InstallFile, maxInstallFile, wait)
	if err != nil && asked != "" {
		return &hint{errors.Join(errors.New("this machine is to be installed from a stick"), err), "put " + images.InstallFile + " on a stick with a FAT file system, and restart"}
	}
	if err != nil {
		return nil
	}
	in.log.Info("answers for an installation", "device", device)
	return in.toInstall(text)
}

func (in *Init) toInstall(answers string) error {
	in.credentials[images.CredentialInstall] = answers
	return saveCredentials(map[string]string{images.CredentialInstall: answers})
}
