package console

// ring holds the lines that wait for the console, at most max bytes of them. When a line does not fit, the oldest go:
// on a console that comes back the latest lines say why the machine stands.
type ring struct {
	max     int
	size    int
	lines   [][]byte
	dropped int // since the last take
}

// add takes ownership of line.
func (r *ring) add(line []byte) {
	if len(line) > r.max {
		line = line[:r.max]
	}
	for r.size+len(line) > r.max {
		r.size -= len(r.lines[0])
		r.lines[0] = nil
		r.lines = r.lines[1:]
		r.dropped++
	}
	r.lines = append(r.lines, line)
	r.size += len(line)
}

// take gives the oldest line and how many were dropped before it.
func (r *ring) take() (line []byte, dropped int, ok bool) {
	if len(r.lines) == 0 {
		return nil, 0, false
	}
	line, dropped = r.lines[0], r.dropped
	r.lines[0] = nil
	r.lines = r.lines[1:]
	r.size -= len(line)
	r.dropped = 0
	return line, dropped, true
}
