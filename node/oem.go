package node

import (
	"bytes"
	"strings"

	"github.com/u-root/u-root/pkg/smbios"
)

// smbiosOEMStrings is table type 11 of DSP0134 7.12: words that a hypervisor or a vendor hands to the operating system.
const smbiosOEMStrings = smbios.TableType(11)

// credentialPrefix marks an OEM string that is a secret and not a word of the command line.
const credentialPrefix = "masthead.credential."

// oemStrings gives what the machine's owner left in the SMBIOS OEM strings for us: words for the command line, which
// win over the kernel's own, and credentials by name. A machine without such a table has none.
func oemStrings(info *smbios.Info) (words []string, credentials map[string]string) {
	credentials = map[string]string{}
	if info == nil {
		return nil, credentials
	}
	for _, t := range info.GetTablesByType(smbiosOEMStrings) {
		raw, err := t.MarshalBinary()
		if err != nil {
			continue
		}
		for _, text := range bytes.Split(raw[t.Len():], []byte{0}) {
			word, credential := oemWord(string(text))
			if credential[0] != "" {
				credentials[credential[0]] = credential[1]
			} else if word != "" {
				words = append(words, word)
			}
		}
	}
	return words, credentials
}

// oemWord sorts one OEM string: a word, a credential {name, value}, or nothing of ours.
func oemWord(s string) (word string, credential [2]string) {
	if rest, ok := strings.CutPrefix(s, credentialPrefix); ok {
		name, value, ok := strings.Cut(rest, "=")
		if !ok || name == "" || strings.ContainsAny(name, "/\x00") || name == "." || name == ".." {
			return "", [2]string{}
		}
		return "", [2]string{name, value}
	}
	if strings.HasPrefix(s, "masthead.") || strings.HasPrefix(s, "root=") {
		return s, [2]string{}
	}
	return "", [2]string{}
}
