package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"masthead/images"
	"masthead/node/rootdev"
)

// reviveInterval is how often the server of the root is looked at. Reads wait meanwhile and are lost only when the
// kernel gives the device up, after minutes (node/rootdev/nbd).
const reviveInterval = 2 * time.Second

// revive starts the server of the root again when its process has died (the kernel's out-of-memory killer spares it, an
// administrator's kill -9 does not). The agent can do that because it runs from memory, like the server itself.
func (a *Agent) revive(ctx context.Context) error {
	if a.root == nil || a.cfg.Device == "" {
		return nil
	}
	tick := time.NewTicker(reviveInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if _, err := a.root.Status(ctx); !rootdev.Gone(err) {
			continue
		}
		a.log.Error("the server of the root has died: starting it again", "device", a.cfg.Device)
		if err := a.restartRoot(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("start the server of the root", "err", err)
		}
	}
}

func (a *Agent) restartRoot(ctx context.Context) error {
	manifest, err := os.ReadFile(images.RunManifest)
	if err != nil {
		return err
	}
	a.mu.Lock()
	cfg := rootdev.Config{
		Image: a.cfg.Image, Manifest: manifest, Control: images.RootdSocket, TakeOver: a.cfg.Device,
		// A root that was loaded whole is gone with the process that held it; reads cannot wait for all of it again.
		Mode:  images.RootLazy,
		Heads: rootdev.Heads{Heads: a.heads, CA: a.cfg.CA, Token: a.token},
	}
	a.mu.Unlock()
	if a.cfg.Role == images.RoleHead {
		cfg.Heads = rootdev.Heads{}
	}
	pack, err := os.Open(filepath.Join(images.MediumMount, images.MediumPack))
	if err == nil {
		defer pack.Close() // the process has its own descriptor of it
		cfg.Pack = pack
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	h, err := rootdev.Start(ctx, images.RunBinary, cfg)
	if err != nil {
		return fmt.Errorf("take over %s: %w", a.cfg.Device, err)
	}
	a.log.Info("the root is served again", "device", h.Device, "pid", h.PID)
	return nil
}
