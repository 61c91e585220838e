package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"masthead/appliance/install"
	"masthead/images"
	"masthead/node/wire"
)

// upgradeFile is where the ISO lies on another head meanwhile: on its state partition.
const upgradeFile = images.StateDir + "/upgrade.iso"

const (
	upgradeCopy    = 30 * time.Minute // of an ISO to another head, and of writing it to a slot
	upgradeRestart = 5 * time.Minute  // of firmware, before the kernel whose deadline counts
)

// upgradeOrder is in which order heads are upgraded: the owner, which is self, comes last, when another one can take over.
// Pure.
func upgradeOrder(heads []wire.HeadStatus, owner string) (others []string, self string, err error) {
	for _, h := range heads {
		switch {
		case !h.Alive:
			return nil, "", &hint{fmt.Errorf("head %s does not answer, and all heads are to be upgraded", h.Name), "masthead head list"}
		case !h.Self && !h.Equal:
			return nil, "", &hint{fmt.Errorf("the state of head %s is not the same yet", h.Name), "masthead state verify"}
		case h.Software.Slot == "":
			return nil, "", &hint{fmt.Errorf("head %s does not run from an installed disk", h.Name), "masthead head list -l"}
		case h.Self:
			self = h.Name
		default:
			others = append(others, h.Name)
		}
	}
	if self == "" {
		return nil, "", errors.New("this head is none of the cluster")
	}
	if len(others) > 0 && owner != self {
		return nil, "", &hint{fmt.Errorf("%s owns the cluster, and is upgraded last", orElse(owner, "nobody")), "the same on " + orElse(owner, "the owner") + ", as root"}
	}
	slices.Sort(others)
	return others, self, nil
}

// upgradeAll upgrades all heads: the others, a planned switch, this one.
func (a *app) upgradeAll(ctx context.Context, path string, f upgradeFlags) error {
	c, err := a.remote.client()
	if err != nil {
		return err
	}
	heads, err := c.Heads(ctx)
	if err != nil {
		return err
	}
	owner, err := c.Owner(ctx)
	if err != nil {
		return err
	}
	others, self, err := upgradeOrder(heads, owner.Owner)
	if err != nil {
		return err
	}
	path, remove, err := a.isoFor(ctx, path)
	if err != nil {
		return err
	}
	defer func() { _ = remove() }()
	iso, volume, err := install.OpenISO(path)
	if err != nil {
		return err
	}
	defer iso.Close()
	source, _, err := volume.Head()
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "image %s %s, kernel %s, to %s; then %s owns; then to %s\n", source.Name, source.Image.Short(), source.Kernel,
		orDash(strings.Join(others, ", ")), orDash(strings.Join(others[:min(1, len(others))], "")), self)
	if !f.dryRun {
		if err := a.confirmName("Type yes to go on: ", "yes", f.yes, "masthead upgrade "+path+" --all --yes"); err != nil {
			return err
		}
		for _, name := range others {
			if err := a.upgradeOther(ctx, c, name, iso, source, f); err != nil {
				return fmt.Errorf("head %s: %w; %s is as it was", name, err, self)
			}
		}
		if len(others) > 0 {
			answer, err := c.Switch(ctx, wire.SwitchRequest{To: others[0], Why: "upgrade of all heads"})
			if err == nil {
				err = a.saySwitch(ctx, c, answer, false)
			}
			if err != nil {
				return fmt.Errorf("hand over to %s: %w", others[0], err)
			}
		}
	}
	f.yes = true // it was asked above
	return a.upgradeThis(ctx, path, f)
}

// isoArchive is the ISO as a tar archive of one file. It must be closed. The ISO may be a device, which is larger.
func isoArchive(iso io.ReaderAt, size int64, name string) io.ReadCloser {
	r, w := io.Pipe()
	go func() { // ends with the archive, or when r is closed
		out := tar.NewWriter(w)
		err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, Format: tar.FormatPAX})
		if err == nil {
			_, err = io.Copy(out, io.NewSectionReader(iso, 0, size))
		}
		if err == nil {
			err = out.Close()
		}
		w.CloseWithError(err)
	}()
	return r
}

