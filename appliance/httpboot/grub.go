package httpboot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"masthead/images"
)

// Under Secure Boot firmware starts shim, shim the distribution's GRUB, and that one only kernels which the
// distribution has signed; iPXE is signed by nobody. That GRUB speaks TFTP, so everything comes by TFTP. It asks for
// GRUBStart, and for GRUBPrefix and the machine's MAC address, with dashes, and GRUBSuffix.
const (
	GRUBStart  = "grub/grub.cfg"
	GRUBPrefix = "grub/mac-"
	GRUBSuffix = ".cfg"
)

// GRUBConfig is GRUBStart, the same for all machines: each loads its own script until that boots it. Firmware that checks no
// signatures boots by it as well. iPXE, which would be faster there, finds no network card when GRUB starts it.
func GRUBConfig() []byte {
	return []byte(`regexp --set=1:a --set=2:b --set=3:c --set=4:d --set=5:e --set=6:f '^(..):(..):(..):(..):(..):(..)$' "$net_default_mac"
while true; do
  set asked=
  source ($root)/` + GRUBPrefix + `$a-$b-$c-$d-$e-$f` + GRUBSuffix + `
  echo 'masthead: trying again in ` + fmt.Sprint(retrySeconds) + ` seconds'
  sleep ` + fmt.Sprint(retrySeconds) + `
done
`)
}

// GRUBMachine reads the MAC address out of the name of a machine's script.
func GRUBMachine(name string) (mac string, ok bool) {
	s, found := strings.CutPrefix(name, GRUBPrefix)
	s, ending := strings.CutSuffix(s, GRUBSuffix)
	hw, err := net.ParseMAC(s)
	if !found || !ending || err != nil || len(hw) != 6 || s != strings.ReplaceAll(hw.String(), ":", "-") {
		return "", false
	}
	return hw.String(), true
}

// GRUBName is the name of a machine's script.
func GRUBName(mac string) string { return GRUBPrefix + strings.ReplaceAll(mac, ":", "-") + GRUBSuffix }

// GRUBFile is a kernel or initramfs that a script names, by TFTP.
func GRUBFile(name string) (image images.Digest, kernel, ok bool) {
	rest, found := strings.CutPrefix(name, grubBoot)
	id, file, _ := strings.Cut(rest, "/")
	d, err := images.ParseDigest(id)
	if !found || err != nil || (file != nameKernel && file != nameInitramfs) {
		return "", false, false
	}
	return d, file == nameKernel, true
}

const grubBoot = "boot/"

// GRUB is the script by which signed GRUB boots the machine that asks: it reads as Script, for another loader. The
// error is for the record; the script is always one that can be run.
func (h *Handler) GRUB(ctx context.Context, q Query) ([]byte, error) {
	m, err := h.conf.Target(ctx, q)
	if err != nil {
		return grubWait(q.MAC, err), err
	}
	if m.Local {
		return grubLocal(m), nil
	}
	parts, err := h.image(m.Image)
	if err != nil {
		return grubWait(q.MAC, err), err
	}
	m.MAC = q.MAC
	body, err := grubScript(m, parts.cmdline)
	if err != nil {
		return grubWait(q.MAC, err), err
	}
	return body, nil
}

// grubLocal starts the loader of an installed head's own disk, which is told by the file that only its EFI partition has.
// GRUB cannot end with an error, as which firmware would go on with the next boot entry.
func grubLocal(m Machine) []byte {
	return []byte("echo " + grubText("masthead: "+m.Name+" starts from its own disk") + `
search --no-floppy --set=disk --file /grub/grubenv
if chainloader ($disk)/EFI/BOOT/BOOTX64.EFI; then boot; fi
exit
`)
}

func grubScript(m Machine, own string) ([]byte, error) {
	line, err := arguments(m, own)
	if err == nil {
		line, err = grubWords(line)
	}
	if err != nil {
		return nil, fmt.Errorf("boot script of %s: %w", m.Name, err)
	}
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	image := m.Image.Short()
	if m.Tag != "" {
		image = m.Tag + " " + image
	}
	// $root is the head that this script came from, unless another was asked.
	say("if [ -z \"$asked\" ]; then set head=$root; fi")
	say("echo %s$head", grubText("masthead: "+m.Name+" boots image "+image+" from "))
	dir := grubBoot + m.Image.Hex() + "/"
	say("if linux ($head)/%s%s %s; then", dir, nameKernel, line)
	say("  echo 'masthead: the kernel is here, loading the initramfs'")
	say("  if initrd ($head)/%s%s; then", dir, nameInitramfs)
	say("    boot")
	say("  fi")
	say("fi")
	say("echo %s", grubText("masthead: "+m.Name+" could not be started"))
	say("echo %s", grubText("masthead: on the head, type: masthead node why "+m.Name))
	for i, other := range grubHeads(m.Others) {
		if i == 0 {
			say("if [ -z \"$asked\" ]; then")
			say("  set asked=1")
		}
		say("  echo 'masthead: asking %s'", other)
		say("  set head=tftp,%s", other)
		say("  source ($head)/%s", GRUBName(m.MAC))
	}
	if len(grubHeads(m.Others)) > 0 {
		say("fi")
	}
	return []byte(b.String()), nil
}

// grubHeads are the addresses of heads: GRUB speaks TFTP with them, whatever port their HTTP is on.
func grubHeads(urls []string) []netip.Addr {
	var heads []netip.Addr
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			continue
		}
		if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.Is4() {
			heads = append(heads, ip)
		}
	}
	return heads
}

// grubWait is the script for a machine that has nothing to boot.
func grubWait(mac string, err error) []byte {
	body := "echo " + grubText("masthead: nothing to boot for "+mac+": "+err.Error()) + "\n"
	var tryer interface{ Try() string }
	if errors.As(err, &tryer) && tryer.Try() != "" {
		body += "echo " + grubText("masthead: on the head, type: "+tryer.Try()) + "\n"
	}
	return []byte(body)
}

// grubText makes a text one word of GRUB's script language.
func grubText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '\'' {
			return ' '
		}
		return r
	}, s)
	return "'" + s + "'"
}

// grubWords makes words of kernel arguments. GRUB joins them again, puts what has spaces in double quotes, and a
// backslash before quotes and backslashes, which the kernel would keep (grub-core/lib/cmdline.c).
func grubWords(line string) (string, error) {
	if i := strings.IndexAny(line, `'\`); i >= 0 {
		return "", fmt.Errorf("GRUB does not pass on %q", line[i])
	}
	var words []string
	quoted := false
	for word := range strings.FieldsFuncSeq(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	}) {
		words = append(words, "'"+strings.ReplaceAll(word, `"`, "")+"'")
	}
	return strings.Join(words, " "), nil
}
