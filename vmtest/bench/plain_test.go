package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/crypto/ssh"

	"masthead/images"
)

// agentUnit is the unit that masthead's init writes, started through agentScript.
const agentUnit = `[Unit]
Description=masthead agent
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target
StartLimitIntervalSec=0

[Service]
RuntimeDirectory=masthead
ExecStart=/bin/sh /usr/local/sbin/start-agent
Restart=always
RestartSec=1
OOMScoreAdjust=-900
`

// agentScript leaves for the agent what masthead's init would have, and becomes the agent. It runs no other program.
const agentScript = `read -r boot </proc/sys/kernel/random/boot_id
read -r cmdline </proc/cmdline
for word in $cmdline; do
	value=${word#*=}
	case $word in
	` + images.KeyHead + `=*) head=$value ;;
	` + images.KeyCA + `=*) ca=$value ;;
	` + images.KeyNIC + `=*) mac=$value ;;
	` + images.KeyImage + `=*) image=$value ;;
	esac
done
printf '{"role":"worker","boot":"%s","mac":"%s","ca":"%s","image":"%s","spec":{"heads":[{"name":"head","url":"%s"}]}}' \
	"$boot" "$mac" "$ca" "$image" "${head%%,*}" >` + images.RunNode + `
exec /usr/local/bin/masthead agent
`

const networkUnit = "[Match]\nType=ether\n\n[Network]\nDHCP=ipv4\n"

// plainFiles is what a root needs of its own to boot without masthead's init. Without a machine id systemd does the work
// of a first boot.
var plainFiles = map[string]string{
	"etc/hostname":                              "plain\n",
	"etc/machine-id":                            "0123456789abcdef0123456789abcdef\n",
	"etc/systemd/network/80-dhcp.network":       networkUnit,
	"etc/systemd/system/masthead-agent.service": agentUnit,
	"usr/local/sbin/start-agent":                agentScript,
}

// plainLinks are the first program of the initramfs, and the units that `systemctl enable` would turn on.
var plainLinks = map[string]string{
	"init": "sbin/init",
	"etc/systemd/system/sysinit.target.wants/masthead-agent.service":      "/etc/systemd/system/masthead-agent.service",
	"etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "/usr/lib/systemd/system/systemd-networkd.service",
}

// plainTree makes an unpacked root one that boots without masthead's init.
func plainTree(b testing.TB, tree string) {
	b.Helper()
	for name, content := range plainFiles {
		writeFile(b, filepath.Join(tree, name), content, 0o644)
	}
	writeFile(b, filepath.Join(tree, "etc/ssh/ssh_host_ed25519_key"), hostKey(b), 0o600)
	for name, target := range plainLinks {
		link(b, filepath.Join(tree, name), target)
	}
	copyFile(b, filepath.Join(tree, "usr/local/bin/masthead"), program(b))
}

// hostKey is what sshd does not start without.
func hostKey(b testing.TB) string {
	b.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		b.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

// putImage puts the image m under another name, and with a tree as its initramfs, into the store. The head serves its
// kernel and its initramfs as those of any image; nobody asks for its root.
func putImage(b testing.TB, store *images.Store, m images.Manifest, name, tree string) images.Digest {
	b.Helper()
	r, w := io.Pipe()
	go func() { w.CloseWithError(pack(b.Context(), tree, w)) }() // ends when Put has read all, or closes r
	blob, err := store.Put(r)
	r.Close()
	if err != nil {
		b.Fatal(err)
	}
	m.Name, m.Initramfs = name, blob
	d, err := store.PutManifest(m)
	if err != nil {
		b.Fatal(err)
	}
	if err := store.Tag(name, d); err != nil {
		b.Fatal(err)
	}
	b.Logf("%s: an initramfs of %.1f MB", name, mb(blob.Size))
	return d
}

// pack writes a tree as a zstd cpio, at the level that chunks have.
func pack(ctx context.Context, tree string, w io.Writer) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", "find . | LC_ALL=C sort | cpio -o -H newc --quiet")
	cmd.Dir, cmd.Stdout, cmd.Stderr = tree, z, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("pack %s: %w", tree, err)
	}
	return z.Close()
}
