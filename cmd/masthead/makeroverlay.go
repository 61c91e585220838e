package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"masthead/appliance/configuration"
	"masthead/appliance/install/overlay"
	"masthead/appliance/maker"
	"masthead/images"
	"masthead/images/disk"
	"masthead/node/wire"
)

// copyOverlay brings what was installed and configured on this head to the new one: the two stand in for each other.
func (m *making) copyOverlay(ctx context.Context) error {
	if m.joined {
		return nil
	}
	upper, err := overlay.Upper("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	if upper == "" || m.self.image != m.master.Source.Image {
		m.notes = append(m.notes,
			"what was written over this head's root was not copied: it does not run as an overlay of the image that was installed")
		return nil
	}
	now, err := m.c.Cluster(ctx)
	if err != nil {
		return err
	}
	doc, err := configuration.Parse("the cluster's configuration", []byte(now.Text))
	if err != nil {
		return err
	}
	var replicated []string
	for _, v := range doc.Data {
		replicated = append(replicated, v.Folders...)
	}
	r, w := io.Pipe()
	defer r.Close()
	done := make(chan struct{})
	go func() { // ends with the archive, or when r is closed
		defer close(done)
		counted := &countingWriter{w: w, tell: func(n int64) { m.show.say("overlay", bytesText(n)) }}
		w.CloseWithError(overlay.Write(ctx, upper, counted, func(name string) bool { return maker.Own(name, replicated) }))
	}()
	err = commandLines(ctx, m.c, m.journal.Name, wire.Command{
		Kind: wire.CommandExec, Argv: []string{images.RunBinary, "maker", "overlay", m.plan.Disk.Path, string(m.master.Source.Image)},
		Timeout: wire.MaxCommandTimeout.Seconds(), Output: wire.DefaultCommandOutput,
	}, r, func(line []byte) { m.notes = append(m.notes, string(line)) })
	r.Close()
	<-done
	return err
}

// countingWriter tells how much was written, each some MiB.
type countingWriter struct {
	w       io.Writer
	n, told int64
	tell    func(int64)
}

const tellEvery = 16 << 20

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	if c.n-c.told >= tellEvery {
		c.told = c.n
		c.tell(c.n)
	}
	return n, err
}

// makerOverlay writes what comes on standard input over the root of slot a of the disk that was installed here.
func (a *app) makerOverlay(ctx context.Context, path, image string) error {
	return onInstalledState(path, func(dir string) error {
		slot := filepath.Join(dir, images.OverlayDir, string(disk.SlotA))
		if err := os.RemoveAll(slot); err != nil { // of a run that was broken off
			return err
		}
		upper, below := filepath.Join(slot, "upper"), filepath.Join(slot, "image")
		if err := errors.Join(os.MkdirAll(upper, 0o755), os.WriteFile(below, []byte(image+"\n"), 0o600)); err != nil {
			return err
		}
		n, err := overlay.Read(ctx, upper, a.in)
		if err != nil {
			return fmt.Errorf("write over the root: %w", err)
		}
		fmt.Fprintf(a.out, "%d files and folders were copied that were written over the root of this head\n", n)
		return nil
	})
}
