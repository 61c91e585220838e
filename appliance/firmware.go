package appliance

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"masthead/appliance/dhcp"
	"masthead/appliance/httpboot"
	"masthead/appliance/tftp"
	"masthead/images"
	"masthead/node/wire"
)

// Loaders as images name them, which are the names that firmware asks for, but for one: shim asks for grubShim, always
// by that name, and means the GRUB that can read from the network.
const (
	loaderShim     = "shimx64.efi"
	loaderGRUBNet  = "grubnetx64.efi"
	loaderUnsigned = "snponly.efi"
	grubShim       = "grubx64.efi"
)

// tftpFiles opens what firmware and signed GRUB fetch, out of the images as they are now.
func (h *Head) tftpFiles(name string) (tftp.File, error) {
	if name == httpboot.GRUBStart {
		return memoryFile{strings.NewReader(string(httpboot.GRUBConfig()))}, nil
	}
	if mac, ok := httpboot.GRUBMachine(name); ok {
		return h.grubScript(mac)
	}
	if image, kernel, ok := httpboot.GRUBFile(name); ok {
		return h.boot.Part(image, kernel)
	}
	if name == grubShim {
		name = loaderGRUBNet
	}
	if askedInVain(name) {
		return nil, os.ErrNotExist
	}
	d, ok, err := h.loader(name)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, os.ErrNotExist
	}
	data, err := images.ReadBlob(h.library, d, maxLoader)
	if err != nil {
		return nil, err
	}
	return memoryFile{strings.NewReader(string(data))}, nil
}

// maxLoader is more than any first loader: signed GRUB has 4 MB.
const maxLoader = 16 << 20

type memoryFile struct{ *strings.Reader }

func (memoryFile) Close() error { return nil }

// grubScript is the script of one machine, for signed GRUB.
func (h *Head) grubScript(mac string) (tftp.File, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	h.uefi.progressed(mac)
	body, err := h.boot.GRUB(ctx, httpboot.Query{MAC: mac, Base: plainURL(h.cfg.Address.Addr(), h.cfg.HTTP)})
	if err != nil { // the machine shows it, and asks again
		h.observe(mac, wire.StageResult{Stage: wire.StageScript, Outcome: wire.OutcomeFailed, Cause: err.Error(), Time: time.Now().UTC()},
			wire.Event{Time: time.Now(), Kind: "tftp", MAC: mac, Failed: true, Text: err.Error()})
	}
	return memoryFile{strings.NewReader(string(body))}, nil
}

// tftpStage is the stage of a boot that a file belongs to.
func tftpStage(name string) wire.Stage {
	name = strings.TrimPrefix(name, "/")
	if _, ok := httpboot.GRUBMachine(name); ok {
		return wire.StageScript
	}
	if _, kernel, ok := httpboot.GRUBFile(name); ok {
		if kernel {
			return wire.StageKernel
		}
		return wire.StageInitramfs
	}
	return wire.StageTFTP
}

// askedInVain reports names that shim and GRUB ask for in case they are there: further certificates and revocations,
// lists of modules.
func askedInVain(name string) bool {
	name = strings.TrimLeft(name, "/")
	for _, prefix := range []string{"grub/x86_64-efi/", "shim_certificate", "revocations"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// uefiLoaders remembers which first loader a UEFI machine was given and did nothing with: whether Secure Boot is on,
// its request does not say.
type uefiLoaders struct {
	mu    sync.Mutex
	stuck map[string]string // by MAC: the first loader that it has and that has not asked for its script
	has   recent[bool]      // an image here has the signed loaders
}

// maxStuck bounds what is remembered of strangers.
const maxStuck = 10_000

// sent notes that a machine has a file.
func (u *uefiLoaders) sent(mac, name string) {
	name = strings.TrimPrefix(name, "/")
	if mac == "" || (name != loaderShim && name != loaderUnsigned) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stuck == nil || len(u.stuck) >= maxStuck {
		u.stuck = map[string]string{}
	}
	u.stuck[mac] = name
}

// progressed notes that its loader ran and asked for a script.
func (u *uefiLoaders) progressed(mac string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.stuck, mac)
}

func (u *uefiLoaders) last(mac string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.stuck[mac]
}

// wantsSigned decides for a machine of which a running system has said whether Secure Boot is on ("": never), and whose
// last loader got it nowhere ("": it did). Shim and GRUB start every machine. iPXE is faster, but firmware with Secure Boot
// refuses it and comes to a stand until somebody restarts it, so only a machine that is known to have it off gets that.
func wantsSigned(secureBoot, stuck string) bool {
	switch stuck {
	case loaderUnsigned: // Secure Boot is on by now
		return true
	case loaderShim: // a firmware that shim or GRUB cannot work with
		return secureBoot == wire.SecureBootOn
	}
	return secureBoot != wire.SecureBootOff
}

// signedLoader answers dhcp.Config.Signed.
func (h *Head) signedLoader(mac dhcp.MAC) bool {
	m := macText(mac)
	inv, _ := h.reg.Inventory(m)
	return h.hasSigned() && wantsSigned(inv.SecureBoot, h.uefi.last(m))
}

// hasSigned reports whether an image that is here brought the signed loaders. Images of earlier versions have none. DHCP asks
// for each packet.
func (h *Head) hasSigned() bool {
	has, err := h.uefi.has.get(func() (bool, error) {
		files, err := h.loaders(&h.library.shelf) // asks no other head
		_, shim := files[loaderShim]
		_, grub := files[loaderGRUBNet]
		return shim && grub, err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.log.Error("loaders", "err", err)
	}
	return has
}
