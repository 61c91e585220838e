package apt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Settings are the few settings of apt.conf(5) that decide how archives are reached.
type Settings struct {
	HTTPProxy       string // Acquire::http::Proxy; "DIRECT" means none
	HTTPSProxy      string // Acquire::https::Proxy
	CheckValidUntil bool   // Acquire::Check-Valid-Until: refuse lists that have expired
}

// ReadSettings reads apt.conf and apt.conf.d of the machine at root.
func ReadSettings(root string) (Settings, error) {
	s := Settings{CheckValidUntil: true}
	entries, err := os.ReadDir(filepath.Join(root, "etc/apt/apt.conf.d"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("apt settings: %w", err)
	}
	var files []string
	for _, e := range entries {
		// apt takes names without an ending, or ending in .conf.
		if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == "" || ext == ".conf") {
			files = append(files, filepath.Join("etc/apt/apt.conf.d", e.Name()))
		}
	}
	for _, name := range append(files, "etc/apt/apt.conf") {
		data, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return s, fmt.Errorf("apt settings: %w", err)
		}
		values, err := parseConf(string(data))
		if err != nil {
			return s, fmt.Errorf("apt settings: /%s: %w", name, err)
		}
		for _, v := range values {
			s.set(v.key, v.text)
		}
	}
	return s, nil
}

func (s *Settings) set(key, value string) {
	switch strings.ToLower(key) {
	case "acquire::http::proxy":
		s.HTTPProxy = value
	case "acquire::https::proxy":
		s.HTTPSProxy = value
	case "acquire::check-valid-until":
		s.CheckValidUntil = !disabled(value)
	}
}

type confValue struct{ key, text string }

// parseConf reads apt.conf(5): KEY "value"; and KEY { … }; nested to any depth, with # and // and /* */ comments.
func parseConf(text string) ([]confValue, error) {
	tokens, err := confTokens(text)
	if err != nil {
		return nil, err
	}
	var all []confValue
	var scope []string
	var words []string
	for _, tok := range tokens {
		switch tok {
		case "{":
			scope = append(scope, strings.Join(words, " "))
			words = nil
		case "}", ";":
			if len(words) > 1 {
				key := strings.Join(append(append([]string{}, scope...), words[0]), "::")
				all = append(all, confValue{key, unquote(words[1])})
			}
			words = nil
			if tok == "}" {
				if len(scope) == 0 {
					return nil, errors.New("a } too many")
				}
				scope = scope[:len(scope)-1]
			}
		default:
			words = append(words, tok)
		}
	}
	if len(scope) > 0 {
		return nil, errors.New("a { is not closed")
	}
	return all, nil
}

func unquote(s string) string { return strings.Trim(s, `"`) }

// confTokens splits into words, quoted strings (with their quotes), braces and semicolons.
func confTokens(text string) ([]string, error) {
	var tokens []string
	for text != "" {
		switch {
		case text[0] == '#', strings.HasPrefix(text, "//"): // #clear and #include, too: nothing of interest hangs on them
			_, text, _ = strings.Cut(text, "\n")
		case strings.HasPrefix(text, "/*"):
			var ok bool
			if _, text, ok = strings.Cut(text, "*/"); !ok {
				return nil, errors.New("a /* is not closed")
			}
		case strings.ContainsRune(" \t\r\n", rune(text[0])):
			text = text[1:]
		case strings.ContainsRune("{};", rune(text[0])):
			tokens, text = append(tokens, text[:1]), text[1:]
		case text[0] == '"':
			end := strings.IndexByte(text[1:], '"')
			if end < 0 {
				return nil, errors.New("a quote is not closed")
			}
			tokens, text = append(tokens, text[:end+2]), text[end+2:]
		default:
			end := strings.IndexAny(text, " \t\r\n{};\"")
			if end < 0 {
				end = len(text)
			}
			tokens, text = append(tokens, text[:end]), text[end:]
		}
	}
	return tokens, nil
}
