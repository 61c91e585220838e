package appliance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"masthead/appliance/configuration"
	"masthead/appliance/state"
	"masthead/images"
	"masthead/node/wire"
)

// A head that was installed finds the cluster's configuration as the installation was told it: the virtual address, who
// gets mail. The first head of a cluster takes it; one that has a configuration, its own or that of the cluster it joined,
// does not.

const (
	firstTaken   = ".taken"
	firstIgnored = ".ignored"
)

// takeFirst makes the configuration of the installation that of the cluster, once. What is wrong with it is an event, and
// it is tried again at the next start.
func (h *Head) takeFirst(ctx context.Context) {
	file := filepath.Join(h.cfg.StateDir, images.FirstDocument)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	suffix := firstTaken
	if err == nil {
		var taken bool
		if taken, err = h.takeDocument(ctx, string(text)); !taken {
			suffix = firstIgnored
		}
	}
	if err == nil {
		err = os.Rename(file, file+suffix)
	}
	if err != nil {
		h.event(fmt.Sprintf("the configuration that this head was installed with is not in force: %v: masthead cluster set %s", err, file), true)
	}
}

// takeDocument makes text the configuration if there is none. taken is false where there is one.
func (h *Head) takeDocument(ctx context.Context, text string) (taken bool, err error) {
	now, at, err := h.clusterConfig()
	if err != nil {
		return false, err
	}
	if now.Version > 0 {
		return false, nil
	}
	doc, err := configuration.Parse(images.FirstDocument, []byte(text))
	if err != nil {
		return true, err
	}
	if _, err := h.checkDocument(ctx, "", wire.ClusterChange{Text: text}, doc, time.Now()); err != nil {
		return true, err
	}
	op, err := state.Put(clusterKey.Kind, clusterKey.Name, wire.ClusterConfig{Version: 1, Text: text, By: "installation", At: time.Now().UTC()})
	if err != nil {
		return true, err
	}
	if _, err := h.store().Apply(ctx, ownOrigin, op.At(at)); err != nil {
		return true, err
	}
	h.event("the configuration that this head was installed with is in force: masthead cluster show", false)
	return true, nil
}
