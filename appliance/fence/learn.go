package fence

import (
	"context"
	"errors"

	"masthead/appliance/fence/script"
)

// describe is a program's metadata, asked for once; nil: it has none. A failure to ask is not kept.
func (f *Fencer) describe(ctx context.Context, path string) (*script.Metadata, error) {
	f.mu.Lock()
	meta, known := f.learned[path]
	f.mu.Unlock()
	if known {
		return meta, nil
	}
	m, err := script.Describe(ctx, path)
	switch {
	case err == nil:
		meta = &m
	case !errors.Is(err, script.ErrNoMetadata):
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.learned[path] = meta
	return meta, nil
}

// merged is the parameters of s under the names that the program knows, so that a step's port replaces a device's plug.
func (f *Fencer) merged(meta *script.Metadata, s *step) map[string]string {
	if meta == nil {
		return s.params
	}
	return meta.Set().Merge(s.device.Params, s.own)
}
