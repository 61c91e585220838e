package tools

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
)

func texts() []Tool {
	return []Tool{
		own("grep", "[-EFcinqv] PATTERN [FILE]...", "print lines that match", "EFcinqv", grep),
		own("head", "[-n N] [FILE]...", "print the first lines", "n:", head),
		own("tail", "[-n N] [FILE]...", "print the last lines", "n:", tail),
		own("wc", "[-clw] [FILE]...", "count lines, words and bytes", "clw", wc),
	}
}

// each opens the files, or the standard input if there are none. It goes on after one that fails.
func (c *call) each(names []string, f func(name string, r io.Reader) error) error {
	if len(names) == 0 {
		return f("", c.In)
	}
	var failed error
	for _, name := range names {
		if name == "-" {
			if err := f(name, c.In); err != nil {
				return err
			}
			continue
		}
		file, err := os.Open(c.path(name))
		if err != nil {
			failed = c.warn(err)
			continue
		}
		err = f(name, file)
		file.Close()
		if err != nil {
			return err
		}
	}
	return failed
}

// lines calls f with each line and its end, if it has one, until f says no.
func lines(r io.Reader, f func([]byte) bool) error {
	b := bufio.NewReader(r)
	for {
		line, err := b.ReadBytes('\n')
		if len(line) > 0 && !f(line) {
			return nil
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func grep(c *call) error {
	if len(c.args) == 0 {
		return errUsage
	}
	pattern := c.args[0]
	switch {
	case c.has("F"):
		pattern = regexp.QuoteMeta(pattern)
	case !c.has("E"):
		pattern = basic(pattern)
	}
	if c.has("i") {
		pattern = "(?i)" + pattern
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errUsage)
	}
	found := false
	err = c.each(c.args[1:], func(name string, r io.Reader) error {
		prefix := ""
		if len(c.args) > 2 {
			prefix = name + ":"
		}
		n, count := 0, 0
		err := lines(r, func(line []byte) bool {
			n++
			if re.Match(bytes.TrimSuffix(line, []byte("\n"))) == c.has("v") {
				return true
			}
			found = true
			count++
			if c.has("q") {
				return false
			}
			if !c.has("c") {
				at := ""
				if c.has("n") {
					at = strconv.Itoa(n) + ":"
				}
				c.printf("%s%s%s\n", prefix, at, bytes.TrimSuffix(line, []byte("\n")))
			}
			return true
		})
		if c.has("c") && !c.has("q") {
			c.printf("%s%d\n", prefix, count)
		}
		return err
	})
	switch {
	case found && c.has("q"):
		return nil
	case err != nil:
		if err != errFailed {
			c.warn(err)
		}
		return exitStatus(exitUsage) // POSIX: greater than 1
	case !found:
		return exitStatus(exitFailed)
	}
	return nil
}

// basic makes a basic regular expression, where ( ) { } + ? | are plain unless escaped (POSIX 9.3), an extended one.
func basic(pattern string) string {
	var b strings.Builder
	inBrackets := false
	for i := 0; i < len(pattern); i++ {
		ch := pattern[i]
		special := strings.IndexByte("(){}+?|", ch) >= 0
		switch {
		case inBrackets:
			// A ] that comes first stands for itself.
			first := pattern[i-1] == '[' || pattern[i-1] == '^' && pattern[i-2] == '['
			inBrackets = ch != ']' || first
		case ch == '[':
			inBrackets = true
		case special:
			b.WriteByte('\\')
		case ch == '\\' && i+1 < len(pattern):
			i++
			if strings.IndexByte("(){}+?|", pattern[i]) < 0 {
				b.WriteByte(ch)
			}
			ch = pattern[i]
		}
		b.WriteByte(ch)
	}
	return b.String()
}

func head(c *call) error {
	n, err := c.number("n", 10)
	if err != nil {
		return err
	}
	return c.each(c.args, func(name string, r io.Reader) error {
		if len(c.args) > 1 {
			c.printf("==> %s <==\n", name)
		}
		left := n
		return lines(r, func(line []byte) bool {
			if left == 0 {
				return false
			}
			left--
			c.Out.Write(line)
			return left > 0
		})
	})
}

func tail(c *call) error {
	n, err := c.number("n", 10)
	if err != nil {
		return err
	}
	return c.each(c.args, func(name string, r io.Reader) error {
		if len(c.args) > 1 {
			c.printf("==> %s <==\n", name)
		}
		var last [][]byte
		err := lines(r, func(line []byte) bool {
			if last = append(last, line); len(last) > n {
				last = last[1:]
			}
			return true
		})
		for _, line := range last {
			c.Out.Write(line)
		}
		return err
	})
}

func wc(c *call) error {
	show := func(counts [3]int, name string) {
		all := !c.has("l") && !c.has("w") && !c.has("c")
		var b bytes.Buffer
		for i, f := range []string{"l", "w", "c"} {
			if all || c.has(f) {
				fmt.Fprintf(&b, "%7d ", counts[i])
			}
		}
		c.printf("%s\n", bytes.TrimRight(append(b.Bytes(), name...), " "))
	}
	var total [3]int
	err := c.each(c.args, func(name string, r io.Reader) error {
		var counts [3]int
		err := lines(r, func(line []byte) bool {
			if bytes.HasSuffix(line, []byte("\n")) {
				counts[0]++
			}
			counts[1] += len(bytes.Fields(line))
			counts[2] += len(line)
			return true
		})
		for i := range total {
			total[i] += counts[i]
		}
		show(counts, name)
		return err
	})
	if len(c.args) > 1 {
		show(total, "total")
	}
	return err
}
