package tools

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/core"
	"github.com/u-root/u-root/pkg/core/base64"
	"github.com/u-root/u-root/pkg/core/cat"
	"github.com/u-root/u-root/pkg/core/chmod"
	"github.com/u-root/u-root/pkg/core/cp"
	"github.com/u-root/u-root/pkg/core/gzip"
	"github.com/u-root/u-root/pkg/core/mkdir"
	"github.com/u-root/u-root/pkg/core/mktemp"
	"github.com/u-root/u-root/pkg/core/mv"
	"github.com/u-root/u-root/pkg/core/rm"
	"github.com/u-root/u-root/pkg/core/shasum"
	"github.com/u-root/u-root/pkg/core/tar"
	"github.com/u-root/u-root/pkg/core/touch"
	"github.com/u-root/u-root/pkg/core/xargs"
)

// fromURoot are u-root's own commands. Its ls and find are not among them: they write failures into the listing and
// exit with 0.
func fromURoot() []Tool {
	plain := func(args []string) []string { return args }
	zip := func(name string) func() core.Command { return func() core.Command { return gzip.New(name) } }
	return []Tool{
		uroot("base64", "[-d] [FILE]", "encode or decode base64", base64.New, plain),
		uroot("cat", "[FILE]...", "print files", cat.New, plain),
		uroot("chmod", "[-R] MODE FILE...", "change permissions", chmod.New, plain),
		uroot("cp", "[-rfP] SOURCE... TARGET", "copy files", cp.New, plain),
		uroot("gunzip", "[-ck] [FILE]...", "unpack gzip files", zip("gunzip"), pipe),
		uroot("gzip", "[-cdk] [FILE]...", "pack files", zip("gzip"), pipe),
		uroot("mkdir", "[-p] [-m MODE] DIR...", "make directories", mkdir.New, plain),
		uroot("mktemp", "[-d] [TEMPLATE]", "make a temporary file", mktemp.New, plain),
		uroot("mv", "[-nu] SOURCE... TARGET", "rename files", mv.New, plain),
		uroot("rm", "[-rfiv] FILE...", "remove files", rm.New, plain),
		uroot("sha256sum", "[FILE]...", "print SHA-256 sums", shasum.New,
			func(args []string) []string { return append([]string{"-a", "256"}, args...) }),
		uroot("tar", "-c|-x|-t [-v] -f FILE [PATH]...", "pack, unpack (into the directory PATH) or list tar files", tar.New, dashed),
		uroot("touch", "[-amc] [-d TIME] FILE...", "make files or set their times", touch.New, plain),
		uroot("xargs", "[-0pt] [-n N] [COMMAND]", "call a command with words from the input", xargs.New, plain),
		uroot("zcat", "[FILE]...", "print gzip files", zip("gzcat"), pipe),
	}
}

// uroot makes a tool of a u-root command. Some of those (mkdir, gzip, cp) report failures and yet return nil:
// whoever writes to the standard error has failed.
func uroot(name, usage, summary string, make func() core.Command, adapt func([]string) []string) Tool {
	return Tool{Name: name, Summary: summary, Run: func(ctx context.Context, io Stdio, args []string) int {
		if slices.Contains(args, "--help") {
			fmt.Fprintf(io.Out, "%s %s: %s\n", name, usage, summary)
			return 0
		}
		var said bytes.Buffer
		c := make()
		c.SetIO(io.In, io.Out, &said)
		c.SetWorkingDir(io.Dir)
		if io.LookupEnv != nil {
			c.SetLookupEnv(io.LookupEnv)
		} else {
			c.SetLookupEnv(os.LookupEnv)
		}
		// Questions of rm -i must be seen before they are answered, and verbose tools talk while they work.
		asks := slices.Contains([]string{"rm", "cp", "xargs"}, name)
		w := &once{w: &said}
		if asks {
			w.w = io.Err
		}
		c.SetIO(io.In, io.Out, w)
		err := c.RunContext(ctx, adapt(args)...)
		if !asks {
			io.Err.Write(said.Bytes())
		}
		if err == nil && w.wrote && name != "rm" && name != "xargs" {
			return exitFailed
		}
		return report(io, name, name+" "+usage, err)
	}}
}

// once remembers that something was written.
type once struct {
	w interface {
		Write([]byte) (int, error)
	}
	wrote bool
}

func (o *once) Write(p []byte) (int, error) {
	o.wrote = true
	return o.w.Write(p)
}

func operands(args []string) (n int) {
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			n++
		}
	}
	return n
}

// pipe allows gzip to stand in a pipe, which u-root's takes for a mistake.
func pipe(args []string) []string {
	if operands(args) == 0 {
		return append([]string{"-f"}, args...)
	}
	return args
}

// dashed takes tar's old way: tar xf FILE.
func dashed(args []string) []string {
	if len(args) > 0 && args[0] != "" && !strings.HasPrefix(args[0], "-") {
		return append([]string{"-" + args[0]}, args[1:]...)
	}
	return args
}
