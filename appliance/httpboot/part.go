package httpboot

import (
	"errors"
	"io"

	"masthead/images"
)

// Part opens the kernel or the initramfs of an image, verified, for another way than HTTP. It can be read once, front to
// back; its size is where Seek finds the end.
func (h *Handler) Part(image images.Digest, kernel bool) (io.ReadSeekCloser, error) {
	f, err := h.image(image)
	if err != nil {
		return nil, err
	}
	d := f.initramfs
	if kernel {
		d = f.kernel
	}
	b, err := h.blobs.open(d)
	if err != nil {
		return nil, err
	}
	return &part{blob: b}, nil
}

type part struct {
	blob
	read bool
}

func (p *part) Read(b []byte) (int, error) {
	p.read = true
	return p.body.Read(b)
}

// Seek tells the size as the place of the end, and goes nowhere: TFTP asks where it is, where the end is, and wants back.
func (p *part) Seek(offset int64, whence int) (int64, error) {
	switch {
	case offset != 0 || p.read:
	case whence == io.SeekEnd:
		return p.size, nil
	case whence == io.SeekStart || whence == io.SeekCurrent:
		return 0, nil
	}
	return 0, errors.ErrUnsupported
}

func (p *part) Close() error {
	p.blob.close()
	return nil
}
