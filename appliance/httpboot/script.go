package httpboot

import (
	"errors"
	"fmt"
	"strings"

	"masthead/images"
	"masthead/node/wire"
)

// Machine is what a boot script is for.
type Machine struct {
	Name string // as consoles show it
	MAC  string // lower case, with colons; of the NIC that boots
	// Image is what it boots, Tag what people call it.
	Image images.Digest
	Tag   string
	// Boot is masthead's part of the command line. Image, and NIC if it is empty, are filled in.
	Boot images.Boot
	// Local: it starts from its own disk; all else but Name is of no use then.
	Local bool
	// Others are the other heads that can boot it, http URLs without a path, in the order to try when this one fails.
	Others []string
	// Cmdline comes after the image's own arguments and masthead's, so that it can change both.
	Cmdline string
}

// Names of the loaded files. A kernel's EFI stub finds its initramfs by the name in initrd=.
const (
	nameKernel    = "vmlinuz"
	nameInitramfs = "initramfs"
)

// retrySeconds is how long iPXE waits before it tries again: a head that restarts is back by then, and a console can
// be read.
const retrySeconds = 10

// stalled is how many milliseconds a download may stand still before iPXE gives it up. Without it iPXE waits for ever
// for a head that lost its power: TCP has nothing to send that would be missed. A head that restarts is back in less.
const stalled = 10_000

// commandLine is all that iPXE tells a machine's kernel.
func commandLine(m Machine, own string) (string, error) {
	line, err := arguments(m, own)
	if err != nil {
		return "", err
	}
	return "initrd=" + nameInitramfs + " " + line, nil
}

// arguments are what a machine's kernel is told by any loader.
func arguments(m Machine, own string) (string, error) {
	boot := m.Boot
	boot.Image = m.Image
	if boot.NIC == "" {
		boot.NIC = m.MAC
	}
	var parts []string
	for _, p := range []string{own, boot.String(), m.Cmdline} {
		if err := CheckCmdline(p); err != nil {
			return "", fmt.Errorf("kernel arguments %q: %w", p, err)
		}
		if p = strings.Join(strings.Fields(p), " "); p != "" {
			parts = append(parts, p)
		}
	}
	line := strings.Join(parts, " ")
	// Under UEFI iPXE puts the kernel's name before them. GRUB's BOOT_IMAGE= is about as long as that and initrd=.
	if n := len(nameKernel) + len(" initrd="+nameInitramfs+" ") + len(line); n > maxCmdline {
		return "", fmt.Errorf("the kernel arguments are %d bytes, the kernel takes %d", n, maxCmdline)
	}
	return line, nil
}

// Script is the iPXE script that boots a machine from the head at base, an http URL without a path. own are the
// image's kernel arguments. When a step fails, the console says which, and the script is fetched again: what the
// administrator changed meanwhile counts.
func Script(base string, m Machine, own string) ([]byte, error) {
	line, err := commandLine(m, own)
	if err != nil {
		return nil, fmt.Errorf("boot script of %s: %w", m.Name, err)
	}
	image := m.Image.Short()
	if m.Tag != "" {
		image = m.Tag + " " + image
	}
	dir := base + wire.PlainBoot + m.Image.Hex() + "/"
	query := "?mac=" + m.MAC
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("#!ipxe")
	say("echo")
	say("echo masthead: %s boots image %s from %s", plain(m.Name), plain(image), base)
	say("imgfree")
	say("set step the kernel")
	say("kernel --timeout %d --name %s %s%s%s %s || goto failed", stalled, nameKernel, dir, nameKernel, query, line)
	say("set step the initramfs")
	say("initrd --timeout %d --name %s %s%s%s || goto failed", stalled, nameInitramfs, dir, nameInitramfs, query)
	say("set step and start it")
	say("boot || goto failed")
	say(":failed")
	say("echo")
	say("echo masthead: %s could not load ${step} (iPXE error ${errno})", plain(m.Name))
	say("echo masthead: on the head, type: masthead node why %s", plain(m.Name))
	for _, other := range m.Others {
		say("echo masthead: asking %s", other)
		say("chain --autofree --replace --timeout %d %s%s?mac=%s ||", stalled, other, wire.PlainScript, m.MAC)
	}
	again(say, base, m.MAC)
	return []byte(b.String()), nil
}

// Wait is the script for a machine that has nothing to boot yet: it says why, and asks again.
func Wait(base, mac, reason, try string) []byte {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("#!ipxe")
	say(":failed")
	say("echo")
	say("echo masthead: nothing to boot for %s: %s", plain(mac), plain(reason))
	if try != "" {
		say("echo masthead: on the head, type: %s", plain(try))
	}
	again(say, base, mac)
	return []byte(b.String())
}

func again(say func(string, ...any), base, mac string) {
	say("echo masthead: trying again in %d seconds", retrySeconds)
	say("sleep %d", retrySeconds)
	say("chain --autofree --replace --timeout %d %s%s?mac=%s || goto failed", stalled, base, wire.PlainScript, mac)
}

// Local is the script for a machine that starts from its own disk. UEFI goes on with the next of its boot entries when a
// loader ends with an error (UEFI 2.10, 3.1.1); what a BIOS does then is its maker's choice, so iPXE starts the first disk
// itself.
func Local(m Machine) []byte {
	return []byte("#!ipxe\necho masthead: " + plain(m.Name) + " starts from its own disk\n" +
		"iseq ${platform} efi && exit 1 ||\nsanboot --no-describe --drive 0x80 || exit 1\n")
}

// ask is the script for a loader that did not say which NIC it booted from: it asks again and says so.
func ask(base string) []byte {
	return []byte("#!ipxe\nchain --replace " + base + wire.PlainScript + "?mac=${netX/mac}\n")
}

// plain makes a text safe to echo: iPXE would split, expand and end commands in it.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune("${}|&;#", r) {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// Notice is an error that a machine's console shows, with what helps.
type Notice struct {
	Reason string
	Fix    string
}

func (n *Notice) Error() string { return n.Reason }

// Try says what helps.
func (n *Notice) Try() string { return n.Fix }

// waitFor is the script for an error.
func waitFor(base, mac string, err error) []byte {
	try := ""
	var tryer interface{ Try() string }
	if errors.As(err, &tryer) {
		try = tryer.Try()
	}
	return Wait(base, mac, err.Error(), try)
}
