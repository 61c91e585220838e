package install

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"masthead/images"
	"masthead/images/strict"
)

// Answers are what an installation must be told. Text comes from a file or from a screen.
type Answers struct {
	Disk  string `yaml:"disk"`            // auto, or the path, name or serial number of a disk
	Erase string `yaml:"erase,omitempty"` // serial number of a disk that has something on it, which is lost
	// Again installs a disk again that was installed with these very answers: else a machine that starts its ISO again would
	// begin anew each time.
	Again bool `yaml:"again,omitempty"`

	Name    string       `yaml:"name,omitempty"`    // of the head; left out: head1
	Address string       `yaml:"address"`           // ADDRESS/PREFIX, or dhcp
	Gateway string       `yaml:"gateway,omitempty"` // left out: none
	DNS     string       `yaml:"dns,omitempty"`
	NIC     string       `yaml:"nic,omitempty"`  // MAC address or name; left out: the first with a link
	VIP     netip.Prefix `yaml:"vip,omitempty"`  // left out: none yet
	Mail    []string     `yaml:"mail,omitempty"` // who is told when something is wrong
	Server  string       `yaml:"mail_server,omitempty"`

	Password     string   `yaml:"password,omitempty"`      // root's
	PasswordHash string   `yaml:"password_hash,omitempty"` // the same as crypt(5) hashes it
	SSHKeys      []string `yaml:"ssh_keys,omitempty"`      // authorized_keys lines for root

	Cmdline string `yaml:"cmdline,omitempty"` // added to the kernel command line
	Serial  bool   `yaml:"serial,omitempty"`  // GRUB's menu on the first serial port too
	After   After  `yaml:"after,omitempty"`   // left out: poweroff
}

// After is what the machine does when it is installed.
type After string

// The ends of an installation.
const (
	PowerOff After = "poweroff"
	Restart  After = "restart"
	Stay     After = "stay"
)

// AutoDisk takes the only disk that is blank and large enough.
const AutoDisk = "auto"

// AddressDHCP lets somebody else's DHCP server say what the head's address is.
const AddressDHCP = "dhcp"

// defaultName is that of the first head of a cluster.
const defaultName = "head1"

// ParseAnswers reads a file of answers. Every error names its line, all of them joined.
func ParseAnswers(file string, data []byte) (Answers, error) {
	var a Answers
	lines, err := strict.Decode(file, data, &a)
	if errors.Is(err, strict.ErrEmpty) {
		return a, &strict.FieldError{File: file, Reason: "no answers in it"}
	}
	errs := []error{err}
	if lines != nil {
		for _, p := range a.problems() {
			if strict.Names(err, p.field) {
				continue
			}
			errs = append(errs, &strict.FieldError{File: file, Line: lines.Of(p.field), Field: p.field, Value: p.value, Reason: p.reason})
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Answers{}, err
	}
	return a.withDefaults(), nil
}

// Check is all that can be told to be wrong from the answers alone.
func (a Answers) Check() error {
	var errs []error
	for _, p := range a.problems() {
		errs = append(errs, &strict.FieldError{File: "answers", Field: p.field, Value: p.value, Reason: p.reason})
	}
	return errors.Join(errs...)
}

// Wrong is what is wrong with one of the answers; the others may not be there yet.
func (a Answers) Wrong(field string) error {
	for _, p := range a.problems() {
		if p.field == field || strings.HasPrefix(p.field, field+"[") {
			return fmt.Errorf("%q %s", p.value, p.reason)
		}
	}
	return nil
}

func (a Answers) withDefaults() Answers {
	if a.Name == "" {
		a.Name = defaultName
	}
	if a.After == "" {
		a.After = PowerOff
	}
	return a
}

// problem is one thing wrong with one answer.
type problem struct{ field, value, reason string }

var (
	mailPattern = regexp.MustCompile(`^[^@\s,;<>]+@[^@\s,;<>]+$`)
	nicPattern  = regexp.MustCompile(`^[A-Za-z0-9._-]{1,15}$|^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$`)
	hashPattern = regexp.MustCompile(`^\$[A-Za-z0-9]+\$[A-Za-z0-9./$=,]+$`)
)

func (a Answers) problems() []problem {
	var all []problem
	bad := func(field, value, reason string) { all = append(all, problem{field, value, reason}) }
	if a.Disk == "" {
		bad("disk", "", "want auto, or the path or serial number of a disk")
	}
	if a.Name != "" {
		if err := images.ValidHost(a.Name); err != nil {
			bad("name", a.Name, err.Error())
		}
	}
	a.addressProblems(bad)
	for i, m := range a.Mail {
		if !mailPattern.MatchString(m) {
			bad(fmt.Sprintf("mail[%d]", i), m, "is no mail address")
		}
	}
	if a.Server != "" && len(a.Mail) == 0 {
		bad("mail_server", a.Server, "nobody gets the mail: mail is left out")
	}
	if strings.ContainsAny(a.Server, " \t\n\"") {
		bad("mail_server", a.Server, "want HOST or HOST:PORT")
	}
	if a.NIC != "" && !nicPattern.MatchString(a.NIC) {
		bad("nic", a.NIC, "want a MAC address or the name of an interface")
	}
	if a.Password != "" && a.PasswordHash != "" {
		bad("password_hash", "", "password is there as well: want one of them")
	}
	if a.PasswordHash != "" && !hashPattern.MatchString(a.PasswordHash) {
		bad("password_hash", "", "want a hash as openssl passwd -6 prints it")
	}
	for i, k := range a.SSHKeys {
		if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k)); err != nil {
			bad(fmt.Sprintf("ssh_keys[%d]", i), k, "is no public key as in authorized_keys")
		}
	}
	if strings.ContainsAny(a.Cmdline, "\n\\'$") {
		bad("cmdline", a.Cmdline, "want words for the kernel, in one line")
	}
	if !slices.Contains([]After{"", PowerOff, Restart, Stay}, a.After) {
		bad("after", string(a.After), "want poweroff, restart or stay")
	}
	return all
}

func (a Answers) addressProblems(bad func(field, value, reason string)) {
	if a.Address == AddressDHCP {
		if a.Gateway != "" {
			bad("gateway", a.Gateway, "DHCP tells it where the address is dhcp")
		}
		return
	}
	p, err := netip.ParsePrefix(a.Address)
	if err != nil {
		bad("address", a.Address, "want ADDRESS/PREFIX, such as 10.77.0.1/24, or dhcp")
		return
	}
	for _, f := range []struct{ field, value string }{{"gateway", a.Gateway}, {"dns", a.DNS}} {
		if f.value == "" {
			continue
		}
		addr, err := netip.ParseAddr(f.value)
		switch {
		case err != nil:
			bad(f.field, f.value, "is no address")
		case f.field == "gateway" && !p.Contains(addr):
			bad(f.field, f.value, "is not in the network "+p.Masked().String())
		case f.field == "gateway" && addr == p.Addr():
			bad(f.field, f.value, "is this head's own address")
		}
	}
	if !a.VIP.IsValid() {
		return
	}
	switch v := a.VIP; {
	case v.Addr() == p.Addr():
		bad("vip", v.String(), "is this head's own address; the virtual one is nobody's own")
	case !p.Contains(v.Addr()):
		bad("vip", v.String(), "is not in the head's network "+p.Masked().String())
	}
}
