package appliance

import (
	"testing"

	"masthead/images"
	"masthead/node/wire"
)

func TestWantsSigned(t *testing.T) {
	tests := []struct {
		secureBoot, stuck string
		want              bool
	}{
		{"", "", true},             // shim starts both kinds
		{"", loaderShim, false},    // but not this one: a firmware that shim or GRUB cannot work with
		{"", loaderUnsigned, true}, // refused it
		{wire.SecureBootOff, "", false},
		{wire.SecureBootOff, loaderUnsigned, true}, // switched on since
		{wire.SecureBootOff, loaderShim, false},    // in turns
		{wire.SecureBootOn, "", true},
		{wire.SecureBootOn, loaderShim, true}, // anything else it would refuse
		{wire.SecureBootOn, loaderUnsigned, true},
	}
	for _, tt := range tests {
		if got := wantsSigned(tt.secureBoot, tt.stuck); got != tt.want {
			t.Errorf("Secure Boot %q, stuck with %q: signed %v, want %v", tt.secureBoot, tt.stuck, got, tt.want)
		}
	}
}

func TestUEFILoadersAreRemembered(t *testing.T) {
	const mac = "52:54:00:00:00:01"
	var u uefiLoaders
	u.sent("", loaderShim) // nobody we can tell
	u.sent(mac, "grub/grub.cfg")
	if got := u.last(mac); got != "" {
		t.Errorf("stuck with %q before it had a loader", got)
	}
	u.sent(mac, "/"+loaderShim) // shim, and through it, since Secure Boot is off, iPXE
	u.sent(mac, loaderUnsigned)
	if got := u.last(mac); got != loaderUnsigned {
		t.Errorf("stuck with %q, want %q", got, loaderUnsigned)
	}
	u.progressed(mac)
	if got := u.last(mac); got != "" {
		t.Errorf("stuck with %q after it asked for its script", got)
	}
}

func TestTFTPStages(t *testing.T) {
	dir := "boot/" + images.DigestOf([]byte("image")).Hex()
	for name, want := range map[string]wire.Stage{
		"shimx64.efi": wire.StageTFTP, "/grubx64.efi": wire.StageTFTP, "grub/grub.cfg": wire.StageTFTP,
		"/grub/mac-52-54-00-00-00-01.cfg": wire.StageScript, dir + "/vmlinuz": wire.StageKernel, "/" + dir + "/initramfs": wire.StageInitramfs,
	} {
		if got := tftpStage(name); got != want {
			t.Errorf("%s belongs to %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]bool{
		"/grub/x86_64-efi/command.lst": true, "revocations.efi": true, "//shim_certificate_0.efi": true,
		"grub/grub.cfg": false, "mmx64.efi": false, "shimx64.efi": false,
	} {
		if got := askedInVain(name); got != want {
			t.Errorf("askedInVain(%q) = %v", name, got)
		}
	}
}
