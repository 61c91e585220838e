package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/u-root/u-root/pkg/boot/kexec"
	"golang.org/x/sys/unix"

	"masthead/images"
	"masthead/node/agent"
	"masthead/node/wire"
)

// LoadKexec loads the kernel and the initramfs of the image that this machine runs, or of the one that its head wants
// it to run now, so that the next restart goes straight into them and skips the firmware, which takes minutes on a
// server. It returns what was loaded, for people.
func LoadKexec(ctx context.Context, cfg agent.Config) (string, error) {
	blobs, image, err := kexecSource(ctx, cfg)
	if err != nil {
		return "", fmt.Errorf("kexec: %w", err)
	}
	m, err := images.ReadManifest(blobs, image)
	if err != nil {
		return "", fmt.Errorf("kexec: %w", err)
	}
	kernel, err := memoryFile(blobs, "vmlinuz", m.Kernel)
	if err != nil {
		return "", fmt.Errorf("kexec: %w", err)
	}
	defer kernel.Close()
	ramfs, err := memoryFile(blobs, "initramfs", m.Initramfs)
	if err != nil {
		return "", fmt.Errorf("kexec: %w", err)
	}
	defer ramfs.Close()
	// The command line of this boot names the heads, the CA and the NIC.
	cmdline := withImage(line("/proc/cmdline"), image)
	if err := kexec.FileLoad(kernel, ramfs, cmdline); err != nil {
		return "", fmt.Errorf("kexec: load kernel %s: %w", m.KernelRelease, err)
	}
	return fmt.Sprintf("%s %s, kernel %s", m.Name, image.Short(), m.KernelRelease), nil
}

// withImage is a command line that names another image. The word is replaced, not added: a machine that restarts this
// way a hundred times must not outgrow COMMAND_LINE_SIZE.
func withImage(cmdline string, image images.Digest) string {
	var words []string
	for _, w := range strings.Fields(cmdline) {
		if !strings.HasPrefix(w, images.KeyImage+"=") {
			words = append(words, w)
		}
	}
	return strings.Join(append(words, images.KeyImage+"="+string(image)), " ")
}

// kexecSource says where the next kernel comes from: the medium, or the head that answers first.
func kexecSource(ctx context.Context, cfg agent.Config) (images.BlobReader, images.Digest, error) {
	pack, err := images.OpenPackFile(filepath.Join(images.MediumMount, images.MediumPack))
	if err == nil {
		return pack, cfg.Image, nil
	}
	if len(cfg.Spec.Heads) == 0 {
		return nil, "", errors.New("this machine has neither a medium nor a head to take a kernel from")
	}
	var errs []error
	for _, h := range cfg.Spec.Heads {
		c := wire.NewClient(h.URL, cfg.CA, "")
		spec, err := c.Hello(ctx, cfg.Hello())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if spec.Verdict != wire.VerdictBoot {
			return nil, "", fmt.Errorf("%s: %s", spec.Verdict, spec.Reason)
		}
		return &headBlobs{ctx, wire.NewClient(h.URL, cfg.CA, spec.Token)}, spec.Image, nil
	}
	return nil, "", errors.Join(errs...)
}

// headBlobs reads blobs from a head.
type headBlobs struct {
	ctx    context.Context
	client *wire.Client
}

func (h *headBlobs) Open(d images.Digest) (io.ReadCloser, int64, error) {
	return h.client.Blob(h.ctx, d)
}

// memoryFile is a verified blob as a file in memory, which is what kexec_file_load wants. It goes there directly: kernel
// and initramfs take a small machine's last memory if they are held twice.
func memoryFile(from images.BlobReader, name string, b images.Blob) (_ *os.File, err error) {
	r, _, err := from.Open(b.Digest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(r, b.Size+1))
	if got := images.DigestFromSum(sum.Sum(nil)); err == nil && got != b.Digest {
		err = fmt.Errorf("%d bytes with the digest %s, want %d with %s", n, got, b.Size, b.Digest)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("fetch %s: %w", name, err)
	}
	return f, nil
}

// Restart ends this machine in order and starts it again; with viaKexec into the kernel that LoadKexec loaded. It
// returns as soon as PID 1 knows.
func Restart(ctx context.Context, viaKexec bool) error {
	if line("/proc/1/comm") == "systemd" { // not by /run/systemd, where our own units lie on every machine
		verb := "reboot"
		if viaKexec {
			verb = "kexec"
		}
		out, err := exec.CommandContext(ctx, "systemctl", verb).CombinedOutput()
		if err != nil {
			return fmt.Errorf("systemctl %s: %w: %s", verb, err, out)
		}
		return nil
	}
	sig := signalReboot
	if viaKexec {
		sig = signalKexec
	}
	if err := unix.Kill(1, sig); err != nil {
		return fmt.Errorf("tell PID 1 to restart: %w", err)
	}
	return nil
}
