package login

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Sized is something of a known length; what comes after that is left unread.
type Sized struct {
	io.Reader
	Size int64 // bytes
}

// kexecOrder is the first line of what ReadKexec reads; kernel and initramfs follow.
type kexecOrder struct {
	Kernel    int64  `json:"kernel"` // bytes
	Initramfs int64  `json:"initramfs"`
	Cmdline   string `json:"cmdline"`
}

// KexecLoaded is what maker kexec prints when the rest happens by itself: the connection may end with the machine.
const KexecLoaded = "restarts into the kernel of the head"

// Kexec has the server load a kernel and its initramfs, and restart into it with a command line; the program must have been
// copied there. It returns when the server has said that it restarts: from then on this Server is of no use.
func (s *Server) Kexec(kernel, ramfs Sized, cmdline string) error {
	head, err := json.Marshal(kexecOrder{kernel.Size, ramfs.Size, cmdline})
	if err != nil {
		return err
	}
	in := io.MultiReader(bytes.NewReader(append(head, '\n')), io.LimitReader(kernel, kernel.Size), io.LimitReader(ramfs, ramfs.Size))
	out, err := s.masthead("maker kexec", in)
	if strings.Contains(string(out), KexecLoaded) {
		return nil
	}
	if err == nil {
		err = errors.New("it did not say that it restarts")
	}
	return fmt.Errorf("start it by kexec: %w", err)
}

// ReadKexec is the other end of Kexec, on the server: it gives what Kexec sends, in files that are held in memory alone. It
// blocks until all of it is there. The files are the caller's, who closes them; after an error there are none.
func ReadKexec(r io.Reader) (kernel, ramfs *os.File, cmdline string, err error) {
	in := bufio.NewReader(r)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return nil, nil, "", fmt.Errorf("read what is to be started: %w", err)
	}
	var order kexecOrder
	if err := json.Unmarshal(line, &order); err != nil {
		return nil, nil, "", fmt.Errorf("read what is to be started: %w", err)
	}
	if kernel, err = inMemory("vmlinuz", in, order.Kernel); err != nil {
		return nil, nil, "", err
	}
	if ramfs, err = inMemory("initramfs", in, order.Initramfs); err != nil {
		kernel.Close()
		return nil, nil, "", err
	}
	return kernel, ramfs, order.Cmdline, nil
}

// inMemory is a file without a disk, with the next bytes of r.
func inMemory(name string, r io.Reader, size int64) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := io.CopyN(f, r, size); err != nil {
		f.Close()
		return nil, fmt.Errorf("receive %s of %d bytes: %w", name, size, err)
	}
	return f, nil
}
