package capture

import (
	"regexp"
	"slices"
	"strings"
)

// maxKeyFile is the size of files that are looked into: a bundle of certificates and keys is smaller.
const maxKeyFile = 256 << 10

// privateKey is the first line of one in the textual forms that programs use (RFC 7468, section 10; OpenSSH's PROTOCOL.key;
// OpenPGP, RFC 9580 section 6.2).
var privateKey = regexp.MustCompile(`(?m)^-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----`)

// secretText is what a file holds that stays out for it, wherever somebody has put it.
type secretText struct {
	text *regexp.Regexp
	dirs []string // below which files are looked into
	why  string
}

// secretTexts are searched in order.
var secretTexts = []secretText{
	{privateKey, secretDirs, "holds a private key"},
	// Tokens of appliance/pki: one makes a machine a head, one is the administrator's.
	{regexp.MustCompile(`\bmh[ja]_[A-Za-z0-9_-]{40,}`), secretDirs, "holds a token of the cluster"},
	// A password as crypt(5) hashes it: answers for an installation, a copy of /etc/shadow. Elsewhere in /etc a hash belongs
	// to a program that nodes may need, such as a web server's file of users.
	{regexp.MustCompile(`\$(1|5|6|y|gy|7|2[abxy])\$[./A-Za-z0-9$,=]{20,}`), []string{"root", "home"}, "holds the hash of a password"},
}

// edits are the files that come along changed.
var edits = map[string]edit{
	"etc/shadow":     {lock, "passwords are locked"},
	"etc/gshadow":    {lock, "passwords are locked"},
	"etc/machine-id": {func(string) string { return "" }, machine},
}

type edit struct {
	change func(string) string
	why    string
}

// locked are passwords that no text matches and that tell nothing. What follows "!" of a locked account is its password.
var locked = []string{"*", "!", "!*", "!!"}

// lock takes the passwords out of shadow(5) or gshadow(5). No password gives "*", and sshd lets a key in all the same:
// "!" in front would lock the account for it too where it does not ask PAM (auth.c, LOCKED_PASSWD_PREFIX).
func lock(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		fields := strings.Split(line, ":")
		if len(fields) > 1 && !slices.Contains(locked, fields[1]) {
			fields[1] = "*" // also an empty one, which lets everybody in
		}
		b.WriteString(strings.Join(fields, ":"))
	}
	return b.String()
}
