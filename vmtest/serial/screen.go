package serial

// screen turns what a firmware or a shell paints on a terminal into plain lines:
// escape sequences go, backspaces take a character back, and painting at the start
// of a line or at another place begins a new line. It keeps what is needed to go on
// in the middle of a sequence.
type screen struct {
	state  screenState
	column int // characters on the line that is being written
	cr     bool
}

type screenState int

const (
	plain screenState = iota
	escaped
	control // ESC [ … final byte: ECMA-48 control sequence
	command // ESC ] … BEL or ESC \: operating system command
	commandEscaped
	charset // ESC ( and one more
)

// backspace in screen's output takes the last character of the line back.
const backspace = '\b'

// plain appends to out the text of raw: printable bytes, tab, newline, backspace.
func (s *screen) plain(out, raw []byte) []byte {
	for _, c := range raw {
		switch s.state {
		case plain:
			out = s.character(out, c)
		case escaped:
			switch c {
			case '[':
				s.state = control
			case ']':
				s.state = command
			case '(', ')', '#', '%':
				s.state = charset
			case 'c': // reset clears the screen
				s.state = plain
				out = s.newline(out)
			default:
				s.state = plain
			}
		case control:
			if c < 0x40 || c > 0x7e {
				continue // parameters and intermediates
			}
			s.state = plain
			// The cursor moves: SeaBIOS and GRUB write lines so, without newlines.
			if c == 'H' || c == 'f' || c == 'J' {
				out = s.newline(out)
			}
		case command:
			switch c {
			case '\a':
				s.state = plain
			case 0x1b:
				s.state = commandEscaped
			case '\n': // nobody writes one in a title: it was none
				s.state = plain
				out = s.newline(out)
			}
		case commandEscaped:
			s.state = plain
		case charset:
			s.state = plain
		}
	}
	return out
}

func (s *screen) character(out []byte, c byte) []byte {
	switch c {
	case 0x1b:
		s.state = escaped
		return out
	case '\r':
		s.cr = true
		return out
	case '\n':
		s.cr, s.column = false, 0
		return append(out, '\n')
	case '\b':
		if s.column > 0 && !s.cr {
			s.column--
			out = append(out, backspace)
		}
		return out
	}
	if c < ' ' && c != '\t' || c == 0x7f {
		return out
	}
	if s.cr { // a line painted over, as a progress bar is, is a line of its own
		out = s.newline(out)
	}
	s.column++
	return append(out, c)
}

func (s *screen) newline(out []byte) []byte {
	s.cr = false
	if s.column == 0 {
		return out
	}
	s.column = 0
	return append(out, '\n')
}
