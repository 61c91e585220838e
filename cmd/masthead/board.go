package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/lipgloss"

	"masthead/node/wire"
)

// board shows how far each machine is: one line a machine, redrawn, where a person looks on; one line an event
// elsewhere.
type board struct {
	out   io.Writer
	tty   bool
	began time.Time

	mu    sync.Mutex
	names []string
	now   map[string]string
	drawn int // lines on the screen
}

func newBoard(out io.Writer) *board {
	return &board{out: out, tty: terminal(out), began: time.Now(), now: map[string]string{}}
}

var (
	nameStyle  = lipgloss.NewStyle().Bold(true)
	stageStyle = lipgloss.NewStyle().Foreground(lipgloss.Color("6"))
	goodStyle  = lipgloss.NewStyle().Foreground(lipgloss.Color("2"))
	badStyle   = lipgloss.NewStyle().Foreground(lipgloss.Color("1"))
)

// stage shows a stage that a head knows of.
func (b *board) stage(name string, s wire.StageResult) {
	text := fmt.Sprintf("%.1f s", s.Took)
	if s.Detail != "" {
		text += "  " + s.Detail
	}
	if s.Outcome == wire.OutcomeFailed {
		text = "failed: " + s.Cause
	}
	b.set(name, string(s.Stage), text)
}

// set shows where a machine is.
func (b *board) set(name, stage, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.tty {
		fmt.Fprintf(b.out, "%6.1f  %-8s %-10s %s\n", time.Since(b.began).Seconds(), name, stage, text)
		return
	}
	if _, ok := b.now[name]; !ok {
		b.names = append(b.names, name)
	}
	style := stageStyle
	if stage == string(wire.StageUp) {
		style = goodStyle
	} else if strings.HasPrefix(text, "failed") {
		style = badStyle
	}
	b.now[name] = fmt.Sprintf("%s %s %s", nameStyle.Width(8).Render(name), style.Width(10).Render(stage), text)
	if b.drawn > 0 {
		fmt.Fprintf(b.out, "\x1b[%dA", b.drawn) // up to the first line of the last drawing
	}
	for _, n := range b.names {
		fmt.Fprintf(b.out, "\x1b[2K%.120s\n", b.now[n])
	}
	b.drawn = len(b.names)
}

// close leaves the lines where they are.
func (b *board) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drawn = 0
}
