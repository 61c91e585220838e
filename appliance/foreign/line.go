package foreign

import (
	"fmt"
	"slices"
	"strings"

	"masthead/appliance/configuration"
)

// Result is what became of a foreign configuration.
type Result struct {
	Document configuration.Document
	// Secrets are the passwords, by the names that the document has for them ("secret:NAME").
	Secrets map[string]string
	// Lines are those of the files, in order, without empty ones and comments.
	Lines []Line
}

// Line is what became of one line.
type Line struct {
	File       string // cluster.conf, ha.cf, haresources, mon.cf
	Number     int    // from 1
	Text       string // without passwords
	Understood bool   // all of it: nothing is lost, or what is has no meaning here
	Note       string // what became of it, or what to do instead
}

// Understood reports whether all lines were.
func (r Result) Understood() bool {
	return !slices.ContainsFunc(r.Lines, func(l Line) bool { return !l.Understood })
}

// report collects what is said of the lines of one file.
type report struct {
	file    string
	lines   []Line
	notes   map[int][]string
	secrets map[string]string
}

func newReport(file string, data []byte) *report {
	r := &report{file: file, notes: map[int][]string{}, secrets: map[string]string{}}
	for i, text := range strings.Split(string(data), "\n") {
		r.lines = append(r.lines, Line{File: file, Number: i + 1, Text: strings.TrimSpace(text), Understood: true})
	}
	return r
}

// yes notes what became of a line; without a text, just what it says.
func (r *report) yes(line int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if text != "" && !slices.Contains(r.notes[line], text) {
		r.notes[line] = append(r.notes[line], text)
	}
}

// no notes that something of a line was not understood, or has no counterpart.
func (r *report) no(line int, format string, args ...any) {
	if line >= 1 && line <= len(r.lines) {
		r.lines[line-1].Understood = false
	}
	r.yes(line, format, args...)
}

// secret keeps a password and gives what stands for it in the document. The line no longer shows it as a word.
func (r *report) secret(line int, name, value string) string {
	if value == "" {
		return ""
	}
	name = safe(name, "secret")
	for i, base := 2, name; r.secrets[name] != "" && r.secrets[name] != value; i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	r.secrets[name] = value
	if line <= len(r.lines) {
		r.lines[line-1].Text = hide(r.lines[line-1].Text, value)
	}
	return configuration.SecretPrefix + name
}

// done gives the lines that say something. comment tells those that do not.
func (r *report) done(comment func(text string) bool) []Line {
	var out []Line
	for _, l := range r.lines {
		if l.Text == "" || comment(l.Text) && len(r.notes[l.Number]) == 0 {
			continue
		}
		l.Note = strings.Join(r.notes[l.Number], "; ")
		out = append(out, l)
	}
	return out
}

// hide replaces a password where it stands as a word of its own or in quotes.
func hide(text, value string) string {
	var b strings.Builder
	for {
		i := strings.Index(text, value)
		if i < 0 {
			return b.String() + text
		}
		before, after := i == 0 || !wordly(text[i-1]), i+len(value) == len(text) || !wordly(text[i+len(value)])
		if before && after {
			b.WriteString(text[:i] + "…")
		} else {
			b.WriteString(text[:i+len(value)])
		}
		text = text[i+len(value):]
	}
}

func wordly(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c >= 0x80
}

func hashComment(text string) bool { return strings.HasPrefix(text, "#") }

// safe makes a name of letters, digits and ._- of any text.
func safe(name, otherwise string) string {
	s := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return '-'
	}, name)
	if s = strings.TrimLeft(s, "._-"); s == "" {
		return otherwise
	}
	return s[:min(len(s), 64)]
}

// short is the name of a head: ours have no domain, no capitals, and no underscores, and are no numbers (images.ValidHost).
func short(node string) string {
	name, _, _ := strings.Cut(node, ".")
	name = strings.ToLower(strings.ReplaceAll(safe(name, "head"), "_", "-"))
	if strings.Trim(name, "0123456789-") == "" {
		name = "head" + strings.Trim(name, "-")
	}
	return strings.TrimRight(name[:min(len(name), 63)], "-")
}