// upgradeOther upgrades another head, and returns when that has been found healthy.
func (a *app) upgradeOther(ctx context.Context, c *wire.Client, name string, iso io.ReaderAt, source install.Source, f upgradeFlags) error {
	fmt.Fprintf(a.err, "%s: copies the ISO\n", name)
	dir, file := filepath.Split(upgradeFile)
	archive := isoArchive(iso, source.Size, file)
	defer archive.Close()
	if _, err := onHead(ctx, c, name, wire.Command{Kind: wire.CommandCopy, Dest: filepath.Clean(dir)}, archive); err != nil {
		return fmt.Errorf("copy the ISO: %w", err)
	}
	args := []string{images.RunBinary, "upgrade", upgradeFile, "--yes", "--no-restart", "--deadline", f.deadline.String()}
	if f.force {
		args = append(args, "--force")
	}
	fmt.Fprintf(a.err, "%s: writes the slot\n", name)
	said, err := onHead(ctx, c, name, wire.Command{Kind: wire.CommandExec, Argv: args}, nil)
	if _, e := onHead(ctx, c, name, wire.Command{Kind: wire.CommandExec, Argv: []string{"rm", "-f", upgradeFile}}, nil); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	fmt.Fprint(a.out, said)
	if _, err := onHead(ctx, c, name, wire.Command{Kind: wire.CommandExec, Argv: []string{images.RunBinary, "reboot"}}, nil); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	fmt.Fprintf(a.err, "%s: restarts\n", name)
	return a.awaitUpgrade(ctx, c, name, source.Image, f.deadline+upgradeRestart)
}

// awaitUpgrade waits until a head runs an image from a slot that was found good, or has fallen back.
func (a *app) awaitUpgrade(ctx context.Context, c *wire.Client, name string, image images.Digest, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		rows, err := headSlots(ctx, c, name)
		done, verdict := upgraded(rows, image)
		if err == nil && done {
			if verdict == nil {
				fmt.Fprintf(a.err, "%s: runs image %s, and is healthy\n", name, image.Short())
			}
			return verdict
		}
		select {
		case <-ctx.Done():
			return &hint{fmt.Errorf("it was not found healthy within %v: %w", limit, errors.Join(err, verdict)), "masthead head list -l"}
		case <-time.After(watchEvery):
		}
	}
}

// upgraded judges the slots of a head that was told to try an image: done with no error is good. Pure.
func upgraded(rows []slotRow, image images.Digest) (done bool, err error) {
	for _, r := range rows {
		if r.Image != image {
			continue
		}
		switch words := strings.Split(r.State, ", "); {
		case slices.Contains(words, "runs") && slices.Contains(words, "starts"):
			return true, nil
		case strings.HasPrefix(r.Note, "did not come up healthy"), slices.Contains(words, "was tried and fell back"):
			return true, &hint{errors.New("the new image " + orElse(r.Note, "fell back")), "masthead slot list, on that head"}
		}
		return false, fmt.Errorf("slot %s: %s", r.Slot, r.State)
	}
	return false, errors.New("no slot has the new image")
}

// headSlots are the slots of another head.
func headSlots(ctx context.Context, c *wire.Client, name string) ([]slotRow, error) {
	out, err := onHead(ctx, c, name, wire.Command{Kind: wire.CommandExec, Argv: []string{images.RunBinary, "slot", "list", "-o", "json"}, Timeout: 30}, nil)
	if err != nil {
		return nil, err
	}
	var rows []slotRow
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		return nil, fmt.Errorf("what its slots are: %w", err)
	}
	return rows, nil
}

// onHead has another head do something, and gives what it printed. What it said on standard error is the error's.
func onHead(ctx context.Context, c *wire.Client, name string, command wire.Command, input io.Reader) (string, error) {
	if command.Timeout == 0 {
		command.Timeout = upgradeCopy.Seconds()
	}
	command.Output = wire.DefaultCommandOutput
	var out, said bytes.Buffer
	var result *wire.CommandResult
	err := c.Command(ctx, wire.CommandRequest{Nodes: name, Command: command}, input, func(e wire.CommandEvent) error {
		out.Write(e.Stdout)
		said.Write(e.Stderr)
		if e.Done != nil {
			result = e.Done
		}
		return nil
	})
	switch {
	case err != nil:
		return "", err
	case result == nil:
		return "", errors.New("no head reaches it")
	case result.Error != "":
		return "", &hint{errors.New(result.Error), result.Try}
	case result.Exit != 0:
		return "", fmt.Errorf("exit status %d: %s", result.Exit, strings.TrimSpace(said.String()))
	}
	return out.String(), nil
}
