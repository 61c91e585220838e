package disk

import (
	"fmt"
	"strings"

	"masthead/images"
)

// GRUBPrefix is where core.img looks for its configuration: on the EFI system partition of the disk that the BIOS
// started, by its number, since that needs no search through all disks and cannot find another installed disk.
const GRUBPrefix = "(,gpt2)/grub"

// GRUBModules is what core.img needs to work through the configuration. The signed GRUB for UEFI has them all, and
// under Secure Boot it loads no others.
func GRUBModules() []string {
	return []string{
		"biosdisk", "part_gpt", "part_msdos", "fat", "iso9660", // the disk, and a slot
		"normal", "configfile", "loadenv", "test", "regexp", "echo", "sleep", // the configuration
		"linux", "serial", "terminal", "reboot", "halt",
		"ls", "cat", "search", "search_fs_file", "search_label", "probe", // for a person at the prompt
	}
}

// CmdlineScript is images.MediumCmdline of an ISO with that kernel command line: a function that loads the kernel below
// $from with it and with the arguments that it is given.
func CmdlineScript(cmdline string) (string, error) {
	words, err := Words(cmdline)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("function masthead_linux {\n  linux $from/%s %s \"$@\"\n}\n", images.MediumKernel, words), nil
}

// Words turns a kernel command line into words of GRUB's script language. GRUB puts what has spaces into quotes again,
// and a backslash before each quote and backslash, which the kernel would not take away (grub-core/lib/cmdline.c).
func Words(cmdline string) (string, error) {
	var words []string
	var word strings.Builder
	quoted := false
	flush := func() {
		if word.Len() > 0 {
			words = append(words, "'"+word.String()+"'")
			word.Reset()
		}
	}
	for _, r := range cmdline {
		switch {
		case r < ' ' || r > '~' || r == '\'' || r == '\\':
			return "", fmt.Errorf("kernel command line %q: GRUB passes on no %q", cmdline, r)
		case r == '"':
			quoted = !quoted
		case r == ' ' && !quoted:
			flush()
		default:
			word.WriteRune(r)
		}
	}
	if quoted {
		return "", fmt.Errorf("kernel command line %q: a \" without its pair", cmdline)
	}
	flush()
	return strings.Join(words, " "), nil
}

// redirect is what signed GRUB finds: its prefix is built in, and a partition's $root is where it was started from.
const redirect = "set prefix=($root)/grub\nsource $prefix/grub.cfg\n"

// console is the beginning of a configuration. UEFI firmware shows its console on the serial port itself, if it is set
// to; a BIOS does not. Of the keys only Esc ends the countdown for good: noise on a serial line must not stop a machine
// that nobody watches.
func (c Config) console() string {
	var b strings.Builder
	// Text is what a BIOS starts with; under UEFI the kernel draws on the firmware's screen, and needs it kept.
	b.WriteString("set gfxpayload=keep\nif [ \"$grub_platform\" = pc ]; then\n  set gfxpayload=text\n")
	if c.Serial {
		b.WriteString("  if serial --unit=0 --speed=115200; then\n" +
			"    terminal_input console serial\n" +
			"    terminal_output console serial\n" +
			"  fi\n")
	}
	fmt.Fprintf(&b, "fi\nset timeout=%d\nset timeout_style=countdown\n", c.Timeout)
	return b.String()
}

// GRUB is the configuration for the disk of that table, /grub/grub.cfg.
func (c Config) GRUB(t Table) (string, error) {
	words, err := Words(c.Cmdline)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# Starts the slots of this disk. Made by masthead; the next installation makes it anew.\n")
	b.WriteString(c.console())
	b.WriteString(chooseSlot)
	b.WriteString("function start_slot {\n")
	for i, s := range []Slot{SlotA, SlotB} {
		p, ok := t.Slot(s)
		if !ok {
			return "", fmt.Errorf("the partition table has no %s", s.PartitionName())
		}
		fmt.Fprintf(&b, "  %s [ \"$1\" = %s ]; then\n    set medium=%s\n    set from=\"($disk,gpt%d)\"\n", []string{"if", "elif"}[i], s, p.UUID, p.Number)
	}
	fmt.Fprintf(&b, "  fi\n  echo \"masthead: starting slot $1\"\n  source $from/%s\n"+
		"  masthead_linux %s %s=$1 %s=$medium $2 $3 $4 $5\n  initrd $from/%s\n}\n",
		images.MediumCmdline, words, images.KeySlot, images.KeyMedium, images.MediumInitramfs)
	// Their order is that of fallback, in chooseSlot.
	fmt.Fprintf(&b, "menuentry 'masthead' --id masthead {\n  start_slot $start\n}\n"+
		"menuentry 'masthead, slot a' --id slot-a --hotkey=a {\n  start_slot a\n}\n"+
		"menuentry 'masthead, slot b' --id slot-b --hotkey=b {\n  start_slot b\n}\n"+
		"menuentry 'rescue: a shell before the root is mounted' --id rescue --hotkey=r {\n  start_slot $start %s\n}\n", images.KeyRescue)
	b.WriteString("echo 'masthead: Esc for the menu, r for rescue, a or b for that slot'\n")
	return b.String(), nil
}

// MediumGRUB is the configuration by which signed GRUB starts one of our ISOs from a CD or a stick. mark is a file of
// that ISO which no other has: what firmware calls a CD's boot partition leads GRUB nowhere else.
func MediumGRUB(mark string, timeout int) string {
	c := Config{Timeout: timeout}
	var b strings.Builder
	b.WriteString(c.console())
	fmt.Fprintf(&b, "search --no-floppy --file --set=root %s\nset from=\"($root)\"\nsource $from/%s\n"+
		"function start_medium {\n  masthead_linux \"$@\"\n  initrd $from/%s\n}\n"+
		"menuentry 'masthead' --id masthead {\n  start_medium\n}\n"+
		"menuentry 'install on a disk of this machine' --id install --hotkey=i {\n  start_medium %s\n}\n"+
		"menuentry 'rescue: a shell before the root is mounted' --id rescue --hotkey=r {\n  start_medium %s\n}\n"+
		"set default=masthead\n"+
		"echo 'masthead: Esc for the menu, i to install, r for rescue'\n",
		mark, images.MediumCmdline, images.MediumInitramfs, images.KeyInstall+"="+images.InstallByAsking, images.KeyRescue)
	return b.String()
}

// chooseSlot reads the environment block (see Env) and sets start, and fallback, which GRUB starts where the kernel of
// the first cannot be loaded. A slot that is to be tried is started only if that could be noted: otherwise it would be
// tried for ever.
//
// fallback is the place of a menu entry, from 0 on: unlike default it takes no --id (GRUB 2.06 and 2.12,
// grub-core/normal/menu.c, get_and_remove_first_entry_number).
const chooseSlot = `regexp --set=1:disk '^([^,]*),' "$root"
load_env --file $prefix/grubenv slot try tried
if [ "$try" = a -o "$try" = b ]; then
  set tried=$try
  set try=
  if save_env --file $prefix/grubenv try tried; then
    set start=$tried
  fi
fi
if [ -z "$start" ]; then
  set start=$slot
fi
if [ "$start" = b ]; then
  set fallback=1
else
  set start=a
  set fallback=2
fi
set default=masthead
`
