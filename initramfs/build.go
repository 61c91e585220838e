package initramfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"

	"masthead/images"
	"masthead/rootfs/module"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Config is what an initramfs is made of.
type Config struct {
	Baked images.Baked // written at images.InitramfsConfig; its KernelRelease names the modules' directory

	// Init is masthead's binary.
	Init     func() (io.ReadCloser, error)
	InitSize int64

	// Modules is lib/modules/RELEASE, Index what it holds, Selection what of it is taken.
	Modules   fs.FS
	Index     *module.Index
	Selection module.Selection

	// Firmware is lib/firmware of the root, or nil. Of it comes what the selected modules ask for.
	Firmware fs.FS

	// Extra is anything else; directories that it needs are made.
	Extra []Entry

	// Cache is a directory for compressed modules, or "": they are the bulk, and the same for every image with one
	// kernel.
	Cache string
}

// frameSize is how much of the modules goes into one frame, so that several processors can work on it. It depends on
// nothing that differs between machines.
const frameSize = 24 << 20

// Build writes an initramfs: one frame with everything but the modules, then frames with the modules, decompressed
// because the frames are compressed.
func Build(ctx context.Context, w io.Writer, c Config) error {
	base, err := c.base()
	if err != nil {
		return err
	}
	frames := [][]Entry{base}
	frames = append(frames, c.moduleFrames()...)
	out := make([][]byte, len(frames))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, entries := range frames {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			var err error
			if i == 0 {
				out[i], err = compressed(entries)
			} else {
				out[i], err = c.cached(entries)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, data := range out {
		if _, err := w.Write(data); err != nil {
			return fmt.Errorf("initramfs: %w", err)
		}
	}
	return nil
}

func compressed(entries []Entry) ([]byte, error) {
	var buf bytes.Buffer
	err := Compress(&buf, entries)
	return buf.Bytes(), err
}

// skeleton is what init finds before it has mounted anything. The device nodes are for the kernel, which opens
// /dev/console for init, and for the time until devtmpfs is there.
func skeleton() []Entry {
	return []Entry{
		Dir("bin", 0o755), Dir("dev", 0o755), Dir("etc", 0o755), Dir("lib", 0o755), Dir("mnt", 0o755), Dir("proc", 0o555),
		Dir("root", 0o700), Dir("run", 0o755), Dir("sbin", 0o755), Dir("sys", 0o555), Dir("tmp", unix.S_ISVTX|0o777),
		Char("dev/console", 0o600, 5, 1), Char("dev/null", 0o666, 1, 3), Char("dev/kmsg", 0o600, 1, 11),
	}
}

// base is the first frame: all directories, init, its configuration, the modules' tables, firmware.
func (c Config) base() ([]Entry, error) {
	if c.Baked.KernelRelease == "" || c.Init == nil {
		return nil, errors.New("initramfs: a kernel release and an init are needed")
	}
	config, err := bakedEntry(c.Baked)
	if err != nil {
		return nil, err
	}
	entries := append(skeleton(), c.Extra...)
	entries = append(entries,
		Entry{Path: inside(images.InitramfsInit), Mode: unix.S_IFREG | 0o755, Size: c.InitSize, Open: c.Init},
		config)
	tables, err := c.tables()
	if err != nil {
		return nil, err
	}
	entries = append(entries, tables...)
	firmware, err := c.firmware()
	if err != nil {
		return nil, err
	}
	entries = append(entries, firmware...)
	all := entries
	for _, frame := range c.moduleFrames() {
		all = append(all, frame...) // for their directories only
	}
	return append(entries, parents(all)...), nil
}

func inside(p string) string { return strings.TrimPrefix(p, "/") }

func (c Config) moduleDir() string {
	return path.Join(inside(images.InitramfsModules), c.Baked.KernelRelease)
}

// tableNames are the files of depmod that node/kmod reads. The binary indexes are for modprobe, which is not there.
var tableNames = []string{"modules.alias", "modules.dep", "modules.softdep"}

func (c Config) tables() ([]Entry, error) {
	files, err := c.Index.Subset(c.Selection.Load).Plain().Files()
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	builtin := strings.Join(append(slices.Clone(c.Index.Builtin), ""), "\n")
	entries := []Entry{Bytes(path.Join(c.moduleDir(), "modules.builtin"), 0o644, []byte(builtin))}
	for _, f := range files {
		if slices.Contains(tableNames, f.Name) {
			entries = append(entries, Bytes(path.Join(c.moduleDir(), f.Name), 0o644, f.Data))
		}
	}
	return entries, nil
}

// moduleFrames are the selected modules by path, cut in pieces of about frameSize.
func (c Config) moduleFrames() [][]Entry {
	var modules []module.Module
	for _, i := range c.Selection.Load {
		modules = append(modules, c.Index.Modules[i])
	}
	slices.SortFunc(modules, func(a, b module.Module) int { return strings.Compare(a.Path, b.Path) })
	var frames [][]Entry
	var frame []Entry
	var size int64
	for _, m := range modules {
		if size+m.Size > frameSize && size > 0 {
			frames, frame, size = append(frames, frame), nil, 0
		}
		size += m.Size
		frame = append(frame, Entry{
			Path: path.Join(c.moduleDir(), module.PlainPath(m.Path)), Mode: unix.S_IFREG | 0o644, Size: m.Size,
			Open: func() (io.ReadCloser, error) {
				data, err := module.Plain(c.Modules, m.Path)
				return io.NopCloser(bytes.NewReader(data)), err
			},
		})
	}
	if len(frame) > 0 {
		frames = append(frames, frame)
	}
	return frames
}

// firmwareSuffixes are the forms that the kernel's firmware loader tries (CONFIG_FW_LOADER_COMPRESS).
var firmwareSuffixes = []string{"", ".zst", ".xz"}

func (c Config) firmware() ([]Entry, error) {
	if c.Firmware == nil {
		return nil, nil
	}
	var entries []Entry
	for _, name := range c.Index.Firmware(c.Selection) {
		for _, suffix := range firmwareSuffixes {
			file := name + suffix
			if !fs.ValidPath(file) {
				continue
			}
			st, err := fs.Stat(c.Firmware, file)
			if errors.Is(err, fs.ErrNotExist) || err == nil && !st.Mode().IsRegular() {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("initramfs: firmware: %w", err)
			}
			entries = append(entries, Entry{
				Path: path.Join("lib/firmware", file), Mode: unix.S_IFREG | 0o644, Size: st.Size(),
				Open: func() (io.ReadCloser, error) { return c.Firmware.Open(file) },
			})
			break
		}
	}
	return entries, nil
}

// parents makes the directories that entries need and that are not among them.
func parents(entries []Entry) []Entry {
	have := map[string]bool{".": true}
	for _, e := range entries {
		have[e.Path] = true
	}
	missing := map[string]bool{}
	for _, e := range entries {
		for dir := path.Dir(e.Path); !have[dir]; dir = path.Dir(dir) {
			have[dir], missing[dir] = true, true
		}
	}
	var made []Entry
	for _, dir := range slices.Sorted(maps.Keys(missing)) {
		made = append(made, Dir(dir, 0o755))
	}
	return made
}
