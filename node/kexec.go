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
	"slices"
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
	cmdline := line("/proc/cmdline")
	if running, err := runningManifest(); err == nil {
		cmdline = withWords(cmdline, running.Cmdline, m.Cmdline)
	}
	cmdline = withImage(cmdline, image)
	if err := kexec.FileLoad(kernel, ramfs, cmdline); err != nil {
		return "", fmt.Errorf("kexec: load kernel %s: %w", m.KernelRelease, err)
	}
	return fmt.Sprintf("%s %s, kernel %s", m.Name, image.Short(), m.KernelRelease), nil
}

// runningManifest is that of the image that this machine runs.
func runningManifest() (images.Manifest, error) {
	data, err := os.ReadFile(images.RunManifest)
	if err != nil {
		return images.Manifest{}, fmt.Errorf("read what this machine runs: %w", err)
	}
	m, err := images.DecodeManifest(data)
	if err != nil {
		return images.Manifest{}, fmt.Errorf("read what this machine runs: %w", err)
	}
	return m, nil
}

// withWords is a command line with the arguments of the next image in the place of those of the one before, which stand
// there together (appliance/httpboot, arguments). Where they do not, as when somebody has edited them at a prompt, nothing
// is changed.
func withWords(cmdline, before, next string) string {
	words, old := strings.Fields(cmdline), strings.Fields(before)
	if len(old) == 0 {
		return strings.Join(append(strings.Fields(next), words...), " ")
	}
	for i := range words {
		if i+len(old) <= len(words) && slices.Equal(words[i:i+len(old)], old) {
			return strings.Join(slices.Concat(words[:i], strings.Fields(next), words[i+len(old):]), " ")
		}
	}
	return cmdline
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
	spec, head, err := askAgain(ctx, cfg)
	if err != nil {
		return nil, "", err
	}
	return &headBlobs{ctx, wire.NewClient(head, cfg.CA, spec.Token)}, spec.Image, nil
}

// askAgain asks the heads what this machine, which runs, is to run when it starts next. It gives the answer of the first
// that does, and its URL.
func askAgain(ctx context.Context, cfg agent.Config) (wire.Spec, string, error) {
	var errs []error
	for _, h := range cfg.Spec.Heads {
		c := wire.NewClient(h.URL, cfg.CA, "")
		spec, err := c.Hello(ctx, cfg.Hello())
		c.Close()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if spec.Verdict != wire.VerdictBoot {
			return wire.Spec{}, "", fmt.Errorf("%s: %s", spec.Verdict, spec.Reason)
		}
		return spec, h.URL, nil
	}
	return wire.Spec{}, "", errors.Join(errs...)
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

// Way is how a machine restarts.
type Way string

const (
	Firmware Way = "reboot"      // through the firmware
	Kexec    Way = "kexec"       // into the kernel that LoadKexec loaded
	Soft     Way = "soft-reboot" // into the root that PrepareSoft put together; the kernel goes on
)

// systemd reports whether PID 1 is systemd: not by /run/systemd, where our own units lie on every machine.
func systemd() bool { return line("/proc/1/comm") == "systemd" }

// Restart ends this machine in order and starts it again. It returns as soon as PID 1 knows.
func Restart(ctx context.Context, way Way) error {
	if systemd() {
		cmd := exec.CommandContext(ctx, "systemctl", string(way))
		// What is mounted at /run/nextroot must not turn a restart into a soft one (systemctl(1)).
		cmd.Env = append(os.Environ(), "SYSTEMCTL_SKIP_AUTO_SOFT_REBOOT=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("systemctl %s: %w: %s", way, err, out)
		}
		return nil
	}
	sig := signalReboot
	switch way {
	case Kexec:
		sig = signalKexec
	case Soft:
		return errNoSystemd
	}
	if err := unix.Kill(1, sig); err != nil {
		return fmt.Errorf("tell PID 1 to restart: %w", err)
	}
	return nil
}
