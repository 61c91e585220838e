package install

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"masthead/images"
)

// Progress is how far a step is. Total is 0 where nobody knows.
type Progress func(step string, done, total int64)

// copyBlock is what is read and written at once: it keeps a disk busy, and Ctrl-C waits for it.
const copyBlock = 1 << 20

// copyFlush is how much is written before it has to be on the disk: what waits in memory comes out at once in the end, and
// whoever else syncs a file then, such as the owner daemon its record, waits for all of it.
const copyFlush = 8 << 20

// copyTo copies size bytes of r to w at an offset. It returns when they are on the disk.
func copyTo(ctx context.Context, w blockFile, at int64, r io.Reader, size int64, progress func(done int64)) (images.Digest, error) {
	sum := sha256.New()
	buf := make([]byte, copyBlock)
	for done := int64(0); done < size; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := io.ReadFull(r, buf[:min(copyBlock, size-done)])
		if err != nil {
			return "", fmt.Errorf("read what is copied, at %d of %d bytes: %w", done, size, err)
		}
		sum.Write(buf[:n])
		if _, err := w.WriteAt(buf[:n], at+done); err != nil {
			return "", fmt.Errorf("write at %d of %d bytes: %w", done, size, err)
		}
		if done += int64(n); done%copyFlush == 0 || done == size {
			if err := w.Sync(); err != nil {
				return "", fmt.Errorf("write to the disk: %w", err)
			}
		}
		progress(done)
	}
	return images.DigestFromSum(sum.Sum(nil)), nil
}

// sumOf reads back what was copied, from the disk.
func sumOf(ctx context.Context, f blockFile, at, size int64, progress func(done int64)) (images.Digest, error) {
	if err := dropCache(f); err != nil {
		return "", err
	}
	sum := sha256.New()
	buf := make([]byte, copyBlock)
	for done := int64(0); done < size; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n := min(copyBlock, size-done)
		if _, err := f.ReadAt(buf[:n], at+done); err != nil {
			return "", fmt.Errorf("read back at %d of %d bytes: %w", done, size, err)
		}
		sum.Write(buf[:n])
		done += n
		progress(done)
	}
	return images.DigestFromSum(sum.Sum(nil)), nil
}

// dropCache has the kernel forget what it holds of a block device, so that a read is one of the disk.
func dropCache(f blockFile) error {
	file, ok := f.(*os.File)
	if !ok {
		return nil
	}
	st, err := file.Stat()
	if err != nil || st.Mode()&os.ModeDevice == 0 {
		return err
	}
	if err := unix.IoctlSetInt(int(file.Fd()), unix.BLKFLSBUF, 0); err != nil {
		return fmt.Errorf("drop the cache of %s: %w", file.Name(), err)
	}
	return nil
}

// within is a part of a disk, from an offset on.
type within struct {
	io.ReaderAt
	at int64
}

func (w within) ReadAt(p []byte, off int64) (int, error) { return w.ReaderAt.ReadAt(p, w.at+off) }

// WriteSlot copies an ISO into a slot, reads it back, and checks every blob of the images that it carries against its
// digest: neither a bad stick nor a bad disk goes unseen. w is the slot's partition, or the whole disk with the slot at at.
func WriteSlot(ctx context.Context, w blockFile, at, room int64, iso io.ReaderAt, source Source, progress Progress) error {
	if source.Size > room {
		return fmt.Errorf("the ISO has %s, the slot %s", Size(source.Size), Size(room))
	}
	// Until all of it is there, the slot must not look like an ISO: its descriptor comes last.
	blank := make([]byte, isoSector)
	if _, err := w.WriteAt(blank, at+isoDescriptor); err != nil {
		return fmt.Errorf("empty the slot: %w", err)
	}
	body := &lateDescriptor{r: io.NewSectionReader(iso, 0, source.Size)}
	want, err := copyTo(ctx, w, at, body, source.Size, func(done int64) { progress("copy", done, source.Size) })
	if err != nil {
		return err
	}
	got, err := sumOf(ctx, w, at, source.Size, func(done int64) { progress("read back", done, source.Size) })
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("what was read back is not what was written: the disk is faulty (%s, want %s)", got.Short(), want.Short())
	}
	if err := verifyBlobs(ctx, overlaid{within{w, at}, body.held}, source, progress); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return damaged(err)
	}
	if _, err := w.WriteAt(body.held, at+isoDescriptor); err != nil {
		return fmt.Errorf("write the slot's descriptor: %w", err)
	}
	if err := w.Sync(); err != nil {
		return fmt.Errorf("write to the disk: %w", err)
	}
	return CheckSlot(within{w, at}, room, source)
}

