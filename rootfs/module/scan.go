package module

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Index is a whole module tree: every module with its dependencies, and what is built into the kernel.
type Index struct {
	Modules []Module // in depmod's order: as modules.order lists them, the others behind, by path
	Builtin []string // modules.builtin: paths of what is in the kernel itself
	// BuiltinInfo is modules.builtin.modinfo: name.key=value of what is built in.
	BuiltinInfo []string
}

// Scan reads every module below fsys, which is a lib/modules/RELEASE directory. It uses all processors and decompresses
// everything once: about 9 s for Debian's generic kernel on two cores, so callers keep the Index. progress, if not nil,
// is told how many modules of how many are done, from any goroutine.
func Scan(ctx context.Context, fsys fs.FS, progress func(done, total int)) (*Index, error) {
	files, err := list(fsys)
	if err != nil {
		return nil, fmt.Errorf("scan modules: %w", err)
	}
	found := make([]Module, len(files))
	imports := make([][]string, len(files))
	var next, done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			var d decompressor
			defer d.close()
			for {
				i := int(next.Add(1)) - 1
				if i >= len(files) || ctx.Err() != nil {
					return ctx.Err()
				}
				data, err := d.read(fsys, files[i])
				if err != nil {
					return err
				}
				c, err := readELF(data)
				if err != nil {
					return fmt.Errorf("%s: %w", files[i], err)
				}
				found[i], imports[i] = describe(files[i], int64(len(data)), c), c.imports
				if progress != nil {
					progress(int(done.Add(1)), len(files))
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("scan modules: %w", err)
	}
	x := &Index{Modules: found}
	if x.Builtin, err = lines(fsys, "modules.builtin"); err != nil {
		return nil, err
	}
	info, err := fs.ReadFile(fsys, "modules.builtin.modinfo")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("scan modules: %w", err)
	}
	x.BuiltinInfo = cStrings(info)
	link(found, imports)
	return x, nil
}

// list finds the module files in depmod's order. Of two with one name, the one below updates/ wins, as depmod.d(5) has
// it by default, else the first by path.
func list(fsys fs.FS) ([]string, error) {
	byName := map[string]string{}
	err := fs.WalkDir(fsys, ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == "build" || e.Name() == "source") { // kernel headers
			return fs.SkipDir
		}
		if e.IsDir() || !isModule(e.Name()) {
			return nil
		}
		old, have := byName[NameOf(p)]
		if !have || strings.HasPrefix(p, "updates/") && !strings.HasPrefix(old, "updates/") {
			byName[NameOf(p)] = p
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	order, err := lines(fsys, "modules.order")
	if err != nil {
		return nil, err
	}
	place := make(map[string]int, len(order))
	for i, p := range order {
		place[p] = i
	}
	at := func(p string) int {
		if i, ok := place[PlainPath(p)]; ok {
			return i
		}
		return math.MaxInt
	}
	files := make([]string, 0, len(byName))
	for _, p := range byName {
		files = append(files, p)
	}
	slices.SortFunc(files, func(a, b string) int { return cmp.Or(cmp.Compare(at(a), at(b)), cmp.Compare(a, b)) })
	return files, nil
}

// lines reads a text file that may be missing.
func lines(fsys fs.FS, name string) ([]string, error) {
	data, err := fs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("scan modules: %w", err)
	}
	var all []string
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			all = append(all, string(line))
		}
	}
	return all, nil
}

// link sets the Deps of each module: who exports the symbols that it imports. A symbol that two modules export belongs
// to the later one, as in depmod; a symbol that none exports is the kernel's.
func link(modules []Module, imports [][]string) {
	owner := map[string]int{}
	for i, m := range modules {
		for _, s := range m.Exports {
			owner[s] = i
		}
	}
	for i := range modules {
		for _, s := range imports[i] {
			if d, ok := owner[s]; ok && d != i && !slices.Contains(modules[i].Deps, d) {
				modules[i].Deps = append(modules[i].Deps, d)
			}
		}
	}
}
