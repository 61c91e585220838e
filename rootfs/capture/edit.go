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
