package kmod

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/u-root/u-root/pkg/kmodule"
	"golang.org/x/sys/unix"
)

// Config says where a Loader finds things. The zero value is a machine's own root.
type Config struct {
	Root    string // file system with lib/modules; default /
	Release string // default: of the running kernel
	Sys     string // where sysfs is mounted; default /sys
	Cmdline string // the kernel's command line: NAME.PARAMETER=VALUE, modprobe.blacklist=
	// Insert loads one module file; nil is the kernel's finit_module.
	Insert func(file, params string) error
}

// Loader loads modules with what they depend on. It may be used from several goroutines; no module is loaded twice.
type Loader struct {
	dir     string
	sys     string
	table   *Table
	options options
	insert  func(file, params string) error

	mu    sync.Mutex
	state map[string]*state
}

// state is what became of a module. Its lock is held while the module is loaded.
type state struct {
	mu    sync.Mutex
	tried bool
	err   error
}

// New makes the Loader of a running machine: for the modules in root/lib/modules/release, with the options that are on
// the kernel's command line.
func New(root, release string) (*Loader, error) {
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("options of modules: %w", err)
	}
	return Open(Config{Root: root, Release: release, Cmdline: string(cmdline)})
}

// Open reads the tables of the modules.
func Open(c Config) (*Loader, error) {
	if c.Root == "" {
		c.Root = "/"
	}
	if c.Sys == "" {
		c.Sys = "/sys"
	}
	if c.Insert == nil {
		c.Insert = insert
	}
	if c.Release == "" {
		var u unix.Utsname
		if err := unix.Uname(&u); err != nil {
			return nil, fmt.Errorf("kernel release: %w", err)
		}
		c.Release = unix.ByteSliceToString(u.Release[:])
	}
	dir := filepath.Join(c.Root, "lib/modules", c.Release)
	table, err := ReadTable(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return &Loader{dir: dir, sys: c.Sys, table: table, options: readOptions(c.Cmdline), insert: c.Insert, state: map[string]*state{}}, nil
}

// Error says which module could not be loaded. ENODEV from a driver means that the hardware is not there after all.
type Error struct {
	Module string
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("load module %s: %v", e.Module, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// ErrUnknown means that the kernel has no module of a name, nor an alias, and that it is not built in.
var ErrUnknown = errors.New("the kernel has no such module")

// Load loads a module, or all that have an alias of that name (fs-ext4, crypto-crc32c), with everything that it depends
// on. params are for the module itself (max_part=0). What is loaded or built in is done. A module that failed before is
// tried again.
func (l *Loader) Load(ctx context.Context, name, params string) error {
	names := l.table.resolve(name)
	if len(names) == 0 {
		if l.present(underscored(name)) {
			return nil
		}
		return &Error{name, ErrUnknown}
	}
	var errs []error
	for _, n := range names {
		_, err := l.load(ctx, n, params, true)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// load does what plan says for one module and returns the names that it loaded.
func (l *Loader) load(ctx context.Context, name, params string, again bool) (loaded []string, err error) {
	for _, s := range l.table.plan(name) {
		if ctx.Err() != nil {
			return loaded, ctx.Err()
		}
		own := ""
		if s.name == name {
			own = params
		}
		did, err := l.one(s, own, again)
		if err != nil && !s.soft {
			return loaded, err
		}
		if did {
			loaded = append(loaded, s.name)
		}
	}
	return loaded, nil
}

// one loads a single module unless that was done or has failed before. Others who need the module wait meanwhile.
func (l *Loader) one(s step, params string, again bool) (did bool, err error) {
	l.mu.Lock()
	st := l.state[s.name]
	if st == nil {
		st = new(state)
		l.state[s.name] = st
	}
	l.mu.Unlock()

	st.mu.Lock()
	defer st.mu.Unlock()
	if st.tried && (st.err == nil || !again) {
		return false, st.err
	}
	st.tried, st.err = true, nil
	if l.present(s.name) {
		return false, nil
	}
	err = l.insert(filepath.Join(l.dir, s.file), l.options.join(s.name, params))
	if errors.Is(err, unix.EEXIST) { // somebody else was faster
		return false, nil
	}
	if err != nil {
		st.err = &Error{s.name, err}
		return false, st.err
	}
	return true, nil
}

// present reports whether a module is loaded, or built in and visible because it has parameters.
func (l *Loader) present(name string) bool {
	_, err := os.Stat(filepath.Join(l.sys, "module", name))
	return err == nil
}

// insert hands a module to the kernel.
func insert(file, params string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if filepath.Ext(file) == ".ko" {
		// By descriptor: u-root's FileInit would copy the module through the heap of a process that must stay small.
		return unix.FinitModule(int(f.Fd()), params, 0)
	}
	return kmodule.FileInit(f, params, 0)
}
