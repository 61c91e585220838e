package heartbeat

// On a serial line a frame stands between two zero bytes and has none inside (COBS, Consistent Overhead Byte Stuffing:
// Cheshire and Baker, SIGCOMM 1997): at most one byte more than the frame, whatever its content, so that its time on the
// line is always the same. Wherever a receiver begins to listen, it is in step after the next zero.

const (
	stuffedSize = frameSize + 1
	// lineSize is all of a frame on a serial line.
	lineSize = stuffedSize + 2
)

// stuff gives a frame the form of the serial line.
func stuff(f [frameSize]byte) (out [lineSize]byte) {
	code := 1 // where the length of the present run without a zero belongs; out[0] is the delimiter
	for i, c := range f {
		if at := i + 2; c == 0 {
			out[code] = byte(at - code)
			code = at
		} else {
			out[at] = c
		}
	}
	out[code] = byte(lineSize - 1 - code)
	return out
}

// unstuff undoes stuff for what stood between the delimiters.
func unstuff(b []byte) (f [frameSize]byte, ok bool) {
	if len(b) != stuffedSize {
		return f, false
	}
	at := 0
	for at < len(b) {
		next := at + int(b[at])
		if next == at || next > len(b) {
			return f, false
		}
		copy(f[at:], b[at+1:next])
		at = next
	}
	return f, true // the zeros between the runs are there already
}

// stream finds frames in what comes from a serial line.
type stream struct {
	buf    [stuffedSize]byte
	n      int
	inStep bool // a delimiter was seen
}

// feed takes bytes as they come and calls got for each frame, and garbled for each stretch of bytes that is none. What
// comes before the first delimiter may be the rest of a frame that began before the line was opened, and is nothing.
func (s *stream) feed(b []byte, got func([frameSize]byte), garbled func()) {
	for _, c := range b {
		if c != 0 {
			if s.n == len(s.buf) { // a babbler sends no delimiter
				if s.inStep {
					garbled()
				}
				s.n = 0
				s.inStep = false
			}
			s.buf[s.n] = c
			s.n++
			continue
		}
		if s.n > 0 {
			if f, ok := unstuff(s.buf[:s.n]); ok {
				got(f)
			} else if s.inStep {
				garbled()
			}
		}
		s.n = 0
		s.inStep = true
	}
}
