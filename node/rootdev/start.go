package rootdev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// Handle is a root device that is served by a process.
type Handle struct {
	Device  string // /dev/nbd0
	PID     int
	Control Control // of Config.Control
}

// Start starts the process of a root device from the program exe and returns when its device can be mounted. exe must
// call Process when its name is ProcessName, and must stay readable without the root (not be on it).
//
// It blocks for as long as the root is loaded (ram), calling c.Progress; a lazy root takes milliseconds. ctx bounds
// only that: when it ends before the device is there, the process is killed. Afterwards the process belongs to
// nobody: it goes on when its parent ends, and whoever reaps orphans reaps it.
//
// c.Notify, c.Memory and c.Kernel do not reach the process; its events go to the kernel's log and to Control.Watch.
func Start(ctx context.Context, exe string, c Config) (*Handle, error) {
	if _, err := c.validate(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(startConfig{c, c.Pack != nil})
	if err != nil {
		return nil, fmt.Errorf("start the root device: %w", err)
	}
	p, in, out, err := spawn(exe, c.Pack)
	if err != nil {
		return nil, fmt.Errorf("start the root device: %w", err)
	}
	defer out.Close()
	kill := func() {
		p.Kill()
		p.Wait() // fails if an init reaped it first
	}
	defer context.AfterFunc(ctx, func() { out.SetReadDeadline(time.Unix(1, 0)) })()

	_, err = in.Write(data)
	in.Close()
	if err != nil {
		// It ended before it read; out has its reason.
		err = fmt.Errorf("configure it: %w", err)
	}
	last, readErr := follow(out, c.Progress)
	switch {
	case last.Device != "":
		h := &Handle{Device: last.Device, PID: p.Pid, Control: Dial(c.Control)}
		p.Release()
		return h, nil
	case last.Error != "":
		kill()
		return nil, errors.New(last.Error)
	case ctx.Err() != nil:
		kill()
		return nil, fmt.Errorf("start the root device: %w", ctx.Err())
	}
	kill()
	return nil, fmt.Errorf("start the root device: its process ended at once: %w", errors.Join(err, readErr))
}

// spawn starts the process with pipes to its configuration and from its progress.
func spawn(exe string, pack *os.File) (p *os.Process, in, out *os.File, err error) {
	var files []*os.File
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
			files = append(files, r, w)
		}
		return r, w
	}
	inRead, inWrite := pipe()
	outRead, outWrite := pipe()
	if err == nil {
		attr := &os.ProcAttr{
			Dir: "/",
			Env: []string{"GOTRACEBACK=single"},
			// Its output is the console's: only a crash writes there.
			Files: []*os.File{inRead, os.Stderr, os.Stderr, outWrite},
			// A session of its own: no terminal hangs it up.
			Sys: &syscall.SysProcAttr{Setsid: true},
		}
		if pack != nil {
			attr.Files = append(attr.Files, pack)
		}
		p, err = os.StartProcess(exe, []string{ProcessName}, attr)
	}
	for _, f := range files {
		if err != nil || f == inRead || f == outWrite {
			f.Close()
		}
	}
	if err != nil {
		return nil, nil, nil, err
	}
	return p, inWrite, outRead, nil
}

// follow reads progress until the device is there or never will be, and returns the last of it.
func follow(r io.Reader, progress func(Progress) error) (Progress, error) {
	for in := json.NewDecoder(r); ; {
		var p Progress
		if err := in.Decode(&p); err != nil {
			return Progress{}, err
		}
		if p.Device != "" || p.Error != "" {
			return p, nil
		}
		if progress != nil {
			progress(p)
		}
	}
}