// CheckSlot looks whether a slot holds what it should.
func CheckSlot(r io.ReaderAt, room int64, source Source) error {
	v, err := OpenVolume(r, room)
	if err != nil {
		return err
	}
	have, _, err := v.Head()
	if err != nil {
		return err
	}
	if have != source {
		return fmt.Errorf("the slot holds image %s, want %s", have.Image.Short(), source.Image.Short())
	}
	return nil
}

// lateDescriptor gives zeros in the place of the volume's descriptor, and holds that back.
type lateDescriptor struct {
	r    io.Reader
	at   int64
	held []byte
}

func (l *lateDescriptor) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	from, to := max(isoDescriptor-l.at, 0), min(isoDescriptor+isoSector-l.at, int64(n))
	if from < to {
		l.held = append(l.held, p[from:to]...)
		clear(p[from:to])
	}
	l.at += int64(n)
	return n, err
}

// overlaid is a volume with the descriptor that it does not have yet.
type overlaid struct {
	io.ReaderAt
	descriptor []byte
}

func (o overlaid) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.ReaderAt.ReadAt(p, off)
	if at := isoDescriptor - off; at > -isoSector && at < int64(n) {
		if at >= 0 {
			copy(p[at:n], o.descriptor)
		} else {
			copy(p[:n], o.descriptor[-at:])
		}
	}
	return n, err
}

// CheckISO reads all of an ISO that has a digest, before anything is written: nothing is overwritten for one that a stick or
// a network has damaged.
func CheckISO(ctx context.Context, iso io.ReaderAt, source Source, progress Progress) error {
	err := verifyBlobs(ctx, iso, source, func(_ string, done, total int64) { progress("check the ISO", done, total) })
	if err != nil && ctx.Err() == nil {
		return damaged(err)
	}
	return err
}

// damaged is an ISO that is not what was built.
func damaged(err error) error {
	return &hint{err, "copy or write the ISO again, and compare both with sha256sum; or masthead build iso DEFINITION"}
}

// verifyBlobs reads every blob of the volume's pack, and kernel and initramfs where the loader reads them.
func verifyBlobs(ctx context.Context, r io.ReaderAt, source Source, progress Progress) error {
	v, err := OpenVolume(r, source.Size)
	if err != nil {
		return err
	}
	_, m, err := v.Head()
	if err != nil {
		return err
	}
	pack, err := v.Pack()
	if err != nil {
		return err
	}
	blobs := pack.Blobs()
	var total, done int64
	for _, b := range blobs {
		total += b.Size
	}
	for _, b := range blobs {
		if err := ctx.Err(); err != nil {
			return err
		}
		f, _, err := pack.Open(b.Digest)
		if err == nil {
			err = errors.Join(digestIs(f, b.Digest), f.Close())
		}
		if err != nil {
			return fmt.Errorf("check the images of the ISO: %w", err)
		}
		done += b.Size
		progress("check", done, total)
	}
	for path, blob := range map[string]images.Blob{"boot/vmlinuz": m.Kernel, "boot/initramfs": m.Initramfs} {
		f, err := v.File(path)
		if err == nil {
			err = digestIs(f, blob.Digest)
		}
		if err != nil {
			return fmt.Errorf("check %s of the ISO: %w", path, err)
		}
	}
	return nil
}

func digestIs(r io.Reader, want images.Digest) error {
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return err
	}
	if got := images.DigestFromSum(sum.Sum(nil)); got != want {
		return fmt.Errorf("blob %s is damaged: its digest is %s", want.Short(), got.Short())
	}
	return nil
}
