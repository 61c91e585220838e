package param

import "strings"

// Secret reports whether the value of a parameter of that name must not be shown. fence-agents' metadata does not say it;
// these are the words in the names of all that Debian's agents take.
func Secret(name string) bool {
	n := strings.ToLower(name)
	if strings.HasSuffix(n, "_script") || strings.HasSuffix(n, "_file") {
		return false // where a secret is, not the secret
	}
	for _, word := range []string{"passw", "secret", "token", "community", "apikey", "api_key", "priv_key", "private_key", "access_key", "hexadecimal_kg"} {
		if strings.Contains(n, word) {
			return true
		}
	}
	return false
}

// Redact replaces the secrets of values wherever they stand in text.
func Redact(text string, values map[string]string) string {
	for name, value := range values {
		if value != "" && Secret(name) {
			text = strings.ReplaceAll(text, value, "***")
		}
	}
	return text
}
