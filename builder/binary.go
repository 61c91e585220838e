package builder

import (
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"

	"masthead/images"
)

// binary is the program that goes into every image.
type binary struct {
	file   string
	size   int64
	digest images.Digest
}

// openBinary checks that a program can be the first process of a machine: there is no loader and no library yet.
func openBinary(file string) (binary, error) {
	if file == "" {
		return binary{}, errors.New("builder: no masthead binary")
	}
	f, err := os.Open(file)
	if err != nil {
		return binary{}, fmt.Errorf("open the masthead binary: %w", err)
	}
	defer f.Close()
	e, err := elf.NewFile(f)
	if err != nil {
		return binary{}, fmt.Errorf("%s: %w", file, err)
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			return binary{}, &notStatic{file}
		}
	}
	sum := sha256.New()
	size, err := io.Copy(sum, io.NewSectionReader(f, 0, 1<<62))
	if err != nil {
		return binary{}, fmt.Errorf("read %s: %w", file, err)
	}
	return binary{file, size, images.DigestFromSum(sum.Sum(nil))}, nil
}

func (b binary) open() (io.ReadCloser, error) { return os.Open(b.file) }

type notStatic struct{ file string }

func (e *notStatic) Error() string {
	return e.file + " is linked dynamically and cannot be the first process of a machine"
}

func (e *notStatic) Try() string { return "make build, and then bin/masthead build …" }
