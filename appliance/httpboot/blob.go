package httpboot

import (
	"io"
	"os"

	"masthead/images"
)

// blobs serves blobs by digest.
type blobs struct {
	from     images.BlobReader
	verifier *verifier
	files    *fileCache
	counters *Counters
}

// blob is an open blob that was found to be whole: a file or a reader.
type blob struct {
	size  int64
	file  *os.File
	body  io.Reader
	close func()
}

// open opens a blob and verifies it if it was not yet. The caller closes it.
func (h *blobs) open(d images.Digest) (blob, error) {
	if f := h.files.get(d); f != nil {
		return h.shared(f), nil
	}
	body, size, err := h.from.Open(d)
	if err != nil {
		return blob{}, err
	}
	file, ok := body.(*os.File) // a store's blobs are files, which the kernel can send by itself
	if !ok {
		return h.openReader(d, body, size)
	}
	st, err := file.Stat()
	if err == nil {
		err = h.verifier.check(d, stampOf(st), func(w io.Writer) error {
			_, err := io.Copy(w, &filePart{file: file, size: st.Size()})
			return err
		})
	}
	if err != nil {
		file.Close()
		return blob{}, err
	}
	return h.shared(h.files.add(d, file, st.Size())), nil
}

func (h *blobs) shared(f *openFile) blob {
	return blob{size: f.size, file: f.file, body: &filePart{file: f.file, size: f.size}, close: func() { h.files.release(f) }}
}

// openReader is for a pack, which does not change while it is open: its blobs are verified once.
func (h *blobs) openReader(d images.Digest, body io.ReadCloser, size int64) (blob, error) {
	if v, ok := body.(interface{ Verified() bool }); ok && v.Verified() { // it comes from another head just now, and ends with an error unless it is right
		return blob{size: size, body: body, close: func() { body.Close() }}, nil
	}
	err := h.verifier.check(d, stamp{size: size}, func(w io.Writer) error {
		r, _, err := h.from.Open(d)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(w, r)
		return err
	})
	if err != nil {
		body.Close()
		return blob{}, err
	}
	return blob{size: size, body: io.LimitReader(body, size), close: func() { body.Close() }}, nil
}
