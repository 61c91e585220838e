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
	upgradeReach   = time.Minute      // of a head that has just started or joined, until it takes commands
)

// upgradeAll upgrades all heads: the others, a planned switch, this one.
func (a *app) upgradeAll(ctx context.Context, ref string, f upgradeFlags) error {
	c, err := a.remote.client()
	if err != nil {
		return err
	}
	heads, err := settledHeads(ctx, c)
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
	path, remove, err := a.isoFor(ctx, ref)
	if err != nil {
		return err
	}
	defer func() { _ = remove() }()
	iso, volume, err := install.OpenISO(path)
	if err != nil {
		return &hint{err, "masthead upgrade ISO --all, with a file that masthead build iso has made"}
	}
	defer iso.Close()
	source, _, err := volume.Head()
	if err != nil {
		return err
	}
	others, here := stillToUpgrade(heads, others, self, source.Image, f.force)
	if len(others) == 0 && !here {
		return &hint{fmt.Errorf("image %s runs on all heads already", source.Image.Short()), "masthead head list -l; or the same with --force"}
	}
	to := heir(heads, self)
	if f.noRestart { // then all heads go on as they are
		to = ""
	}
	if a.output != "json" {
		fmt.Fprintf(a.out, "image %s %s, kernel %s: %s\n", source.Name, source.Image.Short(), source.Kernel, allSteps(others, here, to, self))
	}
	for _, name := range others { // before anything is changed on any of them
		if err := a.awaitReached(ctx, c, name); err != nil {
			return fmt.Errorf("head %s takes no commands: %w; all heads are as they were", name, err)
		}
	}
	if len(others) > 0 { // before it is copied to them; this head checks it itself
		show := newInstallProgress(a.err)
		err := install.CheckISO(ctx, iso, source, show.update)
		show.close()
		if err != nil {
			return err
		}
	}
	if !f.dryRun {
		if err := a.confirmName("Type yes to go on: ", "yes", f.yes, f.confirmed(ref)); err != nil {
			return err
		}
		for _, name := range others {
			if err := a.upgradeOther(ctx, c, name, iso, source, f); err != nil {
				return fmt.Errorf("head %s: %w; %s is as it was", name, err, self)
			}
		}
	}
	if !here {
		return nil
	}
	if to != "" && !f.dryRun {
		if err := a.handOver(ctx, c, to, f.deadline); err != nil {
			return fmt.Errorf("hand over to %s: %w; %s is as it was", to, err, self)
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

// upgradeOther upgrades another head, and returns when that has been found healthy, or is to be restarted by somebody else.
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
	if f.noRestart {
		return nil
	}
	if _, err := onHead(ctx, c, name, wire.Command{Kind: wire.CommandExec, Argv: []string{images.RunBinary, "reboot"}}, nil); err != nil && !errors.Is(err, errLost) {
		return fmt.Errorf("restart: %w", err)
	}
	fmt.Fprintf(a.err, "%s: restarts\n", name)
	return a.awaitUpgrade(ctx, c, name, source.Image, f.deadline+upgradeRestart)
}

// equalWait is for what was written a moment ago to be on the other heads.
const equalWait = 15 * time.Second

// settledHeads are the heads once all that answer have the same state, or as they are after equalWait.
func settledHeads(ctx context.Context, c *wire.Client) ([]wire.HeadStatus, error) {
	differs := func(h wire.HeadStatus) bool { return h.Alive && !h.Self && !h.Equal }
	for began := time.Now(); ; {
		heads, err := c.Heads(ctx)
		if err != nil || !slices.ContainsFunc(heads, differs) || time.Since(began) > equalWait {
			return heads, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// handOver lets another head own the cluster, once it can: it has just come back, and its data may not be up to date yet.
func (a *app) handOver(ctx context.Context, c *wire.Client, to string, limit time.Duration) error {
	req := wire.SwitchRequest{To: to, Why: "upgrade of all heads", DryRun: true}
	err := a.ask(ctx, limit, to, func(ctx context.Context) (string, error) {
		_, err := c.Switch(ctx, req)
		return fmt.Sprint("waits: ", err), err
	})
	if err != nil {
		return err
	}
	req.DryRun = false
	answer, err := c.Switch(ctx, req)
	if err != nil {
		return err
	}
	return a.saySwitch(ctx, c, answer, false)
}

// awaitReached waits until another head takes commands.
func (a *app) awaitReached(ctx context.Context, c *wire.Client, name string) error {
	return a.ask(ctx, upgradeReach, name, func(ctx context.Context) (string, error) {
		_, err := headSlots(ctx, c, name)
		return notReached, err
	})
}

// awaitUpgrade waits until a head runs an image from a slot that was found good, or has fallen back.
func (a *app) awaitUpgrade(ctx context.Context, c *wire.Client, name string, image images.Digest, limit time.Duration) error {
	var verdict error
	err := a.ask(ctx, limit, name, func(ctx context.Context) (string, error) {
		rows, err := headSlots(ctx, c, name)
		if err != nil {
			return notReached, err
		}
		done, err := upgraded(rows, image)
		if !done {
			return err.Error(), err
		}
		verdict = err
		return "", nil
	})
	if err != nil {
		return &hint{fmt.Errorf("it was not found healthy within %v: %w", limit, err), "masthead head list -l"}
	}
	if verdict == nil {
		fmt.Fprintf(a.err, "%s: runs image %s, and is healthy\n", name, image.Short())
	}
	return verdict
}

// notReached is said of a head. Why not changes from second to second, and is told in the end.
const notReached = "is not reached"

// ask asks until there is no error, and says after of what it waits for when that is not what it was. After limit it gives
// the last error.
func (a *app) ask(ctx context.Context, limit time.Duration, of string, question func(context.Context) (waits string, err error)) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last error
	said := ""
	for {
		waits, err := question(limited)
		if err == nil {
			return nil
		}
		if last == nil || limited.Err() == nil { // what the end of the time cuts off says nothing
			if said != waits {
				said = waits
				fmt.Fprintf(a.err, "%s: %s\n", of, waits)
			}
			last = err
		}
		select {
		case <-limited.Done():
			return errors.Join(ctx.Err(), last)
		case <-time.After(watchEvery):
		}
	}
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

// errLost is a head that was lost while it did something. One that was told to restart is to be waited for.
var errLost = errors.New(wire.CommandLost)

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
	case result.Error == wire.CommandLost:
		return "", &hint{errLost, result.Try}
	case result.Error != "":
		return "", &hint{errors.New(result.Error), result.Try}
	case result.Exit != 0:
		return "", fmt.Errorf("exit status %d: %s", result.Exit, strings.TrimSpace(said.String()))
	}
	return out.String(), nil
}
