package tools

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// plain reads lines that somebody else edited, or nobody.
type plain struct {
	in  *bufio.Reader
	out io.Writer
}

func newPlain(in io.Reader, out io.Writer) *plain { return &plain{bufio.NewReader(in), out} }

func (p *plain) readLine(prompt string) (string, error) {
	fmt.Fprint(p.out, prompt)
	line, err := p.in.ReadString('\n')
	if line != "" {
		return strings.TrimSuffix(line, "\n"), nil
	}
	return "", err
}

// editor edits lines on a terminal: arrows, history, Tab. Between two lines the terminal is as it was, for the
// commands.
type editor struct {
	in   *os.File
	keys *keys
	term *term.Terminal
}

func newEditor(in *os.File, out io.Writer, complete func(line string, pos int) (string, int)) *editor {
	e := &editor{in: in, keys: &keys{r: in}}
	e.term = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{e.keys, out}, "")
	e.term.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
		if key != '\t' {
			return "", 0, false
		}
		line, pos = complete(line, pos)
		return line, pos, true
	}
	return e
}

func (e *editor) readLine(prompt string) (string, error) {
	fd := int(e.in.Fd())
	old, err := term.MakeRaw(fd)
	if err != nil {
		return "", fmt.Errorf("set terminal: %w", err)
	}
	defer term.Restore(fd, old)
	// A serial line does not know its size and says 0.
	if w, h, err := term.GetSize(fd); err == nil && w > 0 && h > 0 {
		e.term.SetSize(w, h)
	}
	e.term.SetPrompt(prompt)
	line, err := e.term.ReadLine()
	if err == nil && e.keys.interrupted() {
		return "", errInterrupted
	}
	return line, err
}

// keys turns Ctrl-C, which term.Terminal takes for the end of the input, into an empty line.
type keys struct {
	r   io.Reader
	hit bool
}

const (
	ctrlC = 3
	ctrlU = 21 // clears the line
)

func (k *keys) Read(p []byte) (int, error) {
	if len(p) < 2 {
		return k.r.Read(p)
	}
	n, err := k.r.Read(p[:len(p)-1])
	for i, b := range p[:n] {
		if b == ctrlC {
			k.hit = true
			// What was typed after it in the same moment is lost, as on any terminal.
			p[i], p[i+1] = ctrlU, '\r'
			return i + 2, err
		}
	}
	return n, err
}

func (k *keys) interrupted() bool {
	hit := k.hit
	k.hit = false
	return hit
}
