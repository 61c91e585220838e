package data

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// mostDifferences bounds an answer.
const mostDifferences = 1000

// Differences are the files that are not the same in a snapshot and now, and whether there are more.
func (s *Set) Differences(ctx context.Context, name, snapshot string) (all []Difference, more bool, err error) {
	k, err := s.known(ctx, name, snapshot)
	if err != nil {
		return nil, false, err
	}
	s.show(name, snapshot, 1)
	defer s.show(name, snapshot, -1)
	path, shut, err := k.open(ctx, snapshot)
	if err != nil {
		return nil, false, err
	}
	all, err = differences(ctx, path, filepath.Join(root(name), live))
	err = errors.Join(err, shut())
	return all[:min(len(all), mostDifferences)], len(all) > mostDifferences, err
}

// show counts who looks at a snapshot: it is not removed meanwhile.
func (s *Set) show(name, snapshot string, more int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.named(name)
	if v.shown == nil {
		v.shown = map[string]int{}
	}
	if v.shown[snapshot] += more; v.shown[snapshot] == 0 {
		delete(v.shown, snapshot)
	}
}

// differences compares two trees by what the file system says of each file: its kind, size, times and owner.
func differences(ctx context.Context, before, after string) (all []Difference, err error) {
	walk := func(base, other string, both func(path string, a, b fs.FileInfo)) error {
		return filepath.WalkDir(base, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(base, path)
			a, err := e.Info()
			if err != nil || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			b, err := os.Lstat(filepath.Join(other, rel))
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
				return err
			}
			if err != nil {
				b = nil
			}
			both("/"+rel, a, b)
			return nil
		})
	}
	err = walk(before, after, func(path string, a, b fs.FileInfo) {
		switch {
		case b == nil:
			all = append(all, Difference{"removed", path, a.Size()})
		case a.Mode() != b.Mode() || !a.IsDir() && (a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime())):
			all = append(all, Difference{"changed", path, b.Size()})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	err = walk(after, before, func(path string, a, b fs.FileInfo) {
		if b == nil {
			all = append(all, Difference{"added", path, a.Size()})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	slices.SortStableFunc(all, func(a, b Difference) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}
