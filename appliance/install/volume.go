package install

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"masthead/images"
)

// An ISO as it lies on a stick, in a file or in a slot: a volume of ISO 9660 (ECMA-119). What is needed of it is found
// without mounting, so that an ISO is judged before anything is written, on a kernel without loop devices too.
const (
	isoSector     = 2048
	isoDescriptor = 16 * isoSector
	isoVolumeID   = 40  // of 32 bytes
	isoVolumeSize = 80  // sectors, little endian first
	isoRoot       = 156 // directory record

	isoMostDirectory = 1 << 20 // no directory of ours is as large
	isoMultiExtent   = 0x80    // the file goes on in the next record (9.1.6)
	isoDirectory     = 0x02
)

// Volume is one of our ISOs.
type Volume struct {
	r    io.ReaderAt
	Size int64 // bytes, by its descriptor
	root extent
}

type extent struct{ offset, size int64 }

// OpenVolume reads the descriptor of an ISO of ours. available is how many bytes there are.
func OpenVolume(r io.ReaderAt, available int64) (*Volume, error) {
	d := make([]byte, isoSector)
	if _, err := r.ReadAt(d, isoDescriptor); err != nil || d[0] != 1 || string(d[1:6]) != "CD001" {
		return nil, errors.New("not an ISO: there is no volume descriptor in it")
	}
	if label := strings.TrimRight(string(d[isoVolumeID:isoVolumeID+32]), " \x00"); label != images.MediumLabel {
		return nil, fmt.Errorf("an ISO with the label %q, ours have %s", label, images.MediumLabel)
	}
	v := &Volume{r: r, Size: int64(binary.LittleEndian.Uint32(d[isoVolumeSize:])) * isoSector, root: recordExtent(d[isoRoot:])}
	if v.Size <= isoDescriptor {
		return nil, errors.New("an ISO whose descriptor gives no size")
	}
	if available < v.Size {
		return nil, fmt.Errorf("the ISO is %w: %d bytes of %d are there", images.ErrTruncated, available, v.Size)
	}
	return v, nil
}

func recordExtent(rec []byte) extent {
	return extent{int64(binary.LittleEndian.Uint32(rec[2:])) * isoSector, int64(binary.LittleEndian.Uint32(rec[10:]))}
}

// File gives the contents of a file, by its path as we write it: "masthead/pack".
func (v *Volume) File(path string) (*io.SectionReader, error) {
	at := v.root
	parts := strings.Split(path, "/")
	for i, name := range parts {
		next, err := v.find(at, name, i < len(parts)-1)
		if err != nil {
			return nil, fmt.Errorf("%s on the ISO: %w", path, err)
		}
		at = next
	}
	return io.NewSectionReader(v.r, at.offset, at.size), nil
}

// find looks for a name in a directory. Names are compared as plain ISO 9660 has them: upper case, other characters as
// underscores, ";1" behind files.
func (v *Volume) find(dir extent, name string, wantDir bool) (extent, error) {
	if dir.size > isoMostDirectory || dir.offset < 0 || dir.offset > v.Size || dir.size > v.Size-dir.offset {
		return extent{}, errors.New("a directory that is not within the ISO")
	}
	data := make([]byte, dir.size)
	if _, err := v.r.ReadAt(data, dir.offset); err != nil {
		return extent{}, err
	}
	var found extent
	more := false
	for at := 0; at < len(data); {
		n := int(data[at])
		if n == 0 { // records do not cross sectors; the rest of this one is unused
			at = (at/isoSector + 1) * isoSector
			continue
		}
		if n < 34 || at+n > len(data) {
			return extent{}, errors.New("a directory that is damaged")
		}
		rec := data[at : at+n]
		at += n
		length := int(rec[32])
		if 33+length > n {
			return extent{}, errors.New("a directory that is damaged")
		}
		if !sameName(rec[33:33+length], name) || (rec[25]&isoDirectory != 0) != wantDir {
			continue
		}
		e := recordExtent(rec)
		switch {
		case !more:
			found = e
		case found.offset+found.size == e.offset:
			found.size += e.size
		default:
			return extent{}, errors.New("a file in pieces")
		}
		if more = rec[25]&isoMultiExtent != 0; !more {
			if found.size > v.Size-found.offset || found.offset < 0 {
				return extent{}, errors.New("a file that is not within the ISO")
			}
			return found, nil
		}
	}
	return extent{}, images.ErrNotFound
}

// sameName compares an identifier with a name of ours.
func sameName(identifier []byte, name string) bool {
	plain, _, _ := bytes.Cut(identifier, []byte{';'})
	plain = bytes.TrimSuffix(plain, []byte{'.'})
	return len(plain) == len(name) && bytes.Equal(plain, bytes.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.':
			return r
		}
		return '_'
	}, []byte(name)))
}

// Pack opens the images that the ISO carries.
func (v *Volume) Pack() (*images.Pack, error) {
	f, err := v.File(images.MediumPack)
	if err != nil {
		return nil, damaged(err)
	}
	pack, err := images.OpenPack(f, f.Size())
	if err != nil {
		return nil, damaged(err)
	}
	return pack, nil
}

// Head finds the image that the ISO starts: the one for heads in its pack.
func (v *Volume) Head() (Source, images.Manifest, error) {
	pack, err := v.Pack()
	if err != nil {
		return Source{}, images.Manifest{}, err
	}
	var heads []images.Digest
	manifests := map[images.Digest]images.Manifest{}
	for tag, d := range pack.Tags() {
		m, err := images.ReadManifest(pack, d)
		if err != nil {
			return Source{}, images.Manifest{}, damaged(fmt.Errorf("image %s of the ISO: %w", tag, err))
		}
		if m.Role == images.RoleHead && manifests[d].Name == "" {
			heads, manifests[d] = append(heads, d), m
		}
	}
	if len(heads) != 1 {
		return Source{}, images.Manifest{}, fmt.Errorf("the ISO carries %d images for heads, want one", len(heads))
	}
	m := manifests[heads[0]]
	return Source{Name: m.Name, Image: heads[0], Kernel: m.KernelRelease, Size: v.Size}, m, nil
}
