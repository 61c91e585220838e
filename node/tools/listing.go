package tools

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

func listings() []Tool {
	return []Tool{
		own("find", "[DIR]... [-name GLOB] [-type bcdflps] [-maxdepth N]", "list files below directories", "!", find),
		own("ls", "[-aAdFhlRSt1] [FILE]...", "list directories", "aAdFhlRSt1", ls),
	}
}

// entry is one line of a listing.
type entry struct {
	name, path string
	fs.FileInfo
}

func ls(c *call) error {
	names := c.args
	if len(names) == 0 {
		names = []string{"."}
	}
	var files, dirs []entry
	var failed error
	for _, name := range names {
		stat := os.Lstat
		if !c.has("l") && !c.has("d") {
			stat = os.Stat // a link to a directory is listed as one
		}
		fi, err := stat(c.path(name))
		if err != nil && !c.has("l") {
			fi, err = os.Lstat(c.path(name)) // a dangling link
		}
		switch {
		case err != nil:
			failed = c.warn(err)
		case fi.IsDir() && !c.has("d"):
			dirs = append(dirs, entry{name, c.path(name), fi})
		default:
			files = append(files, entry{name, c.path(name), fi})
		}
	}
	c.list(files)
	for i, d := range dirs {
		if len(names) > 1 || c.has("R") {
			if i > 0 || len(files) > 0 {
				c.printf("\n")
			}
			c.printf("%s:\n", d.name)
		}
		if err := c.listDir(d); err != nil {
			failed = err
		}
	}
	return failed
}

func (c *call) listDir(d entry) error {
	all, err := os.ReadDir(d.path)
	var failed error
	if err != nil {
		failed = c.warn(err) // and show what there is
	}
	var in []entry
	if c.has("a") {
		for _, name := range []string{".", ".."} {
			if fi, err := os.Lstat(filepath.Join(d.path, name)); err == nil {
				in = append(in, entry{name, filepath.Join(d.path, name), fi})
			}
		}
	}
	for _, e := range all {
		if strings.HasPrefix(e.Name(), ".") && !c.has("a") && !c.has("A") {
			continue
		}
		fi, err := e.Info()
		if err != nil {
			failed = c.warn(err) // it went away
			continue
		}
		in = append(in, entry{e.Name(), filepath.Join(d.path, e.Name()), fi})
	}
	c.list(in)
	if !c.has("R") {
		return failed
	}
	for _, e := range in {
		if e.IsDir() && e.name != "." && e.name != ".." {
			e.name = filepath.Join(d.name, e.name)
			c.printf("\n%s:\n", e.name)
			if err := c.listDir(e); err != nil {
				failed = err
			}
		}
	}
	return failed
}

func (c *call) list(in []entry) {
	slices.SortStableFunc(in, func(a, b entry) int {
		switch {
		case c.has("S"):
			return int(max(-1, min(1, b.Size()-a.Size())))
		case c.has("t"):
			return b.ModTime().Compare(a.ModTime())
		}
		return strings.Compare(a.name, b.name)
	})
	w := tabwriter.NewWriter(c.Out, 0, 8, 1, ' ', 0)
	for _, e := range in {
		name := printable(e.name)
		if c.has("F") {
			name += indicator(e.Mode())
		}
		if !c.has("l") {
			c.printf("%s\n", name)
			continue
		}
		if to, err := os.Readlink(e.path); err == nil {
			name += " -> " + printable(to)
		}
		st, _ := e.Sys().(*syscall.Stat_t)
		if st == nil {
			st = &syscall.Stat_t{}
		}
		bytes := strconv.FormatInt(e.Size(), 10)
		switch {
		case e.Mode()&fs.ModeDevice != 0:
			bytes = fmt.Sprintf("%d,%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		case c.has("h"):
			bytes = size(uint64(e.Size()), true)
		}
		fmt.Fprintf(w, "%s\t%d\t%d:%d\t%s\t%s\t%s\n", permissions(e.Mode()), st.Nlink, st.Uid, st.Gid, bytes,
			e.ModTime().Format("2006-01-02 15:04"), name)
	}
	w.Flush()
}

// printable keeps a file's name from painting the terminal.
func printable(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}

func indicator(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "/"
	case m&fs.ModeSymlink != 0:
		return "@"
	case m&fs.ModeSocket != 0:
		return "="
	case m&fs.ModeNamedPipe != 0:
		return "|"
	case m&0o111 != 0:
		return "*"
	}
	return ""
}

// permissions are the ten letters that every other ls shows, which are not Go's.
func permissions(m fs.FileMode) string {
	b := []byte("----------")
	b[0] = fileType(m)
	for i := range 9 {
		if m&(1<<(8-i)) != 0 {
			b[1+i] = "rwx"[i%3]
		}
	}
	special := func(bit fs.FileMode, at int, with, without byte) {
		switch {
		case m&bit == 0:
		case b[at] == 'x':
			b[at] = with
		default:
			b[at] = without
		}
	}
	special(fs.ModeSetuid, 3, 's', 'S')
	special(fs.ModeSetgid, 6, 's', 'S')
	special(fs.ModeSticky, 9, 't', 'T')
	return string(b)
}

func fileType(m fs.FileMode) byte {
	switch {
	case m.IsDir():
		return 'd'
	case m&fs.ModeSymlink != 0:
		return 'l'
	case m&fs.ModeNamedPipe != 0:
		return 'p'
	case m&fs.ModeSocket != 0:
		return 's'
	case m&fs.ModeCharDevice != 0:
		return 'c'
	case m&fs.ModeDevice != 0:
		return 'b'
	}
	return '-'
}

func find(c *call) error {
	var roots []string
	args := c.args
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		roots, args = append(roots, args[0]), args[1:]
	}
	if len(roots) == 0 {
		roots = []string{"."}
	}
	glob, kind, depth := "*", "", -1
	for ; len(args) > 0; args = args[1:] {
		if args[0] == "-print" {
			continue
		}
		if len(args) < 2 {
			return fmt.Errorf("%s: %w", args[0], errUsage)
		}
		var err error
		switch args[0] {
		case "-name":
			glob = args[1]
			_, err = filepath.Match(glob, "")
		case "-type":
			kind = strings.ReplaceAll(args[1], "f", "-")
		case "-maxdepth":
			depth, err = strconv.Atoi(args[1])
		default:
			return fmt.Errorf("unknown test %s: %w", args[0], errUsage)
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", args[0], args[1], errUsage)
		}
		args = args[1:]
	}
	var failed error
	for _, root := range roots {
		base := c.path(root)
		// Nothing it returns is an error of its own.
		filepath.WalkDir(base, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				failed = c.warn(err)
				return nil
			}
			if c.ctx.Err() != nil {
				return fs.SkipAll
			}
			shown, level := root, 0
			if rel, err := filepath.Rel(base, p); err == nil && rel != "." {
				shown, level = strings.TrimSuffix(root, "/")+"/"+rel, 1+strings.Count(rel, "/")
			}
			// What is not stat'ed yet has its type, and that is all that -type needs.
			if ok, _ := filepath.Match(glob, d.Name()); ok && (kind == "" || strings.IndexByte(kind, fileType(d.Type())) >= 0) {
				c.printf("%s\n", shown)
			}
			if d.IsDir() && depth >= 0 && level >= depth {
				return fs.SkipDir
			}
			return nil
		})
	}
	return failed
}
