package serial

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	// keep is how much text a transcript holds at least, and half of what it holds
	// at most; the log file has all of it.
	keep = 8 << 20

	// searchBack is how far before new text a match may begin. It bounds the work
	// on a chatty console: without it each arrival would search everything again.
	searchBack = 8 << 10
)

// Transcript is what a console has said: plain text that readers can wait on, and
// a log with the time of each line.
type Transcript struct {
	mu      sync.Mutex
	screen  screen
	text    []byte
	base    int // how much was dropped before text
	line    int // where the line being written starts, counted from the beginning
	started time.Time
	log     *bufio.Writer
	logErr  error
	changed chan struct{} // closed and replaced at each change
	ended   error
}

// NewTranscript returns an empty transcript that writes each finished line to log,
// which may be nil.
func NewTranscript(log io.Writer) *Transcript {
	t := &Transcript{changed: make(chan struct{})}
	if log != nil {
		t.log = bufio.NewWriter(log)
	}
	return t
}

// Write adds what came over the line; it never fails.
func (t *Transcript) Write(raw []byte) (int, error) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.screen.plain(nil, raw) {
		if c == backspace {
			if t.end() > t.line {
				t.text = t.text[:len(t.text)-1]
			}
			continue
		}
		if t.end() == t.line {
			t.started = now
		}
		t.text = append(t.text, c)
		if c == '\n' {
			t.logLine()
		}
	}
	if len(t.text) > 2*keep {
		drop := len(t.text) - keep
		t.text = append([]byte(nil), t.text[drop:]...)
		t.base += drop
	}
	t.flush()
	t.notify()
	return len(raw), nil
}

// end is the position after the last character, counted from the beginning.
func (t *Transcript) end() int { return t.base + len(t.text) }

// logLine writes the line that t.text ends with and starts the next.
func (t *Transcript) logLine() {
	if t.log != nil && t.logErr == nil {
		_, t.logErr = fmt.Fprintf(t.log, "%s %s", t.started.Format("15:04:05.000"), t.text[max(t.line-t.base, 0):])
	}
	t.line = t.end()
}

func (t *Transcript) flush() {
	if t.log != nil && t.logErr == nil {
		t.logErr = t.log.Flush()
	}
}

func (t *Transcript) notify() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// End says that nothing will come until Resume, and why: who waits is told. An
// unfinished line is finished.
func (t *Transcript) End(reason error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.end() > t.line {
		t.text = append(t.text, '\n')
		t.logLine()
		t.flush()
	}
	t.screen = screen{}
	t.ended = reason
	t.notify()
}

// Resume takes End back.
func (t *Transcript) Resume() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = nil
}

// LogError returns what stopped the log from being written, if anything did.
func (t *Transcript) LogError() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.logErr
}

// String returns the text held.
func (t *Transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// Tail returns the last n lines that are not blank.
func (t *Transcript) Tail(n int) []string {
	t.mu.Lock()
	// Lines are mostly short: do not split megabytes for the last few.
	text := string(t.text[max(0, len(t.text)-(n+1)*1024):])
	t.mu.Unlock()
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, " \t\n"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-n):]
}

// Reader is a place in a transcript from which a reader goes on. Readers of one
// transcript do not disturb each other; one reader is for one goroutine at a time.
type Reader struct {
	transcript *Transcript
	mu         sync.Mutex
	at         int
}

// Reader returns a reader of all that is held and comes.
func (t *Transcript) Reader() *Reader { return &Reader{transcript: t} }

// ReaderFromHere returns a reader of what comes after this call.
func (t *Transcript) ReaderFromHere() *Reader {
	t.mu.Lock()
	defer t.mu.Unlock()
	return &Reader{transcript: t, at: t.end()}
}

// Expect waits until pattern (Go regexp syntax) matches the text after the last
// match, moves behind the match and returns it with its submatches. It returns an
// error when ctx ends, and when the machine is off and no more text can come.
func (r *Reader) Expect(ctx context.Context, pattern string) ([]string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("expect: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	began := time.Now()
	from := r.at
	for {
		match, next, changed, ended := r.transcript.search(re, from)
		if match != nil {
			r.at = next
			return match, nil
		}
		if ended != nil {
			return nil, r.missed(pattern, began, ended)
		}
		from = max(r.at, next-searchBack)
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, r.missed(pattern, began, context.Cause(ctx))
		}
	}
}

func (r *Reader) missed(pattern string, began time.Time, cause error) error {
	last := strings.Join(r.transcript.Tail(1), "")
	return fmt.Errorf("expect /%s/: not seen in %s, the last line is %q: %w",
		pattern, time.Since(began).Round(time.Millisecond), last, cause)
}

// search looks for re from a position on. Without a match, next is where the text
// ends, changed is closed when there is more, and ended says why there will be none.
func (t *Transcript) search(re *regexp.Regexp, from int) (match []string, next int, changed <-chan struct{}, ended error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	start := min(max(from-t.base, 0), len(t.text)) // a backspace may have moved the end back
	at := re.FindSubmatchIndex(t.text[start:])
	if at == nil {
		return nil, t.end(), t.changed, t.ended
	}
	for i := 0; i < len(at); i += 2 {
		group := ""
		if at[i] >= 0 {
			group = string(t.text[start+at[i] : start+at[i+1]])
		}
		match = append(match, group)
	}
	return match, t.base + start + at[1], nil, nil
}
