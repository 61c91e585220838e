package wire

import "io"

// ReadAhead reads a source that is far away in order: while somebody works on what was read, the next is on its way. It is for
// one reader at a time. Close waits for what is on its way.
type ReadAhead struct {
	from    io.ReaderAt
	at      int64 // of what is on its way, or was
	pending chan fetched
	want    int
}

type fetched struct {
	data []byte
	err  error
}

// NewReadAhead reads from r.
func NewReadAhead(r io.ReaderAt) *ReadAhead { return &ReadAhead{from: r} }

// ReadAt reads, and begins to read as much again behind that.
func (a *ReadAhead) ReadAt(p []byte, off int64) (int, error) {
	var n int
	var err error
	if a.pending != nil && a.at == off && a.want == len(p) {
		f := <-a.pending
		a.pending = nil
		n, err = copy(p, f.data), f.err
	} else {
		a.Close()
		n, err = a.from.ReadAt(p, off)
	}
	if err == nil {
		a.begin(off+int64(n), len(p))
	}
	return n, err
}

func (a *ReadAhead) begin(at int64, size int) {
	out := make(chan fetched, 1)
	a.at, a.want, a.pending = at, size, out
	go func() { // ends with the read, whose end Close waits for
		data := make([]byte, size)
		n, err := a.from.ReadAt(data, at)
		out <- fetched{data[:n], err}
	}()
}

// Close drops what is on its way.
func (a *ReadAhead) Close() {
	if a.pending != nil {
		<-a.pending
		a.pending = nil
	}
}
