package serial

import (
	"fmt"
	"hash/crc32"
	"regexp"
	"strings"
)

// Word is what is sent over a cable to find out what it connects. It is a line of text, which can be read with cat and is
// lost in no log: "masthead-serial hello NONCE HOST DEVICE CRC".
type Word struct {
	Kind  Kind   `json:"kind"`
	Nonce string `json:"nonce"` // of the test: the answer has the same
	Host  string `json:"host"`  // that sends it
	Port  string `json:"port"`  // by which it is sent
}

// Kind is what a word means.
type Kind string

const (
	Hello Kind = "hello" // who hears it answers
	Heard Kind = "heard" // the answer
)

// mark begins every word. A line that was cut off by a console's output, or begun with noise, is none.
const mark = "masthead-serial"

// maxWord is longer than any word.
const maxWord = 256

var plainWord = regexp.MustCompile(`^[A-Za-z0-9._/:-]{1,64}$`)

// String is the word as it is sent, without the end of the line. The checksum (CRC-32, IEEE 802.3) is over all before it.
func (w Word) String() string {
	text := strings.Join([]string{mark, string(w.Kind), w.Nonce, w.Host, w.Port}, " ")
	return fmt.Sprintf("%s %08x", text, crc32.ChecksumIEEE([]byte(text)))
}

// ParseWord reads a line.
func ParseWord(line string) (Word, bool) {
	line = strings.TrimRight(line, "\r\n")
	// What came before on the line is noise of the moment when the port was opened.
	i := strings.LastIndex(line, mark+" ")
	if i < 0 || len(line)-i > maxWord {
		return Word{}, false
	}
	fields := strings.Split(line[i:], " ")
	if len(fields) != 6 {
		return Word{}, false
	}
	for _, f := range fields {
		if !plainWord.MatchString(f) {
			return Word{}, false
		}
	}
	w := Word{Kind: Kind(fields[1]), Nonce: fields[2], Host: fields[3], Port: fields[4]}
	if (w.Kind != Hello && w.Kind != Heard) || w.String() != line[i:] {
		return Word{}, false
	}
	return w, true
}

// lines finds lines in what comes from a port.
type lines struct{ buf []byte }

// feed takes bytes as they come and calls fn with each whole line.
func (l *lines) feed(b []byte, fn func(string)) {
	for _, c := range b {
		if c == '\n' || c == '\r' {
			if len(l.buf) > 0 {
				fn(string(l.buf))
			}
			l.buf = l.buf[:0]
			continue
		}
		if len(l.buf) == maxWord { // a babbler ends no line
			l.buf = l.buf[:0]
		}
		l.buf = append(l.buf, c)
	}
}
